"""Which database a connection leads to, and that a run which only tells its plan is no backup and no failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import delete

from tests.airflow.web.test_runs import error, finish
from tests.helpers.api import Api, data_of
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set


@pytest.fixture(autouse=True)
def no_runs(dags: None) -> Iterator[None]:
    with create_session() as session:
        session.execute(delete(DagRun))
    yield
    with create_session() as session:
        session.execute(delete(DagRun))


def test_the_server_says_which_database_it_is(
    house: Path, api: Api, database: Database, elsewhere: Database, connection: Callable[..., None]
) -> None:
    told = api.get("/target?kind=backup")
    assert (told["connection"], told["database"]) == ("pgvector_default", database.name)
    assert told["system_identifier"]
    connection(elsewhere.uri(), "pgvector_restore")
    told = api.get("/target")
    assert (told["connection"], told["database"]) == ("pgvector_restore", elsewhere.name)
    assert api.get("/target?kind=backup")["database"] == database.name
    assert api.get("/target?db_connection=pgvector_default")["database"] == database.name


def test_who_may_not_run_it_and_what_may_not_be_named(
    house: Path, as_: Callable[[str | None], Api], api: Api, connection: Callable[..., None]
) -> None:
    data_of(as_(None).call("GET", "/target"), 401)
    data_of(as_("viewer").call("GET", "/target"), 403)
    data_of(api.call("GET", "/target?db_connection=warehouse"), 400)
    data_of(api.call("GET", "/target?db_connection=postgresql://u:p@h/d"), 400)
    data_of(api.call("GET", "/target?db_connection=pgvector_none"), 404)
    data_of(api.call("GET", f"/target?db_connection=pgvector_tmp_{'0' * 32}"), 404)
    connection("postgresql://u:secret@127.0.0.1:1/d", "pgvector_away")
    told = data_of(api.call("GET", "/target?db_connection=pgvector_away"), 500)
    assert told["error_type"] == "DATABASE_ERROR"
    assert "secret" not in str(told)


@pytest.mark.parametrize("kind", ["backup", "restore"])
def test_a_plan_is_asked_for_as_a_run_is(house: Path, api: Api, database: Database, kind: str) -> None:
    made = make_set(database)
    a_set = {"backup_path": "vector_bak", "timestamp": made.backup_id} if kind == "restore" else {}
    run_id = data_of(api.call("POST", f"/{kind}?wait=0", {**a_set, "dry_run": True}), 202)["run_id"]
    assert api.get(f"/{kind}/{run_id}")["asked"]["dry_run"] is True
    data_of(api.call("POST", f"/{kind}?wait=0", {**a_set, "dry_run": "yes"}), 400)


def test_a_plan_is_neither_the_last_backup_nor_a_failure_nor_a_success(house: Path, api: Api) -> None:
    def ended(state: str, conf: dict[str, Any]) -> str:
        run_id = str(data_of(api.call("POST", "/backup?wait=0", conf), 202)["run_id"])
        finish(run_id, state, **({"error": error("STORAGE_ERROR")} if state == "failed" else {}))
        return run_id

    ended("failed", {"dry_run": True})
    overview = api.get("/overview")
    assert overview["last"] is None
    assert "LAST_FAILED" not in [one["code"] for one in overview["warnings"]]
    failed = ended("failed", {})
    ended("success", {"dry_run": True})
    overview = api.get("/overview")
    assert overview["last"]["run_id"] == failed
    assert "LAST_FAILED" in [one["code"] for one in overview["warnings"]]
    assert overview["recent"][0]["asked"]["dry_run"] is True
    metrics = api.call("GET", "/metrics").text
    assert 'pgvector_backup_last_success_timestamp_seconds{kind="backup"}' not in metrics
