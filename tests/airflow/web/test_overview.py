"""What the page shows first, what it warns of, and the health of the installation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType
from sqlalchemy import delete

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import NotFound
from pgvector_backup.engine.store.root import locate
from pgvector_backup.web import attention, routes_overview
from tests.helpers import langchain
from tests.helpers.api import Api, data_of
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.own_airflow import Configure


def ago(age: timedelta) -> datetime:
    """So long before this very moment: the suite may have been at work for many minutes."""
    return datetime.now(timezone.utc) - age


@pytest.fixture(autouse=True)
def no_runs(dags: None) -> Iterator[None]:
    """Runs of other tests are none of these tests' matter."""
    yield
    with create_session() as session:
        session.execute(delete(DagRun))


@pytest.fixture
def house(house: Path, configure: Configure) -> Path:
    with create_session() as session:
        session.execute(delete(DagRun))
    configure(schedule="@daily")
    return house


def codes(overview: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in overview["warnings"]]


def warning(overview: dict[str, Any], code: str) -> dict[str, Any]:
    (found,) = [one for one in overview["warnings"] if one["code"] == code]
    return dict(found)


def verify(root: Path, backup_id: str | None, *, ok: bool = True, place: str | None = None) -> None:
    told = {"verified_at": ago(timedelta()).isoformat(), "depth": "rows", "ok": ok, "run_id": "v"}
    locate(root, place, "vector_bak").write(f"verified_{backup_id}.json", json.dumps(told).encode())


def test_an_installation_in_order(house: Path, api: Api, database: Database) -> None:
    made = make_set(database)
    verify(house, made.backup_id)
    overview = api.get("/overview")
    assert overview["warnings"] == []
    assert overview["newest_good"]["timestamp"] == made.backup_id
    assert overview["newest_good"]["verified"]["ok"] is True
    assert (overview["running"], overview["last"]) == ([], None)
    assert (overview["schedule"], overview["paused"]) == ("@daily", False)
    assert overview["next_run"]
    assert overview["tables"] == ["langchain_pg_collection", "langchain_pg_embedding"]
    assert overview["truncate_tables"] == ["langchain_pg_embedding"]
    assert overview["copy_roots"] == []
    assert [key["name"] for key in overview["backup_keys"]][:2] == ["task_id", "db_connection"]
    assert {"name", "title", "description", "default", "schema"} == set(overview["restore_keys"][0])


def test_nothing_yet(house: Path, api: Api) -> None:
    overview = api.get("/overview")
    assert codes(overview) == ["NO_BACKUP"]
    assert overview["newest_good"] is None


@pytest.mark.parametrize(
    ("schedule", "age", "overdue"),
    [
        ("@daily", timedelta(hours=24), False),
        ("@daily", timedelta(hours=26), True),
        ("0 3 * * *", timedelta(hours=26), True),
        ("@weekly", timedelta(days=6), False),
        ("@weekly", timedelta(days=8), True),
        ("@hourly", timedelta(minutes=90), False),
        ("@hourly", timedelta(hours=3), True),
        ("*/5 * * * *", timedelta(minutes=20), True),
        ("none", timedelta(days=400), False),
    ],
)
def test_a_backup_that_is_overdue(
    house: Path, api: Api, database: Database, configure: Configure, schedule: str, age: timedelta, overdue: bool
) -> None:
    configure(schedule=schedule)
    verify(house, make_set(database, now=ago(age)).backup_id)
    overview = api.get("/overview")
    assert codes(overview) == (["OVERDUE"] if overdue else [])
    if overdue:
        params = warning(overview, "OVERDUE")["params"]
        assert params["age_seconds"] == pytest.approx(age.total_seconds(), abs=120)
        assert params["allowed_seconds"] < params["age_seconds"]


def test_a_task_s_backup_does_not_stand_in_for_the_scheduled_one(house: Path, api: Api, database: Database) -> None:
    (house / "t1").mkdir()
    made = make_set(database, now=ago(timedelta(days=3)))
    verify(house, made.backup_id)
    make_set(database, task_id="t1")
    overview = api.get("/overview")
    assert codes(overview) == ["OVERDUE"]
    assert overview["newest_good"]["timestamp"] == made.backup_id


def test_never_verified_and_verified_in_vain(house: Path, api: Api, database: Database) -> None:
    made = make_set(database)
    assert codes(api.get("/overview")) == ["UNVERIFIED"]
    verify(house, made.backup_id, ok=False)
    overview = api.get("/overview")
    assert warning(overview, "VERIFY_FAILED")["params"] == {
        "relative_path": "vector_bak",
        "timestamp": made.backup_id,
    }


def test_an_empty_table_that_was_not(house: Path, api: Api, database: Database) -> None:
    before = make_set(database)
    database.run("DELETE FROM langchain_pg_embedding")
    first, second = make_set(database), make_set(database)
    verify(house, second.backup_id)
    overview = api.get("/overview")
    # The one just before was empty already: nothing has changed.
    assert codes(overview) == []
    data_of(api.call("DELETE", f"/sets/vector_bak/{first.backup_id}"))
    told = warning(api.get("/overview"), "EMPTY")
    assert told["params"] == {
        "relative_path": "vector_bak",
        "timestamp": second.backup_id,
        "earlier": before.backup_id,
        "tables": ["langchain_pg_embedding"],
    }


def test_the_newest_set_damaged(house: Path, api: Api, database: Database) -> None:
    good, bad = make_set(database), make_set(database)
    verify(house, good.backup_id)
    (house / "vector_bak" / bad.tables["langchain_pg_embedding"].file).unlink()
    overview = api.get("/overview")
    assert codes(overview) == ["DAMAGED"]
    assert "missing" in warning(overview, "DAMAGED")["message"]
    assert overview["newest_good"]["timestamp"] == good.backup_id


def test_a_paused_dag(house: Path, api: Api, database: Database) -> None:
    verify(house, make_set(database).backup_id)

    def pause(paused: bool) -> None:
        with create_session() as session:
            found = session.get(DagModel, "pgvector_backup")
            assert found is not None
            found.is_paused = paused

    pause(True)
    try:
        overview = api.get("/overview")
    finally:
        pause(False)
    assert codes(overview) == ["PAUSED"]
    assert overview["paused"] is True


def test_a_backup_that_failed(house: Path, api: Api, database: Database) -> None:
    verify(house, make_set(database).backup_id)
    run_id = data_of(api.call("POST", "/backup?wait=0", {}), 202)["run_id"]
    overview = api.get("/overview")
    assert [run["run_id"] for run in overview["running"]] == [run_id]
    assert "result" not in overview["running"][0]
    with create_session() as session:
        run = session.query(DagRun).filter_by(run_id=run_id).one()
        run.set_state("failed")
    overview = api.get("/overview")
    assert overview["running"] == []
    assert overview["last"]["run_id"] == run_id
    assert overview["last"]["result"] is None
    assert codes(overview) == ["LAST_FAILED"]
    assert "gave no reason" in warning(overview, "LAST_FAILED")["message"]


def test_a_root_that_cannot_be_read(house: Path, api: Api, configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    configure(backup_root=tmp_path / "file")
    overview = api.get("/overview")
    assert codes(overview) == ["ROOT_UNREADABLE"]
    assert data_of(api.call("GET", "/restore/list"), 500)["error_type"] == "STORAGE_ERROR"


def test_a_root_that_is_not_mounted(house: Path, api: Api, database: Database) -> None:
    make_set(database)
    house.rename(house.parent / "unmounted")
    overview = api.get("/overview")
    assert codes(overview) == ["ROOT_UNREADABLE"]
    assert overview["storage"]["free"] is None, "what is free elsewhere is of no use"
    health = api.call("GET", "/health")
    assert health.status_code == 503
    assert "mount its volume" in str(data_of(health, 503))
    assert not house.exists()


def test_warnings_speak_the_language_asked_for(house: Path, api: Api) -> None:
    messages = {
        language: api.get("/overview", headers={"Accept-Language": language})["warnings"][0]["message"]
        for language in ("zh", "en")
    }
    assert messages == {"zh": "还没有任何完好的备份", "en": "there is no good backup yet"}


def test_the_connections_are_those_that_may_be_named(house: Path, as_: Callable[[str], Api], api: Api) -> None:
    from airflow.models.connection import Connection

    ids = ("pgvector_two", "warehouse", "pgvector_http", "pgvector_tmp_" + "0" * 32)
    with create_session() as session:
        for one in ids:
            session.add(Connection(conn_id=one, conn_type="http" if one.endswith("http") else "postgres"))
    try:
        assert api.get("/overview")["connections"] == {
            "default": "pgvector_default",
            "allowed": ["pgvector*"],
            "known": ["pgvector_default", "pgvector_two"],
        }
        assert as_("viewer").get("/overview")["connections"]["known"] == ["pgvector_default"]
    finally:
        with create_session() as session:
            session.execute(delete(Connection).where(Connection.conn_id.in_(ids)))


def test_a_set_found_damaged_is_not_the_newest_good_one(house: Path, api: Api, database: Database) -> None:
    good, bad = make_set(database), make_set(database)
    verify(house, good.backup_id)
    verify(house, bad.backup_id, ok=False)
    overview = api.get("/overview")
    assert overview["newest_good"]["timestamp"] == good.backup_id
    assert codes(overview) == ["VERIFY_FAILED"]
    (place,) = api.get("/restore/list")["backup_locations"]
    told = {one["timestamp"]: one for one in place["backups"]}
    assert (told[bad.backup_id]["good"], told[good.backup_id]["good"]) == (False, True)
    assert told[bad.backup_id]["fault"].startswith("its last verification found damage")
    assert told[bad.backup_id]["damaged"] is None


def test_never_verified_is_no_concern_while_one_not_long_ago_was(house: Path, api: Api, database: Database) -> None:
    before = make_set(database, now=ago(timedelta(days=5)))
    make_set(database)
    assert codes(api.get("/overview")) == ["UNVERIFIED"]
    verify(house, before.backup_id)
    assert codes(api.get("/overview")) == []


def test_what_was_proven_long_ago_speaks_for_nobody(house: Path, api: Api, database: Database) -> None:
    before = make_set(database, now=ago(timedelta(days=20)))
    make_set(database)
    verify(house, before.backup_id)
    assert codes(api.get("/overview")) == ["UNVERIFIED"]


def test_databases_in_one_location_are_told_apart(
    house: Path, api: Api, database: Database, elsewhere: Database
) -> None:
    elsewhere.run("CREATE EXTENSION vector")
    elsewhere.run(langchain.filled(5))
    missed = make_set(elsewhere, run_id="scheduled__1", now=ago(timedelta(days=3)))
    newest = make_set(database)
    verify(house, newest.backup_id)
    overview = api.get("/overview")
    assert {one["database"] for one in overview["databases"]} == {database.name, elsewhere.name}
    told = warning(overview, "OVERDUE")
    assert (told["params"]["timestamp"], told["params"]["database"]) == (missed.backup_id, elsewhere.name)
    assert told["message"].startswith(f"{elsewhere.name}: ")
    (place,) = api.get("/restore/list")["backup_locations"]
    assert {one["timestamp"]: one["database"] for one in place["backups"]} == {
        missed.backup_id: elsewhere.name,
        newest.backup_id: database.name,
    }
    assert all(one["server"]["system_identifier"] for one in place["backups"])


class TestStanding:
    """A failure stays until the same thing succeeds."""

    @staticmethod
    def _run(api: Api, state: str, conf: dict[str, Any] | None = None, kind: str = "backup") -> str:
        run_id = data_of(api.call("POST", f"/{kind}?wait=0", conf or {}), 202)["run_id"]
        with create_session() as session:
            session.query(DagRun).filter_by(run_id=run_id).one().set_state(state)
        return str(run_id)

    def test_three_nights_running(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        self._run(api, "success")
        runs = [self._run(api, "failed") for _ in range(3)]
        told = warning(api.get("/overview", headers={"Accept-Language": "en"}), "LAST_FAILED")
        assert told["params"]["streak"] == 3
        assert told["params"]["run_id"] == runs[-1]
        assert told["message"].startswith("pgvector_default has failed 3 times in a row, since ")

    def test_another_s_success_does_not_hide_it(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        (house / "t1").mkdir()
        failed = self._run(api, "failed")
        self._run(api, "success", {"task_id": "t1"})
        self._run(api, "success", {"db_connection": "pgvector_two"})
        assert warning(api.get("/overview"), "LAST_FAILED")["params"]["run_id"] == failed
        self._run(api, "success")
        assert codes(api.get("/overview")) == []

    def test_a_verification_s_failure_stays_too(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        self._run(api, "failed", kind="verify")
        self._run(api, "success")
        assert codes(api.get("/overview")) == ["VERIFY_RUN_FAILED"]

    def test_what_follows_a_backup_is_about_its_location(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        self._followed(api, "failed", "night", "20260101_000000")
        self._followed(api, "success", None, "20260102_000000")
        self._run(api, "success", kind="verify")
        overview = api.get("/overview", headers={"Accept-Language": "en"})
        told = warning(overview, "VERIFY_RUN_FAILED")
        assert told["message"].startswith("night/vector_bak: the last verification failed: ")
        assert {"backup_path": "night/vector_bak", "timestamp": "20260101_000000"} in [
            run["asked"] for run in overview["recent"]
        ]
        self._followed(api, "failed", "night", "20260103_000000")
        told = warning(api.get("/overview", headers={"Accept-Language": "en"}), "VERIFY_RUN_FAILED")
        assert told["message"].startswith("the verification of night/vector_bak has failed 2 times in a row, since ")
        self._followed(api, "success", "night", "20260104_000000")
        assert codes(api.get("/overview")) == []

    def _followed(self, api: Api, state: str, task_id: str | None, backup_id: str) -> None:
        """A verification that a backup's asset event has called for, and how it ended."""
        run_id = self._run(api, state, kind="verify")
        with create_session() as session:
            run = session.query(DagRun).filter_by(run_id=run_id).one()
            run.run_type = DagRunType.ASSET_TRIGGERED
            asset = session.query(AssetModel).filter_by(name="pgvector_backup").first()
            if asset is None:
                session.add(asset := AssetModel(name="pgvector_backup", uri="pgvector_backup"))
                session.flush()
            extra = {"backup_id": backup_id, "task_id": task_id, "backup_directory": "wherever"}
            run.consumed_asset_events.append(AssetEvent(asset_id=asset.id, extra=extra))

    def test_of_several_the_one_that_failed_is_named(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        self._run(api, "failed")
        self._run(api, "success", {"db_connection": "pgvector_two"})
        told = warning(api.get("/overview", headers={"Accept-Language": "en"}), "LAST_FAILED")
        assert told["message"].startswith("pgvector_default: the last backup failed: ")

    def test_a_prune_s_failure_stays_too(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        self._run(api, "failed", kind="prune")
        self._run(api, "success")
        assert codes(api.get("/overview")) == ["PRUNE_FAILED"]
        self._run(api, "success", kind="prune")
        assert codes(api.get("/overview")) == []

    def test_a_reason_is_told_in_the_reader_s_language(self, house: Path, api: Api, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        run_id = self._run(api, "failed")
        fault = NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id="t9"))
        left = {"error": dict(fault.report()), "error_en": fault.english}
        with create_session() as session:
            for key, value in left.items():
                XComModel.set(
                    key=key,
                    value=value,
                    dag_id="pgvector_backup",
                    task_id="report",
                    run_id=run_id,
                    serialize=False,
                    session=session,
                )
        english = warning(api.get("/overview", headers={"Accept-Language": "en"}), "LAST_FAILED")
        assert english["message"] == "the last backup failed: the task's directory does not exist: t9"
        assert english["params"]["response"] == "the task's directory does not exist: t9"
        chinese = warning(api.get("/overview"), "LAST_FAILED")
        assert chinese["message"] == "最近一次备份失败: 指定的任务目录不存在: t9"
        assert "response_en" not in chinese["params"]

    def test_what_was_cancelled_is_neither(self, house: Path, api: Api, as_: Any, database: Database) -> None:
        verify(house, make_set(database).backup_id)
        run_id = data_of(api.call("POST", "/backup?wait=0", {}), 202)["run_id"]
        data_of(as_("op").call("DELETE", f"/backup/{run_id}?wait=0"))
        overview = api.get("/overview")
        assert codes(overview) == []
        assert [(one["run_id"], one["cancelled"]) for one in overview["recent"]] == [(run_id, True)]

    def test_the_recent_runs_are_of_all_kinds(self, house: Path, api: Api, database: Database) -> None:
        made = make_set(database)
        conf = {"backup_path": "vector_bak", "timestamp": made.backup_id}
        ids = [
            self._run(api, "success"),
            self._run(api, "failed", conf, "restore"),
            self._run(api, "success", kind="verify"),
        ]
        overview = api.get("/overview")
        assert [one["run_id"] for one in overview["recent"]] == ids[::-1]
        assert overview["recent"][1]["asked"] == conf


def test_the_root_what_it_holds_and_what_is_free(house: Path, api: Api, database: Database) -> None:
    made = make_set(database)
    storage = api.get("/overview")["storage"]
    assert storage["backup_root"] == str(house)
    assert storage["sets"] == 1
    assert storage["bytes"] == sum(table.bytes for table in made.tables.values())
    assert storage["free"] > 0


def test_a_running_backup_says_what_it_is_about(house: Path, as_: Any, database: Database) -> None:
    (house / "t1").mkdir()
    uri = "postgresql://somebody:hidden@db.example.com/vectors"
    data_of(as_("admin").call("POST", "/backup?wait=0", {"db_connection": uri, "task_id": "t1"}), 202)
    answer = as_("viewer").call("GET", "/overview")
    (run,) = data_of(answer)["running"]
    assert run["asked"] == {"db_connection": "URI", "task_id": "t1"}
    assert run["cancelling"] is False
    assert "example.com" not in answer.text


class TestHealth:
    def test_all_is_well(self, house: Path, api: Api) -> None:
        assert api.get("/health") == {"database": "ok", "storage": "ok"}

    def test_a_root_that_will_be_made_is_fine(self, house: Path, api: Api, configure: Configure) -> None:
        configure(backup_root=house / "not" / "yet", create_root=True)
        assert api.get("/health")["storage"] == "ok"
        assert not (house / "not").exists()

    def test_a_root_that_is_gone_is_not(self, house: Path, api: Api, configure: Configure) -> None:
        configure(backup_root=house / "not" / "there")
        assert "does not exist" in data_of(api.call("GET", "/health"), 503)["checks"]["storage"]

    def test_no_database(self, house: Path, api: Api, connection: Callable[..., None]) -> None:
        connection("postgresql://somebody:hidden@127.0.0.1:1/nowhere")
        answer = api.call("GET", "/health")
        data = data_of(answer, 503)
        assert answer.json()["message"] == "数据库服务不可用"
        assert (data["error_type"], data["can_retry"]) == ("SERVICE_UNAVAILABLE", True)
        assert data["checks"]["database"].startswith("数据库连接失败")
        assert data["checks"]["storage"] == "ok"
        assert "hidden" not in answer.text

    def test_no_connection(self, house: Path, api: Api, configure: Configure) -> None:
        configure(connection_id="pgvector_not_there")
        assert "no connection" in data_of(api.call("GET", "/health"), 503)["checks"]["database"]

    def test_no_place(self, house: Path, api: Api, configure: Configure, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        configure(backup_root=tmp_path / "file" / "below")
        data = data_of(api.call("GET", "/health"), 503)
        assert "not a directory" in data["checks"]["storage"]


class TestOfStorageAndPolicy:
    def test_rows_that_fell_by_more_than_half(self, house: Path, api: Api, database: Database) -> None:
        before = make_set(database)
        database.run(
            "DELETE FROM langchain_pg_embedding WHERE id NOT IN (SELECT id FROM langchain_pg_embedding LIMIT 20)"
        )
        fell = make_set(database)
        verify(house, fell.backup_id)
        told = warning(api.get("/overview"), "ROWS_FELL")
        assert told["params"]["tables"] == ["langchain_pg_embedding"]
        assert (told["params"]["earlier"], told["params"]["timestamp"]) == (before.backup_id, fell.backup_id)
        again = make_set(database)
        verify(house, again.backup_id)
        assert codes(api.get("/overview")) == []

    def test_room_for_fewer_than_three_more(
        self, house: Path, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make_set(database)
        verify(house, made.backup_id)
        size = sum(table.bytes for table in made.tables.values())
        for free, warned in ((3 * size, []), (3 * size - 1, ["SPACE"]), (None, [])):
            monkeypatch.setattr(routes_overview, "_storage", lambda free=free: ("", free))
            assert codes(api.get("/overview")) == warned

    @pytest.mark.parametrize(
        ("settings", "code"),
        [
            ({"keep_at_least": 3}, ["POLICY_IDLE"]),
            ({"keep_last": 1}, ["POLICY_DRASTIC"]),
            ({"keep_within": "soon"}, ["POLICY_BAD"]),
            ({"keep_last": 4}, []),
            ({}, []),
        ],
    )
    def test_a_policy_that_removes_nothing_or_most(
        self, house: Path, api: Api, database: Database, configure: Configure, settings: dict[str, Any], code: list[str]
    ) -> None:
        for _ in range(4):
            made = make_set(database)
        verify(house, made.backup_id)
        configure(**settings)
        assert codes(api.get("/overview")) == code

    def test_a_copy_that_is_missing(self) -> None:
        result = {"copies": [{"root": "s3://a/b", "success": False}, {"root": "/c", "success": True}]}
        assert [(one.code, one.params) for one in attention.about_copies(result)] == [
            ("COPY_FAILED", {"root": "s3://a/b"})
        ]
        assert attention.about_copies(None) == attention.about_copies({"copies": "x"}) == []
