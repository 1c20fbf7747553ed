"""What a run of the DAG does, for everything that conf may ask."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.helpers.database import Database
from tests.helpers.outcomes import check_error, log, names, rows
from tests.helpers.own_airflow import Configure, Run

RESULT = {
    "response",
    "response_en",
    "backup_performed",
    "truncate_performed",
    "backup_directory",
    "backup_id",
    "manifest_file",
    "tables_backed_up",
    "truncate_results",
    "errors",
    "duration",
    "timestamp",
}
OF_A_SET = {"mode", "base_backup_id", "chain_length", "full_because", "connection", "source_database"}
TABLE = {
    "success",
    "row_count",
    "rows_written",
    "rows_unchanged",
    "rows_deleted",
    "file_size",
    "backup_file",
    "duration",
    "bytes",
    "sha256",
}
TRUNCATED = {"success", "rows_before", "rows_after", "duration"}

INSERT = "INSERT INTO langchain_pg_embedding (id, embedding) VALUES ('late', '[4,5,6]')"


def test_an_empty_conf_backs_up_everything(house: Path, run: Run, database: Database) -> None:
    outcome = run({})
    assert outcome.state == "success"
    assert outcome.states == {"backup": "success", "truncate": "skipped", "report": "success"}
    result, directory = outcome.result, house / "vector_bak"
    backup_id = result["backup_id"]
    # The tests' role is a superuser, for which there is advice.
    assert set(result) == RESULT | OF_A_SET | {"advice"}
    assert result["response"] == "Vector表备份完成"
    assert result["connection"] == "pgvector_default"
    assert result["source_database"]["database"] == database.name
    assert result["backup_performed"] is True
    assert result["truncate_performed"] is False
    assert result["backup_directory"] == str(directory)
    assert re.fullmatch(r"\d{8}_\d{6}", backup_id)
    assert result["manifest_file"] == f"manifest_{backup_id}.json"
    assert result["truncate_results"] == {}
    assert result["errors"] == []
    assert isinstance(result["duration"], float)
    assert datetime.fromisoformat(result["timestamp"]).tzinfo is not None
    assert list(result["tables_backed_up"]) == ["langchain_pg_collection", "langchain_pg_embedding"]
    for label, table in result["tables_backed_up"].items():
        assert set(table) == TABLE
        assert table["success"] is True
        assert table["backup_file"] == f"{label}_{backup_id}.csv"
        assert table["bytes"] == (directory / table["backup_file"]).stat().st_size
        assert re.fullmatch(r"\d+\.\d [KMGT]?B", table["file_size"])
        assert re.fullmatch(r"[0-9a-f]{64}", table["sha256"])
        assert isinstance(table["duration"], float)
    counts = {label: table["row_count"] for label, table in result["tables_backed_up"].items()}
    assert counts == {"langchain_pg_collection": 4, "langchain_pg_embedding": 58}
    assert {
        f"langchain_pg_collection_{backup_id}.csv",
        f"langchain_pg_embedding_{backup_id}.csv",
        f"manifest_{backup_id}.json",
        "vector_backup_log.txt",
    } <= set(names(directory))
    assert not [name for name in names(directory) if name.endswith(".tmp")]


def test_the_result_is_declared_as_the_dag_s_own(house: Path, run: Run) -> None:
    assert run({}).declared_results == {"report"}


def test_the_result_is_the_same_after_a_trip_through_json(house: Path, run: Run) -> None:
    result = run({}).result
    assert json.loads(json.dumps(result)) == result


def test_null_is_the_same_as_nothing(house: Path, run: Run) -> None:
    result = run({"task_id": None, "db_connection": None}).result
    assert result["backup_directory"] == str(house / "vector_bak")


def test_a_task_id_chooses_its_directory(house: Path, run: Run) -> None:
    (house / "task_20250721_213627").mkdir()
    outcome = run({"task_id": "task_20250721_213627"})
    directory = house / "task_20250721_213627" / "vector_bak"
    assert outcome.result["backup_directory"] == str(directory)
    manifest = json.loads((directory / outcome.result["manifest_file"]).read_bytes())
    assert manifest["task_id"] == "task_20250721_213627"
    assert manifest["run_id"] == outcome.run_id
    assert names(house) == ["task_20250721_213627"]


def test_the_log_file_gets_a_section_per_run(house: Path, run: Run) -> None:
    first, second = run({}), run({"truncate_vector_tables": True})
    sections = log(house / "vector_bak").split("\n\n")
    assert [bool(section.strip()) for section in sections] == [True, True, False]
    for section, outcome in zip(sections, (first, second), strict=False):
        result = outcome.result
        lines = section.splitlines()
        assert lines[0] == f"==== {result['timestamp']}  OK  {result['backup_id']}"
        assert lines[1:4] == [
            "task_id:   (none)",
            f"run_id:    {outcome.run_id}",
            f"duration:  {result['duration']:.3f} s",
        ]
        for label, table in result["tables_backed_up"].items():
            (line,) = (line for line in lines if line.startswith(f"table:     {label}: "))
            assert f"{table['row_count']} rows, {table['file_size']}" in line
            assert table["backup_file"] in line
    assert "truncate:  not asked for" in sections[0].splitlines()
    assert "truncate:  langchain_pg_embedding: 58 rows -> 0" in sections[1].splitlines()


def test_an_asset_event_tells_of_the_backup(house: Path, run: Run) -> None:
    (house / "t1").mkdir()
    outcome = run({"task_id": "t1"})
    assert outcome.asset_events == [
        {
            "backup_id": outcome.result["backup_id"],
            "backup_directory": str(house / "t1" / "vector_bak"),
            "manifest_file": outcome.result["manifest_file"],
            "task_id": "t1",
            "rows": {"langchain_pg_collection": 4, "langchain_pg_embedding": 58},
        }
    ]


@pytest.mark.parametrize("backup", [True, False])
def test_truncate_empties_after_the_backup_and_switches_it_on(
    house: Path, run: Run, database: Database, backup: bool
) -> None:
    outcome = run({"truncate_vector_tables": True, "backup_vector_tables": backup})
    assert outcome.states == {"backup": "success", "truncate": "success", "report": "success"}
    result = outcome.result
    assert result["backup_performed"] is True
    assert result["truncate_performed"] is True
    (emptied,) = result["truncate_results"].items()
    assert emptied[0] == "langchain_pg_embedding"
    assert set(emptied[1]) == TRUNCATED
    assert (emptied[1]["success"], emptied[1]["rows_before"], emptied[1]["rows_after"]) == (True, 58, 0)
    assert rows(database) == 0
    assert rows(database, "langchain_pg_collection") == 4
    assert result["tables_backed_up"]["langchain_pg_embedding"]["row_count"] == 58


def test_neither_asked_for_does_nothing_and_says_so(house: Path, run: Run, database: Database) -> None:
    outcome = run({"backup_vector_tables": False})
    assert outcome.state == "success"
    assert outcome.states == {"backup": "skipped", "truncate": "skipped", "report": "success"}
    result = outcome.result
    assert set(result) == RESULT
    assert result["backup_performed"] is False
    assert result["truncate_performed"] is False
    assert result["tables_backed_up"] == {}
    assert result["errors"] == []
    assert result["response"] not in ("", "Vector表备份完成")
    assert "nothing was done" in log(house / "vector_bak")
    assert names(house / "vector_bak") == ["vector_backup_log.txt"]
    assert outcome.asset_events == []
    assert rows(database) == 58


class Writer(threading.Thread):
    """Writes a row during the backup and commits it while the truncate waits for its lock."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._conn = database.connect()
        self._conn.execute(INSERT)
        self.committed = False

    def run(self) -> None:
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        deadline = time.monotonic() + 60
        while not self._database.run(waiting) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._conn.commit()
        self._conn.close()
        self.committed = True


def test_a_row_that_the_backup_does_not_hold_is_kept(house: Path, run: Run, database: Database) -> None:
    writer = Writer(database)
    writer.start()
    outcome = run({"truncate_vector_tables": True})
    writer.join()
    assert writer.committed
    assert outcome.state == "failed"
    assert outcome.states == {"backup": "success", "truncate": "failed", "report": "failed"}
    text = check_error(outcome.xcoms["truncate", "error"], "CONFLICT")
    assert "1 of 59 rows" in text
    assert outcome.error == outcome.xcoms["truncate", "error"]
    assert outcome.tries["truncate"] == 1
    result = outcome.result
    assert result["backup_performed"] is True
    assert result["truncate_performed"] is False
    assert result["errors"] == [text]
    assert result["response"] != "Vector表备份完成"
    assert rows(database) == 59
    section = log(house / "vector_bak")
    assert "FAILED" in section
    assert f"REFUSED, the tables are as they were: {text}" in section


def test_one_missing_table_does_not_stop_the_others_but_fails_the_run(
    house: Path, run: Run, database: Database, configure: Configure
) -> None:
    configure(tables="langchain_pg_collection,not_there,langchain_pg_embedding", retries=3)
    outcome = run({"truncate_vector_tables": True})
    assert outcome.state == "failed"
    assert outcome.states == {"backup": "failed", "truncate": "upstream_failed", "report": "failed"}
    assert outcome.tries["backup"] == 1
    result = outcome.result
    assert result["backup_performed"] is False
    assert result["truncate_performed"] is False
    assert result["truncate_results"] == {}
    tables = result["tables_backed_up"]
    assert [tables[label]["success"] for label in tables] == [True, False, True]
    assert "not_there" in tables["not_there"]["error"]
    assert tables["langchain_pg_embedding"]["row_count"] == 58
    assert (house / "vector_bak" / tables["langchain_pg_embedding"]["backup_file"]).exists()
    assert result["errors"] == [tables["not_there"]["error"]]
    assert check_error(outcome.error, "RESOURCE_NOT_FOUND") == tables["not_there"]["error"]
    assert rows(database) == 58
    assert outcome.asset_events == []
    section = log(house / "vector_bak")
    assert section.count("not_there: FAILED: ") == 1
    assert "langchain_pg_embedding: 58 rows" in section
    assert "truncate:  not carried out" in section


def test_what_cannot_be_retried_fails_at_once(house: Path, run: Run, configure: Configure) -> None:
    configure(retries=5)
    outcome = run({"task_id": "not_there"})
    assert outcome.states == {"backup": "failed", "truncate": "upstream_failed", "report": "failed"}
    assert outcome.tries["backup"] == 1
    text = check_error(outcome.xcoms["backup", "error"], "RESOURCE_NOT_FOUND")
    assert text == "指定的任务目录不存在: not_there"
    assert outcome.result["errors"] == [text]
    assert names(house) == []


def test_what_can_be_retried_is_retried(house: Path, run: Run, configure: Configure, connection: Any) -> None:
    configure(retries=2)
    connection("postgresql://somebody@127.0.0.1:1/nowhere")
    outcome = run({})
    assert outcome.state == "failed"
    assert outcome.tries["backup"] == 3
    text = check_error(outcome.xcoms["backup", "error"], "DATABASE_ERROR", can_retry=True)
    assert text.startswith("数据库连接失败,请检查连接配置")
    assert not list((house / "vector_bak").glob("*.tmp"))


class Locker(threading.Thread):
    """Keeps a table locked until somebody has waited for it in vain."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._conn: psycopg.Connection[Any] = database.connect()
        self._conn.execute("LOCK TABLE langchain_pg_embedding IN ACCESS EXCLUSIVE MODE")

    def run(self) -> None:
        deadline = time.monotonic() + 60
        for wanted in (1, 0):
            while self._waiting() != wanted and time.monotonic() < deadline:
                time.sleep(0.02)
        self._conn.close()

    def _waiting(self) -> int:
        return int(self._database.run("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0])


def test_a_retry_that_succeeds_leaves_no_word_of_the_failure(
    house: Path, run: Run, configure: Configure, database: Database
) -> None:
    configure(retries=9, lock_timeout=0.3)
    locker = Locker(database)
    locker.start()
    outcome = run({})
    locker.join()
    assert outcome.state == "success"
    assert outcome.tries["backup"] > 1
    assert not [key for key in outcome.xcoms if key[1] == "error"]
    assert outcome.result["errors"] == []
    # What the failed attempts could save is kept; the last set is the whole one.
    manifest = json.loads((house / "vector_bak" / outcome.result["manifest_file"]).read_bytes())
    assert len(manifest["tables"]) == 2
    assert not list((house / "vector_bak").glob("*.tmp"))


def test_each_run_makes_a_set_of_its_own(house: Path, run: Run) -> None:
    first, second = run({}).result, run({}).result
    assert first["backup_id"] != second["backup_id"]
    for result in (first, second):
        assert {result["manifest_file"]} | {t["backup_file"] for t in result["tables_backed_up"].values()} <= set(
            names(house / "vector_bak")
        )


def test_names_and_times_are_in_the_default_timezone(house: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_TIMEZONE", "Asia/Shanghai")
    result = run({}).result
    moment = datetime.fromisoformat(result["timestamp"])
    assert moment.utcoffset() == timedelta(hours=8)
    assert abs(datetime.strptime(result["backup_id"] + "+0800", "%Y%m%d_%H%M%S%z") - moment) < timedelta(minutes=1)


def test_every_table_that_failed_is_in_the_task_s_log(
    house: Path, run: Run, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(tables="not_there,langchain_pg_collection,neither")
    run({})
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    for name in ("not_there", "neither"):
        assert any(line.startswith(f"{name}: failed: ") for line in errors)


def test_a_right_that_is_missing_is_named_and_not_retried(
    house: Path, run: Run, configure: Configure, database: Database, connection: Any
) -> None:
    role = f"reader_of_{database.name}"
    database.run(f"CREATE ROLE {role} LOGIN")
    try:
        database.run(f"GRANT SELECT ON langchain_pg_collection, langchain_pg_embedding TO {role}")
        connection(database.uri(role))
        outcome = run({"truncate_vector_tables": True})
        assert outcome.states == {"backup": "success", "truncate": "failed", "report": "failed"}
        text = check_error(outcome.error, "DATABASE_ERROR")
        assert "permission denied for table langchain_pg_embedding" in text
        assert "TRUNCATE" in text
        assert outcome.tries["truncate"] == 1
        assert rows(database) == 58
    finally:
        database.run(f"DROP OWNED BY {role}")
        database.run(f"DROP ROLE {role}")
