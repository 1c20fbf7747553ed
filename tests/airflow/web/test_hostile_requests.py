"""What no client should send: it never gets a 500 with a traceback, learns nothing of the network, holds nobody up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import delete

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.installation.configuration import ConnectionRules
from pgvector_backup.installation.connections import connect_to
from pgvector_backup.installation.uris import read_uri
from tests.helpers.api import PREFIX, Api, data_of
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.served import served

RULES = ConnectionRules(default="pgvector_default", allowed=("pgvector*",), uri_allowed=False)
WITH_URIS = ConnectionRules(default="pgvector_default", allowed=("pgvector*",), uri_allowed=True)


@pytest.fixture(scope="module", autouse=True)
def no_runs(dags: None) -> Iterator[None]:
    yield
    with create_session() as session:
        session.execute(delete(DagRun))


# --- URIs ---


@pytest.mark.parametrize(
    "parameter",
    [
        "passfile=/etc/passwd",
        "service=production",
        "servicefile=/tmp/x",
        "sslkey=/root/.ssh/id_rsa",
        "sslcert=/etc/ssl/worker.pem",
        "sslrootcert=/etc/passwd",
        "sslcrl=/etc/passwd",
        "sslcrldir=/etc",
        "sslpassword=x",
        "sslkeylogfile=/tmp/keys",
        "sslcertmode=require",
        "hostaddr=10.0.0.1",
        "host=/var/run/postgresql",
        "host=%2Fvar%2Frun%2Fpostgresql",
        "host=@abstract",
        "host=db.example.com,/tmp",
        "host=",
        "krbsrvname=x",
        "gsslib=gssapi",
        "gssdelegation=1",
        "requirepeer=root",
        "require_auth=gss",
        "replication=database",
        "options=-c%20session_preload_libraries%3Dx",
        "options=endpoint%3Dx%20-c%20a%3Db",
        "oauth_issuer=https://evil.example.com",
        "scram_client_key=x",
        "application_name=a%0Ab",
        "connect_timeout=1e9",
    ],
)
def test_a_uri_may_not_use_what_lies_on_the_worker(house: Any, as_: Callable[[str], Api], parameter: str) -> None:
    host = "" if parameter.startswith("host=") else "db.example.com"
    uri = f"postgresql://u:hidden@{host}/d?{parameter}"
    answer = as_("admin").call("POST", "/backup?wait=0", {"db_connection": uri})
    data = data_of(answer, 400)
    assert data["error_type"] == "INVALID_PARAMS"
    assert data["response"].startswith("db_connection: ")
    assert "hidden" not in answer.text


@pytest.mark.parametrize("uri", ["postgresql://", "postgresql:///d", "postgresql://u@/d", "postgresql://u@%2Ftmp/d"])
def test_a_uri_names_a_host(uri: str) -> None:
    with pytest.raises(InvalidParams, match="names no host|may not name a socket"):
        read_uri(uri, RULES)


def test_what_a_uri_may_say() -> None:
    given, password = read_uri(
        "postgresql://u:p@a.example.com:5433,b.example.com:5434/d?sslmode=verify-full&sslrootcert=system"
        "&target_session_attrs=read-write&connect_timeout=5&options=endpoint%3Dep-cool-name-123&channel_binding=require",
        RULES,
    )
    assert password == "p"
    assert given["host"] == "a.example.com,b.example.com"
    assert given["options"] == "endpoint=ep-cool-name-123"


@pytest.mark.parametrize(
    ("hosts", "host", "allowed"),
    [
        ("*.example.com", "db.example.com", True),
        ("*.example.com", "DB.EXAMPLE.COM", True),
        ("*.example.com,10.1.*", "10.1.2.3", True),
        ("*.example.com", "example.com.evil.org", False),
        ("*.example.com", "db.example.com,evil.org", False),
        ("*.example.com", "169.254.169.254", False),
        ("db", "localhost", False),
    ],
)
def test_the_hosts_that_a_uri_may_name(
    house: Any, as_: Callable[[str], Api], configure: Any, hosts: str, host: str, allowed: bool
) -> None:
    configure(allowed_uri_hosts=hosts)
    answer = as_("admin").call("POST", "/backup?wait=0", {"db_connection": f"postgresql://u:hidden@{host}/d"})
    data = data_of(answer, 202 if allowed else 400)
    if not allowed:
        assert "allowed_uri_hosts" in data["response"]


def test_a_uri_that_fails_maps_no_network() -> None:
    """Refused, unknown, silent: all read the same, unless it is said which hosts may be named."""
    with socket.create_server(("127.0.0.1", 0)) as refusing:
        port = refusing.getsockname()[1]
    texts = set()
    for where in (f"127.0.0.1:{port}", "no-such-host.invalid:5432"):
        uri = f"postgresql://u:hidden@{where}/d"
        with pytest.raises(Exception) as fault:
            connect_to(uri, None, WITH_URIS)()
        texts.add(str(fault.value))
        assert fault.value.__suppress_context__
    (text,) = texts
    assert text.startswith("the server that the URI names did not let us in")


def test_a_uri_takes_nothing_from_the_worker_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    seen: dict[str, Any] = {}

    def catch(conninfo: str = "", **parameters: Any) -> Any:
        seen.update(parameters)
        raise psycopg.OperationalError("no")

    monkeypatch.setattr(psycopg.Connection, "connect", catch)
    monkeypatch.setenv("PGPASSWORD", "the worker's")
    with pytest.raises(psycopg.OperationalError, match="did not let us in"):
        connect_to("postgresql://u@db.example.com/d", None, WITH_URIS)()
    assert seen["password"] == ""
    assert (seen["passfile"], seen["sslcertmode"], seen["gssencmode"]) == ("/dev/null", "disable", "disable")
    assert "gss" not in seen["require_auth"]


# --- One client does not hold up the others ---


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A server that takes connections and never says a word; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server.getsockname()[1]


@pytest.fixture
def over_http(house: Any, app: Any) -> Iterator[str]:
    with served(app) as address:
        yield address


def test_eighty_who_ask_for_health_hold_up_nobody(
    over_http: str, as_: Callable[[str], Api], connection: Callable[..., None], silent_server: int
) -> None:
    """A database that does not answer is asked by one connection at a time, whoever asks, and for two seconds."""
    import httpx

    client = httpx.Client(limits=httpx.Limits(max_connections=None), timeout=60)
    connection(f"postgresql://u:hidden@127.0.0.1:{silent_server}/d")
    headers = {"Authorization": f"Bearer {as_('viewer').token}"}

    def ask(path: str) -> tuple[int, float, str]:
        started = time.monotonic()
        answer = client.get(over_http + path, headers=headers)
        return answer.status_code, time.monotonic() - started, answer.text

    with client, ThreadPoolExecutor(81) as clients:
        ask(f"{PREFIX}/overview")
        asking = [clients.submit(ask, f"{PREFIX}/health") for _ in range(80)]
        time.sleep(0.5)
        assert [one.result() for one in asking if one.done()] == []
        others = [ask(path) for path in (f"{PREFIX}/restore/list", "/api/v2/dags", f"{PREFIX}/overview")]
        answers = [one.result() for one in asking]
        # What was seen is kept for a moment.
        assert ask(f"{PREFIX}/health")[1] < 1.5
    assert [code for code, _, _ in others] == [200, 200, 200]
    assert max(seconds for _, seconds, _ in others) < 5
    assert {code for code, _, _ in answers} == {503}
    assert max(seconds for _, seconds, _ in answers) < 15
    assert all("127.0.0.1" not in text and str(silent_server) not in text for _, _, text in answers)


# --- Junk ---

JSON = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats()
    | some.text(max_size=20)
    | some.sampled_from(["latest", "vector_bak", "pgvector_default", "rows", "20250721_234914", "postgresql://h/d"]),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = some.sampled_from(
    [
        *("task_id", "db_connection", "backup_path", "timestamp", "tables", "collections", "rename_collection", "x"),
        *("schema", "on_conflict", "depth", "file_format", "compression", "compression_level"),
        *("truncate_vector_tables", "backup_vector_tables", "truncate_before_restore"),
    ]
)
BODIES = some.one_of(
    some.binary(max_size=200),
    some.dictionaries(KEYS, JSON, max_size=5).map(lambda body: json.dumps(body).encode()),
    some.sampled_from(
        [
            b'{"task_id": ' + b"9" * 5000 + b"}",
            b'{"compression_level": 1e400}',
            b'{"compression_level": NaN}',
            b'{"compression_level": -Infinity}',
            b'{"task_id": "a", "task_id": "b"}',
            b'{"task_id": "\\ud800"}',
            b'{"\\udfff": 1}',
            b'{"task_id": ' + b"[" * 5000 + b"]" * 5000 + b"}",
            b'{"a":' * 3000 + b"1" + b"}" * 3000,
            b"\xef\xbb\xbf{}",
            '{"task_id": "ü"}'.encode("utf-16"),
            b"\x1f\x8b\x08\x00",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--",
            b"a=1&b=2",
            b"\x00",
        ]
    ),
)
HEADERS = some.dictionaries(
    some.sampled_from(
        [
            *("Accept-Language", "Range", "If-Range", "If-None-Match", "Content-Type", "Content-Encoding", "Origin"),
            *("Accept", "Sec-Fetch-Site", "X-Forwarded-For", "X-Forwarded-Proto", "Expect", "Cookie", "Host"),
            *("Referer", "Prefer"),
        ]
    ),
    some.one_of(
        some.text(some.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.strip),
        some.sampled_from(
            [
                "bytes=" + "9" * 5000 + "-",
                "bytes=-" + "9" * 4301,
                "bytes=--1",
                "en;q=" + "9" * 5000,
                "zh;q=nan, en;q=inf",
                "en;q=1e999",
                "," * 5000,
                'W/"' + "x" * 3000,
                "gzip",
                "application/json; charset=utf-99",
                "multipart/form-data",
                "\xff\xfe",
                "http://[",
            ]
        ),
    ),
    max_size=5,
)
PATHS = some.one_of(
    some.sampled_from(
        [
            "/backup?wait=0",
            "/restore?wait=0",
            "/verify?wait=0",
            "/backup/x",
            "/restore/list",
            "/restore/list?task_id=x&global_only=2",
            "/sets/vector_bak/latest",
            "/sets/vector_bak/20250721_234914",
            "/download/vector_bak/vector_backup_log.txt",
            "/overview",
            "/openapi.json",
        ]
    ),
    some.text(some.characters(exclude_categories=("Cs",)), max_size=40).map(lambda text: f"/backup/{_quoted(text)}"),
    some.text(some.characters(exclude_categories=("Cs",)), max_size=40).map(lambda text: f"/sets/{_quoted(text)}/x"),
    some.text(some.characters(exclude_categories=("Cs",)), max_size=40).map(
        lambda text: f"/download/vector_bak/{_quoted(text)}"
    ),
    some.binary(max_size=30).map(
        lambda raw: "/download/vector_bak/" + "".join(f"%{byte:02x}" for byte in raw if byte not in (10, 13, 47))
    ),
    some.integers(min_value=-(10**40), max_value=10**40).map(lambda number: f"/backup?wait={number}"),
    some.sampled_from(
        [f"/backup?wait={'9' * 5000}", "/backup?wait=1e9", "/backup?wait=%00", "/restore/list?task_id=%00"]
    ),
)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text.replace("\n", "").replace("\r", ""), safe="")


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    method=some.sampled_from(["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "X"]),
    path=PATHS,
    headers=HEADERS,
    body=BODIES,
)
def test_whatever_a_client_sends_is_answered(
    junk_api: Api, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    sent = {name: value.encode("latin-1", "replace") for name, value in headers.items()}
    answer = junk_api.client.request(
        method,
        PREFIX + path,
        headers={**sent, "Authorization": f"Bearer {junk_api.token}"},
        content=body if method not in ("GET", "HEAD") else None,
    )
    check_no_traceback(answer)


@pytest.fixture
def junk_api(house: Any, as_: Callable[[str], Api], database: Database, monkeypatch: pytest.MonkeyPatch) -> Api:
    from pgvector_backup.web import runs

    wait = runs.wait

    async def look_once(kind: Any, run_id: str, seconds: float, gone: Any = None) -> Any:
        return await wait(kind, run_id, 0, gone)

    monkeypatch.setattr(runs, "wait", look_once)
    make_set(database)
    return as_("admin")


def check_no_traceback(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"task_id": "a", "task_id": "b"}', "twice"),
        (b'{"compression_level": NaN}', "NaN"),
        (b'{"compression_level": -Infinity}', "Infinity"),
        (b'{"compression_level": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "not JSON"),
        (b'{"tables": ' + b"[" * 100 + b"]" * 100 + b"}", "deeper than 16"),
        (b'{"compression_level": 1e400}', "1e400"),
        (b'{"\\udfff": 1}', "surrogate"),
        ('{"task_id": "x"}'.encode("utf-16"), "not JSON"),
    ],
    ids=[
        "a key twice",
        "NaN",
        "infinity",
        "a huge integer",
        "deep",
        "deeper than it needs",
        "huge",
        "half a pair in a key",
        "UTF-16",
    ],
)
def test_json_that_is_none(house: Any, api: Api, body: bytes, words: str) -> None:
    data = data_of(api.call("POST", "/backup?wait=0", body), 400)
    assert data["error_type"] == "INVALID_PARAMS"
    assert words in data["response"]
