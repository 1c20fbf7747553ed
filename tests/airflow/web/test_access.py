"""Who may do what: every route, as nobody, and as a user of each role."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.api import PREFIX, data_of

READ = [
    ("GET", "/backup/some_run"),
    ("GET", "/restore/some_run"),
    ("GET", "/verify/some_run"),
    ("GET", "/prune/some_run"),
    ("GET", "/copy/some_run"),
    ("GET", "/retention"),
    ("GET", "/retention?backup_path=vector_bak"),
    ("GET", "/restore/list"),
    ("GET", "/copies?backup_path=vector_bak"),
    ("GET", "/sets/vector_bak/latest"),
    ("GET", "/overview"),
    ("GET", "/health"),
    ("GET", "/openapi.json"),
]
DOWNLOAD = [("GET", "/download/vector_bak/some_file"), ("HEAD", "/download/vector_bak/some_file")]
WRITE = [
    ("POST", "/backup?wait=0"),
    ("POST", "/restore?wait=0"),
    ("POST", "/verify?wait=0"),
    ("POST", "/prune?wait=0"),
    ("POST", "/copy?wait=0"),
    ("DELETE", "/backup/some_run"),
    ("DELETE", "/restore/some_run"),
    ("DELETE", "/verify/some_run"),
    ("DELETE", "/prune/some_run"),
    ("DELETE", "/copy/some_run"),
    ("DELETE", "/sets/vector_bak/20250721_234914"),
    ("PUT", "/sets/vector_bak/20250721_234914/pin"),
    ("DELETE", "/sets/vector_bak/20250721_234914/pin"),
]


@pytest.fixture(autouse=True)
def another_root(house: Any, configure: Any) -> None:
    """Without one a copy is refused, whoever asks for it."""
    configure(copy_roots=house.parent / "other")


URI = {"db_connection": "postgresql://somebody:hidden@127.0.0.1:1/nowhere"}


def names(route: tuple[str, str]) -> str:
    return " ".join(route)


@pytest.mark.parametrize("route", READ + DOWNLOAD + WRITE, ids=names)
def test_nobody_may_do_anything(house: Any, as_: Any, route: tuple[str, str]) -> None:
    answer = as_(None).call(*route)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if route[0] != "HEAD":
        assert data_of(answer, 401)["error_type"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("route", READ, ids=names)
@pytest.mark.parametrize("role", ["viewer", "user", "op", "admin"])
def test_everybody_with_a_login_may_read(house: Any, as_: Any, role: str, route: tuple[str, str]) -> None:
    assert as_(role).call(*route).status_code in (200, 404)


@pytest.mark.parametrize("route", DOWNLOAD, ids=names)
@pytest.mark.parametrize(
    ("needs", "may"),
    [
        (None, {"viewer": False, "user": True, "op": True, "admin": True}),
        ("read", {"viewer": True, "user": True}),
        ("trigger", {"viewer": False, "user": True}),
        ("edit", {"viewer": False, "user": True}),
    ],
)
def test_rows_are_for_those_who_may_trigger_unless_it_is_said_otherwise(
    house: Any, as_: Any, configure: Any, needs: str | None, may: dict[str, bool], route: tuple[str, str]
) -> None:
    if needs is not None:
        configure(download_needs=needs)
    for role, allowed in may.items():
        answer = as_(role).call(*route)
        assert answer.status_code == (404 if allowed else 403), role
        if not allowed and route[0] == "GET":
            assert "download_needs in [pgvector_backup]" in data_of(answer, 403)["response"]
        assert as_(role).get("/overview")["can_download"] is allowed


def test_what_a_download_needs_has_to_be_one_of_three(house: Any, as_: Any, configure: Any) -> None:
    configure(download_needs="nothing")
    data = data_of(as_("admin").call("GET", "/download/vector_bak/some_file"), 400)
    assert data["response"] == "[pgvector_backup] download_needs: not one of read, trigger, edit: 'nothing'"


@pytest.mark.parametrize("route", WRITE, ids=names)
def test_a_viewer_may_not_write(house: Any, as_: Any, route: tuple[str, str]) -> None:
    assert data_of(as_("viewer").call(*route), 403)["error_type"] == "FORBIDDEN"


@pytest.mark.parametrize("route", WRITE, ids=names)
@pytest.mark.parametrize("role", ["user", "op", "admin"])
def test_a_user_may_write(house: Any, as_: Any, role: str, route: tuple[str, str]) -> None:
    # A restore or a pin that says nothing is refused for what it does not say.
    silent = "restore" in route[1] or route[0] == "PUT"
    assert as_(role).call(*route).status_code in (202, 404, 400 if silent else 404)


@pytest.mark.parametrize(("role", "code"), [("viewer", 403), ("user", 403), ("op", 202), ("admin", 202)])
def test_a_uri_needs_the_right_to_create_connections(house: Any, as_: Any, role: str, code: int) -> None:
    answer = as_(role).call("POST", "/backup?wait=0", URI)
    data_of(answer, code)
    assert "hidden" not in answer.text


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_a_false_token_is_no_login(house: Any, as_: Any, token: str) -> None:
    answer = as_(None).call("GET", "/overview", headers={"Authorization": f"Bearer {token}"})
    data_of(answer, 401 if token == "" else 403)


def test_the_overview_tells_what_the_user_may_do(house: Any, as_: Any) -> None:
    told = {role: as_(role).get("/overview") for role in ("viewer", "user", "admin")}
    for role, may in (("viewer", False), ("user", True), ("admin", True)):
        kinds = ("backup", "restore", "verify", "prune", "copy")
        assert told[role]["can_trigger"] == dict.fromkeys(kinds, may)
        assert told[role]["can_edit"] is may
        assert told[role]["can_use_uri"] is (role == "admin")


class TestOfACookie:
    """A browser sends the cookie along by itself; what another site makes it send is refused."""

    @pytest.fixture
    def send(self, house: Any, as_: Any) -> Any:
        user = as_("user")

        def sender(method: str = "POST", path: str = "/backup?wait=0", **headers: str) -> Any:
            cookie = {"Cookie": f"_token={user.token}"}
            return user.client.request(method, PREFIX + path, headers=cookie | headers)

        return sender

    def test_the_page_s_own_requests(self, send: Any) -> None:
        own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
        assert send(**own).status_code == 202
        assert send(Origin="http://testserver").status_code == 202
        # A proxy that changes the host: the browser still knows.
        assert send(Origin="https://airflow.example.com", **{"Sec-Fetch-Site": "same-origin"}).status_code == 202

    def test_no_browser(self, send: Any) -> None:
        assert send().status_code == 202

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://other.example.com", "Sec-Fetch-Site": "same-site"},
            {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example.com"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://testserver.evil.example.com"},
            {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
            {"Origin": ""},
            {"Origin": "http://["},
            {"Origin": "file://"},
            {"Origin": "http://testserver:81"},
            # A password of the scheme Basic is added by a browser itself, as a cookie is; so is what names no scheme.
            {"Origin": "https://evil.example.com", "Authorization": "Basic dXNlcjp1c2Vy"},
            {"Origin": "https://evil.example.com", "Authorization": "Negotiate abc"},
            {"Origin": "https://evil.example.com", "Authorization": "Bearer"},
            {"Origin": "https://evil.example.com", "Authorization": "x"},
        ],
        ids=str,
    )
    def test_another_site_s(self, send: Any, headers: dict[str, str]) -> None:
        for method, path in (("POST", "/backup?wait=0"), ("DELETE", "/sets/vector_bak/20250721_234914")):
            assert "another origin" in data_of(send(method, path, **headers), 403)["response"]
        assert send("GET", "/overview", **headers).status_code == 200

    @pytest.mark.parametrize("allowed", ["*", "null", "", "/", "http://[", "https://"])
    def test_no_setting_makes_null_an_origin(self, send: Any, monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", allowed)
        monkeypatch.setenv("AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", allowed)
        assert send(Origin="null").status_code == 403
        assert send(Origin="https://evil.example.com").status_code == 403
        assert send(Origin="http://TESTSERVER:80").status_code == 202

    def test_an_origin_that_airflow_allows(self, send: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/af/")
        assert send(Origin="https://airflow.example.com").status_code == 202
        monkeypatch.setenv("AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", "https://tools.example.com")
        assert send(Origin="https://tools.example.com", **{"Sec-Fetch-Site": "same-site"}).status_code == 202
