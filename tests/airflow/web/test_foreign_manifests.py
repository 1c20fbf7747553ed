"""What somebody else wrote below the root, over HTTP: never a 500, and nobody else's sets are kept back by it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.api import Api, data_of
from tests.helpers.database import Database
from tests.helpers.forging import mutations, put, seal
from tests.helpers.made_sets import make_set
from tests.helpers.own_airflow import Configure

READ = (
    "/restore/list",
    "/overview",
    "/metrics",
    "/restore/list?task_id=bad",
    "/sets/bad/vector_bak/latest",
    "/retention",
)


@pytest.fixture
def two(house: Path, configure: Configure, database: Database) -> tuple[str, str]:
    """A whole set, and one in a task's directory that others write to."""
    (house / "bad").mkdir()
    good, bad = make_set(database).backup_id, make_set(database, task_id="bad").backup_id
    assert good is not None
    assert bad is not None
    return good, bad


def require_good_as_it_was(api: Api, good: str, *paths: str) -> None:
    """Everything that reads is answered, and tells of the whole set."""
    for path in (*READ, f"/sets/vector_bak/{good}", *paths):
        answer = api.call("GET", path)
        assert "Traceback" not in answer.text
        if path.startswith("/download/"):
            # The set that is told to be damaged is not read from; its file is what the answer is.
            damaged = answer.status_code == 500 and answer.json()["data"]["error_type"] == "INTEGRITY_ERROR"
            assert damaged or answer.status_code in (200, 404), (path, answer.text)
        else:
            assert answer.status_code in (200, 404), (path, answer.text)
            answer.content.decode()
    bad = sorted(Path(os.environ["AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT"], "bad", "vector_bak").glob("langchain*.csv"))
    for name in {f"set_{path.name[-19:-4]}.tar" for path in bad if path.name.isascii()}:
        answer = api.call("HEAD", f"/download/bad/vector_bak/{quote(name, safe='')}")
        assert answer.status_code in (200, 404, 500), name
        assert answer.status_code != 500 or "json" in answer.headers["content-type"]
    listed = data_of(api.call("GET", "/restore/list"))["backup_locations"]
    (one,) = [one for place in listed if place["relative_path"] == "vector_bak" for one in place["backups"]]
    assert (one["timestamp"], one["damaged"]) == (good, None)
    assert data_of(api.call("GET", "/overview"))["newest_good"]["timestamp"] == good
    assert data_of(api.call("GET", f"/sets/vector_bak/{good}"))["timestamp"] == good


def test_whatever_a_manifest_says_is_answered(two: tuple[str, str], house: Path, as_: Callable[[str], Api]) -> None:
    good, bad = two
    api = as_("admin")
    path = house / "bad" / "vector_bak" / f"manifest_{bad}.json"
    whole = path.read_bytes()

    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(mutations(), min_size=1, max_size=3))
    def check(changes: list[tuple[list[int], Any]]) -> None:
        body = json.loads(whole)
        for steps, value in changes:
            put(body, steps, value)
        seal(path, body)
        file = body["tables"][0]["file"] if _has_file(body) else "x"
        require_good_as_it_was(
            api,
            good,
            f"/sets/bad/vector_bak/{bad}",
            f"/download/bad/vector_bak/{quote(file, safe='', errors='replace')}",
        )

    check()


def _has_file(body: Any) -> bool:
    try:
        return isinstance(body["tables"][0]["file"], str)
    except (KeyError, IndexError, TypeError):
        return False


BESIDE = ("verified_{}.json", "pinned_{}.json", "emptied_{}.json", "prune_announced.json", "vector_backup_log.txt")
JUNK = (
    b"",
    b"[]",
    b"{}",
    b"5",
    b"null",
    b"\xff\xfe",
    b'{"ok": true, "verified_at": "9999-12-31T23:59:59-12:00", "depth": "rows"}',
    b'{"ok": 1, "verified_at": 5, "depth": [], "errors": {"a": [[]]}}',
    b'{"pinned_at": 5, "until": "\\ud800", "reason": {"a": 1}, "by": []}',
    b'{"pinned_at": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-12:00", "reason": "x", "by": "y"}',
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b'{"a": ' + b"9" * 5000 + b"}",
    b"==== \x1b[2J\xe2\x80\xae\x00 ====\n" * 3,
)


@pytest.mark.parametrize("name", BESIDE)
def test_whatever_lies_beside_a_set_is_answered(
    two: tuple[str, str], house: Path, as_: Callable[[str], Api], name: str
) -> None:
    good, bad = two
    api = as_("admin")
    for content in JUNK:
        (house / "bad" / "vector_bak" / name.format(bad)).write_bytes(content)
        require_good_as_it_was(
            api, good, f"/sets/bad/vector_bak/{bad}", "/download/bad/vector_bak/vector_backup_log.txt"
        )


def a_name_of_two_lines(place: Path, bad: str) -> None:
    (place / f"langchain_pg_embedding_{bad}.csv\n==== x").write_text("x")
    (place / "manifest_2026\n0101_000000.json").write_text("{}")
    (place.parent / "a\nb").mkdir()
    (place.parent.parent / "t\n1" / "vector_bak").mkdir(parents=True)


def a_name_that_is_no_text(place: Path, bad: str) -> None:
    os.mkdir(os.fsencode(place.parent.parent) + b"/t\xff")
    os.mkdir(os.fsencode(place.parent.parent) + b"/t\xff/vector_bak")
    with open(os.fsencode(place) + b"/manifest_\xff.json", "wb") as file:
        file.write(b"{}")


def a_link_to_itself(place: Path, bad: str) -> None:
    (place / "manifest_20260101_000000.json").symlink_to("manifest_20260101_000000.json")
    (place.parent.parent / "round").symlink_to("round")
    (place.parent.parent / "up").symlink_to("..")
    (place.parent.parent / "t").mkdir()
    (place.parent.parent / "t" / "vector_bak").symlink_to(place.parent.parent)


def a_link_to_elsewhere(place: Path, bad: str) -> None:
    manifest = place / f"manifest_{bad}.json"
    manifest.unlink()
    manifest.symlink_to("/etc/passwd")
    (place.parent.parent / "etc").symlink_to("/etc")


def a_pipe_for_a_manifest(place: Path, bad: str) -> None:
    (place / f"manifest_{bad}.json").unlink()
    os.mkfifo(place / f"manifest_{bad}.json")
    os.mkfifo(place.parent.parent / "pipe")
    (place.parent.parent / "p").mkdir()
    os.mkfifo(place.parent.parent / "p" / "vector_bak")


def a_directory_for_a_manifest(place: Path, bad: str) -> None:
    (place / f"manifest_{bad}.json").unlink()
    (place / f"manifest_{bad}.json" / "deeper" / "still").mkdir(parents=True)


def a_terabyte_of_holes(place: Path, bad: str) -> None:
    for name in (f"manifest_{bad}.json", f"verified_{bad}.json", f"pinned_{bad}.json", "vector_backup_log.txt"):
        with (place / name).open("ab") as file:
            file.truncate(1 << 40)


def a_hard_link_to_another_s_manifest(place: Path, bad: str) -> None:
    (good,) = (place.parent.parent / "vector_bak").glob("manifest_*.json")
    (place / f"manifest_{bad}.json").unlink()
    os.link(good, place / f"manifest_{bad}.json")


def times_that_no_calendar_has(place: Path, bad: str) -> None:
    for number, when in enumerate((2.0**33, 1e11, -1e9)):
        path = place / f"manifest_2030010{number + 1}_000000.json"
        path.write_text("{")
        os.utime(path, (when, when))


def names_that_differ_by_case_alone(place: Path, bad: str) -> None:
    for name in ("BAD", "Bad"):
        (place.parent.parent / name / "vector_bak").mkdir(parents=True)
    (place / f"MANIFEST_{bad}.JSON").write_text("{}")


def a_task_named_as_the_directory_of_sets(place: Path, bad: str) -> None:
    (place.parent.parent / "vector_bak" / "vector_bak").mkdir()


def a_thousand_manifests_of_nothing(place: Path, bad: str) -> None:
    for number in range(1000):
        (place / f"manifest_20200101_{number:06}.json").write_text("[")


ODD = [
    a_name_of_two_lines,
    a_name_that_is_no_text,
    a_link_to_itself,
    a_link_to_elsewhere,
    a_pipe_for_a_manifest,
    a_directory_for_a_manifest,
    a_terabyte_of_holes,
    a_hard_link_to_another_s_manifest,
    times_that_no_calendar_has,
    names_that_differ_by_case_alone,
    a_task_named_as_the_directory_of_sets,
    a_thousand_manifests_of_nothing,
]


@pytest.mark.parametrize("put_there", ODD, ids=lambda made: made.__name__)
def test_whatever_lies_below_the_root_is_answered(
    two: tuple[str, str], house: Path, as_: Callable[[str], Api], put_there: Callable[[Path, str], None]
) -> None:
    good, bad = two
    put_there(house / "bad" / "vector_bak", bad)
    api = as_("admin")
    require_good_as_it_was(
        api, good, f"/sets/bad/vector_bak/{bad}", f"/download/bad/vector_bak/langchain_pg_embedding_{bad}.csv"
    )
    beginning = {"Range": "bytes=0-1000"}
    answer = api.call("GET", f"/download/bad/vector_bak/manifest_{bad}.json", headers=beginning)
    assert answer.status_code in (206, 404, 500), answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


def test_the_page_itself_knows_nothing_of_what_lies_there(two: tuple[str, str], server_client: TestClient) -> None:
    """It is files alone, and asks the routes above."""
    assert server_client.get("/pgvector-backup/").status_code == 200


def test_a_hurried_client_does_not_have_the_disk_read_each_time(
    two: tuple[str, str], as_: Callable[[str], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking takes a tenth of the time, at most, however often it is asked for."""
    import time

    from pgvector_backup.web import routes_overview, sets

    looks = 0

    def slow() -> Any:
        nonlocal looks
        looks += 1
        time.sleep(0.5)
        return locations()

    api = as_("viewer")
    catalog = sets.catalog()
    locations = catalog.locations
    monkeypatch.setattr(catalog, "locations", slow)
    monkeypatch.setattr(routes_overview._seen, "_seen", None)
    monkeypatch.setattr(routes_overview._seen, "_times", 10.0)
    for _ in range(5):
        assert api.get("/overview")["newest_good"]["timestamp"] == two[0]
    assert looks == 1
