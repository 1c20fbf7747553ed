"""How long sets stay, over HTTP: the plan and its reasons in both languages, pins, prunes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.utils.session import create_session
from sqlalchemy import delete, select

from pgvector_backup.engine.contract.requests import PruneRequest
from pgvector_backup.engine.prune import prune
from pgvector_backup.installation import configuration
from tests.helpers.api import Api, data_of
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set, multiply
from tests.helpers.own_airflow import Configure

ENGLISH = {"Accept-Language": "en"}


@pytest.fixture(autouse=True)
def no_runs(dags: None) -> Iterator[None]:
    yield
    with create_session() as session:
        session.execute(delete(DagRun))


@pytest.fixture
def nights(house: Path, database: Database) -> list[str]:
    """Sets of thirty nights, the newest first."""
    newest = datetime.now(timezone.utc) - timedelta(hours=2)
    made = make_set(database, now=newest).backup_id
    assert made is not None
    return [made, *multiply(house / "vector_bak", made, [newest - timedelta(days=day) for day in range(1, 30)])]


def plan(api: Api, query: str = "?backup_path=vector_bak", **headers: str) -> list[dict[str, Any]]:
    (place,) = api.get(f"/retention{query}", headers=ENGLISH | headers)["locations"]
    return list(place["sets"])


def test_without_a_policy_everything_stays_and_says_so(api: Api, nights: list[str]) -> None:
    told = api.get("/retention", headers=ENGLISH)
    assert (told["has_policy"], told["policy"], told["bytes_freed"]) == (False, {"keep_at_least": 1}, 0)
    assert {one["reasons"][0] for one in told["locations"][0]["sets"]} == {"no policy: nothing is removed"}


def test_the_plan_is_what_a_prune_then_carries_out(api: Api, nights: list[str], configure: Configure) -> None:
    configure(keep_daily=7, keep_weekly=4)
    told = api.get("/retention", headers=ENGLISH)
    assert told["policy"] == {"keep_daily": 7, "keep_weekly": 4, "keep_at_least": 1}
    (place,) = told["locations"]
    assert place["drastic"] is True
    going = [one["timestamp"] for one in place["sets"] if not one["keep"]]
    assert told["bytes_freed"] == sum(one["bytes"] for one in place["sets"] if not one["keep"]) > 0
    result = prune(PruneRequest(force=True), configuration.settings(), now=configuration.now())
    assert [one.timestamp for one in result.locations[0].removed] == going
    assert [one["timestamp"] for one in plan(api)] == [one for one in nights if one not in going]


def test_each_set_says_why_it_stays_in_both_languages_and_when_it_goes(
    api: Api, nights: list[str], configure: Configure
) -> None:
    configure(keep_daily=3, schedule="@daily")
    newest, *others = plan(api)
    assert newest["reasons"][-1] == "the newest good one"
    assert newest["reasons"][0].startswith("daily of 20")
    assert plan(api, **{"Accept-Language": "zh"})[0]["reasons"][-1] == "最新的完好备份"
    goes = [datetime.fromisoformat(one["goes_at"]) for one in (newest, *others[:2])]
    assert [round((when - datetime.now(timezone.utc)) / timedelta(days=1)) for when in goes] == [3, 2, 1]
    assert {one["goes_at"] for one in others[2:]} == {None}
    # Only where one location is asked for, and backups are somebody's duty.
    assert {one["goes_at"] for one in plan(api, "")} == {None}
    configure(schedule="none")
    assert {one["goes_at"] for one in plan(api)} == {None}


def test_a_pin_holds_a_set_and_says_who_and_why(
    house: Path, api: Api, as_: Any, nights: list[str], configure: Configure
) -> None:
    configure(keep_last=1)
    path = f"/sets/vector_bak/{nights[9]}"
    told = data_of(as_("op").call("PUT", f"{path}/pin", {"reason": "audit 2026", "until": "2099-03-01"}))
    assert (told["relative_path"], told["timestamp"]) == ("vector_bak", nights[9])
    assert {name: told["pin"][name] for name in ("by", "reason")} == {"by": "op", "reason": "audit 2026"}
    assert told["pin"]["until"].startswith("2099-03-01T23:59:59")
    assert api.get(path)["pin"] == told["pin"]
    (listed,) = [one for one in api.get("/restore/list")["backup_locations"][0]["backups"] if one["pin"]]
    assert listed["timestamp"] == nights[9]
    assert [one["timestamp"] for one in plan(api) if one["keep"]] == [nights[0], nights[9]]
    assert plan(api)[9]["reasons"] == ["pinned until 2099-03-01 by op: audit 2026"]
    refused = data_of(api.call("DELETE", path), 409)
    assert "pinned until 2099-03-01 by op: audit 2026; unpin it first" in refused["response"]
    prune(PruneRequest(force=True), configuration.settings(), now=configuration.now())
    assert [one["timestamp"] for one in plan(api)] == [nights[0], nights[9]]

    assert data_of(api.call("DELETE", f"{path}/pin"))["pin"]["reason"] == "audit 2026"
    assert api.get(path)["pin"] is None
    assert "is not pinned" in data_of(api.call("DELETE", f"{path}/pin"), 404)["response"]
    with create_session() as session:
        events = session.scalars(select(Log).where(Log.event.in_(["pgvector_pin_set", "pgvector_unpin_set"]))).all()
    assert {(one.event, one.owner) for one in events} >= {("pgvector_pin_set", "op"), ("pgvector_unpin_set", "user")}
    data_of(api.call("DELETE", path))


def test_a_pin_takes_the_place_of_an_earlier_one(api: Api, nights: list[str]) -> None:
    path = f"/sets/vector_bak/{nights[0]}/pin"
    for reason in ("first", "second"):
        data_of(api.call("PUT", path, {"reason": reason}))
    assert api.get(f"/sets/vector_bak/{nights[0]}")["pin"]["reason"] == "second"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({}, 400, "缺少必需参数"),
        ({"reason": "  "}, 400, "缺少必需参数"),
        ({"reason": None}, 400, "reason: expected string"),
        ({"reason": 7}, 400, "reason: expected string"),
        ({"reason": "x" * 1001}, 400, "longer than 1,000 characters"),
        ({"reason": "x", "until": "someday"}, 400, "until: 'someday' is no date"),
        ({"reason": "x", "until": "2001-01-01"}, 400, "is past"),
        ({"reason": "x", "until": "9999-12-31"}, 400, "no date that will come"),
        ({"reason": "x", "until": 2027}, 400, "until: expected string or null"),
        ({"reason": "x", "by": "admin"}, 400, "unknown key 'by'"),
    ],
)
def test_a_pin_that_makes_no_sense_is_refused(
    api: Api, nights: list[str], body: dict[str, Any], code: int, said: str
) -> None:
    path = f"/sets/vector_bak/{nights[0]}"
    assert said in data_of(api.call("PUT", f"{path}/pin", body), code)["response"]
    assert api.get(path)["pin"] is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("vector_bak/latest", 400),
        ("vector_bak/20200101_000000", 404),
        ("nowhere/vector_bak/20200101_000000", 404),
        ("../vector_bak/20200101_000000", 404),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_is_not_there_cannot_be_pinned(api: Api, nights: list[str], path: str, code: int, method: str) -> None:
    body = {"reason": "x"} if method == "PUT" else None
    answer = api.call(method, f"/sets/{path}/pin", body)
    assert answer.status_code in (code, 404)


def test_files_of_another_tool_can_be_pinned_too(house: Path, api: Api, nights: list[str]) -> None:
    (house / "vector_bak" / "langchain_pg_embedding_20200101_000000.csv").write_text("id\n")
    path = "/sets/vector_bak/20200101_000000"
    data_of(api.call("PUT", f"{path}/pin", {"reason": "the old system"}))
    assert "unpin it first" in data_of(api.call("DELETE", path), 409)["response"]
    data_of(api.call("DELETE", f"{path}/pin"))
    assert data_of(api.call("DELETE", path))["removed"] == ["langchain_pg_embedding_20200101_000000.csv"]


def test_a_pin_that_nobody_can_read_holds(house: Path, api: Api, nights: list[str], configure: Configure) -> None:
    configure(keep_last=1)
    for number, text in enumerate(("{", '{"by": "x", "reason": "y", "until": "0001-01-01T00:00:00+14:00"}')):
        (house / "vector_bak" / f"pinned_{nights[5 + number]}.json").write_text(text)
    assert [one["timestamp"] for one in plan(api) if one["keep"]] == [nights[0], nights[5], nights[6]]
    assert "its file cannot be read" in plan(api)[5]["reasons"][0]


def test_a_prune_is_triggered_with_its_conf(api: Api, nights: list[str]) -> None:
    run_id = data_of(api.call("POST", "/prune?wait=0", {"backup_path": "vector_bak", "dry_run": True}), 202)["run_id"]
    run = api.get(f"/prune/{run_id}")
    assert (run["kind"], run["dag_id"]) == ("prune", "pgvector_prune")
    assert run["asked"] == {"backup_path": "vector_bak", "dry_run": True}
    assert api.get("/overview")["running"][0]["kind"] == "prune"
    stopped = data_of(api.call("DELETE", f"/prune/{run_id}"))
    assert stopped["cancelled"] is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"forse": True}, 400),
        ({"dry_run": "yes"}, 400),
        ({"backup_path": "vector_bak", "task_id": "t1"}, 400),
        ({"task_id": "a/b"}, 400),
        ({"task_id": "nowhere"}, 404),
        ({"backup_path": "nowhere/vector_bak"}, 404),
        ({"keep_last": 1}, 400),
    ],
)
def test_a_bad_prune_is_refused_before_there_is_a_run(
    api: Api, nights: list[str], body: dict[str, Any], code: int
) -> None:
    data_of(api.call("POST", "/prune?wait=0", body), code)
    with create_session() as session:
        assert not session.scalars(select(DagRun).where(DagRun.dag_id == "pgvector_prune")).all()


def test_a_policy_that_makes_no_sense_names_its_key(api: Api, nights: list[str], configure: Configure) -> None:
    configure(keep_within="soon")
    assert "keep_within" in data_of(api.call("GET", "/retention"), 400)["response"]
