"""The DAG `pgvector_restore`, and its operators in a DAG of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset

from pgvector_backup.engine.contract.request_keys import RESTORE_KEYS
from pgvector_backup.operators.restore import PgVectorRestoreOperator, PgVectorRestoreReportOperator
from tests.helpers.database import Database
from tests.helpers.outcomes import check_error, log, rows
from tests.helpers.own_airflow import Configure, Run, load_dag

RESULT = {
    "response",
    "response_en",
    "restore_performed",
    "truncate_performed",
    "backup_info",
    "truncate_results",
    "restore_results",
    "errors",
    "dry_run",
    "duration",
    "timestamp",
}
DATABASES = {"connection", "source_database", "target_database", "same_database", "needs_into_other_database", "notes"}
OPERATORS = [PgVectorRestoreOperator, PgVectorRestoreReportOperator]
LATEST = {"backup_path": "vector_bak", "timestamp": "latest"}

OWN_DAG = '''
"""A DAG of somebody's own."""
from airflow.sdk import DAG
from pgvector_backup.operators.restore import PgVectorRestoreOperator, PgVectorRestoreReportOperator

with DAG(dag_id="own", schedule=None, params={{"where": "nightly"}}):
    same = dict(
        pgvector_conn_id="{{{{ 'warehouse' }}}}",
        backup_task_id="{{{{ params.where }}}}",
        backup_root="{root}",
        tables=["langchain_pg_embedding"],
        on_conflict="skip",
    )
    bring = PgVectorRestoreOperator(task_id="bring", **same)
    tell = PgVectorRestoreReportOperator(task_id="tell", restore_step="bring", trigger_rule="all_done", **same)
    bring >> tell
'''


def restored(run: Run, **conf: Any) -> Any:
    return run(conf, dag_id="pgvector_restore")


def test_the_dag_as_airflow_reads_it() -> None:
    dag = load_dag("pgvector_restore")
    assert [task.task_id for task in dag.topological_sort()] == ["restore", "report"]
    assert {task.task_id: task.trigger_rule.value for task in dag.tasks} == {
        "restore": "all_success",
        "report": "all_done",
    }
    assert dag.schedule is None
    assert dag.max_active_runs == 1
    assert dag.get_task("report").retries == 2
    assert dag.tags == {"pgvector", "restore"}
    assert dag.doc_md
    for task in dag.tasks:
        assert f"`{task.task_id}`" in dag.doc_md
    assert set(dag.params) == {key.name for key in RESTORE_KEYS}
    dag.params.validate()
    (asset,) = dag.get_task("restore").outlets
    assert isinstance(asset, Asset)
    assert asset.name == "pgvector_restore"


def test_what_was_backed_up_comes_back(house: Path, run: Run, database: Database) -> None:
    backup = run({})
    database.run("DELETE FROM langchain_pg_embedding WHERE id > 'id-3'")
    outcome = restored(run, **LATEST, truncate_before_restore=True)
    assert outcome.states == {"restore": "success", "report": "success"}
    result = outcome.result
    assert set(result) == RESULT | DATABASES
    assert result["connection"] == "pgvector_default"
    assert result["response"] == "Vector表恢复完成"
    assert result["restore_performed"] is True
    assert result["truncate_performed"] is True
    assert result["backup_info"]["backup_path"] == "vector_bak"
    assert result["backup_info"]["timestamp"] == backup.result["backup_id"]
    embedding = result["restore_results"]["langchain_pg_embedding"]
    assert embedding["success"] is True
    assert embedding["rows_restored"] == 58
    assert embedding["source_file"] == backup.result["tables_backed_up"]["langchain_pg_embedding"]["backup_file"]
    assert rows(database) == 58
    assert outcome.declared_results == {"report"}
    assert outcome.asset_events == [
        {
            "backup_id": backup.result["backup_id"],
            "backup_path": "vector_bak",
            "rows": {"langchain_pg_collection": 4, "langchain_pg_embedding": 58},
        }
    ]
    assert "RESTORE OK" in log(house / "vector_bak")
    assert f"run_id:    {outcome.run_id}" in log(house / "vector_bak")


def test_another_connection_is_the_target(
    house: Path, run: Run, database: Database, elsewhere: Database, connection: Callable[..., None]
) -> None:
    run({})
    connection(elsewhere.uri(), "pgvector_elsewhere")
    outcome = restored(run, **LATEST, db_connection="pgvector_elsewhere")
    assert outcome.state == "success"
    assert rows(elsewhere) == 58


def test_a_key_conflict_fails_at_once_and_changes_nothing(house: Path, run: Run, database: Database) -> None:
    run({})
    outcome = restored(run, **LATEST)
    assert outcome.states == {"restore": "failed", "report": "failed"}
    assert outcome.tries["restore"] == 1
    text = check_error(outcome.error, "CONFLICT")
    assert "on_conflict" in text
    assert outcome.result["restore_performed"] is False
    assert outcome.result["errors"] == [text]
    assert outcome.result["response"] == "Vector表恢复失败"
    assert rows(database) == 58
    assert "RESTORE FAILED" in log(house / "vector_bak")
    assert "as they were" in log(house / "vector_bak")


@pytest.mark.parametrize(
    ("conf", "error_type"),
    [
        ({}, "MISSING_REQUIRED_PARAMS"),
        ({"backup_path": "vector_bak"}, "MISSING_REQUIRED_PARAMS"),
        ({**LATEST, "unknown": 1}, "INVALID_PARAMS"),
        ({**LATEST, "backup_path": "../vector_bak"}, "INVALID_PARAMS"),
        ({**LATEST, "timestamp": "20200101_000000"}, "RESOURCE_NOT_FOUND"),
        ({**LATEST, "tables": ["nothing"]}, "RESOURCE_NOT_FOUND"),
        ({"task_id": "no_such_task", "timestamp": "latest"}, "RESOURCE_NOT_FOUND"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_refused(
    house: Path, run: Run, database: Database, conf: dict[str, Any], error_type: str
) -> None:
    run({})
    outcome = restored(run, **conf)
    assert outcome.state == "failed"
    assert outcome.error["error_type"] == error_type
    assert outcome.error["can_retry"] is False
    assert rows(database) == 58


def test_what_may_pass_is_tried_again(house: Path, run: Run, database: Database, configure: Configure) -> None:
    run({})
    configure(lock_timeout=0.2)
    with database.connect() as holder:
        holder.execute("LOCK TABLE langchain_pg_embedding")
        outcome = restored(run, **LATEST, truncate_before_restore=True)
    assert outcome.tries["restore"] == 2
    assert outcome.error["error_type"] == "DATABASE_ERROR"
    assert outcome.error["can_retry"] is True
    assert rows(database) == 58


def test_a_failure_names_what_was_backed_up_first(house: Path, run: Run, database: Database) -> None:
    run({})
    database.run("ALTER TABLE langchain_pg_embedding ADD CHECK (id = 'none') NOT VALID")
    outcome = restored(run, **LATEST, truncate_before_restore=True, backup_before_restore=True)
    assert outcome.state == "failed"
    saved = outcome.result["safety_backup"]
    assert set(outcome.result) == {*RESULT, "safety_backup"}
    assert saved["rows"]["langchain_pg_embedding"] == 58
    assert f"kept as set {saved['timestamp']} in {saved['backup_path']}" in check_error(outcome.error, "CONFLICT")
    assert f"as set {saved['timestamp']} in vector_bak" in log(house / "vector_bak")


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_constructors_only_store(operator: type[Any]) -> None:
    unusable = {
        "pgvector_conn_id": "{{ no such thing",
        "backup_root": "/proc/nowhere",
        "backup_path": "../..",
        "backup_task_id": "../out",
        "timestamp": "{{",
        "tables": [1],
        "on_conflict": "?",
        "collections": "",
        "rename_collection": [],
        "schema": ";",
        "conf_from_run": True,
    }
    task = operator(task_id="t", **unusable)
    for name, value in unusable.items():
        assert getattr(task, name) == value
    parameters = inspect.signature(operator.__init__).parameters
    kinds = {parameter.kind for name, parameter in parameters.items() if name not in ("self", "kwargs")}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_arguments_take_the_place_of_conf(
    house: Path, run: Run, database: Database, connection: Callable[..., None], tmp_path: Path
) -> None:
    (house / "nightly").mkdir()
    run({"task_id": "nightly"})
    database.run("DELETE FROM langchain_pg_embedding WHERE id > 'id-3'")
    connection(database.uri(), "warehouse")
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "own.py").write_text(OWN_DAG.format(root=house), encoding="utf-8")
    outcome = run({"backup_path": "../x", "unknown": 1}, dags=folder, dag_id="own")
    assert outcome.state == "success"
    assert rows(database) == 58
    table = outcome.xcoms["tell", "return_value"]["restore_results"]["langchain_pg_embedding"]
    assert table["rows_skipped"] > 0
    assert table["rows_restored"] + table["rows_skipped"] == 58
    assert "RESTORE OK" in log(house / "nightly" / "vector_bak")


def test_a_restore_uses_the_connection_of_restores_where_there_is_one(
    house: Path, run: Run, database: Database, connection: Callable[..., None], configure: Configure
) -> None:
    assert run({}).state == "success"
    database.run("TRUNCATE langchain_pg_embedding")
    database.run("DROP ROLE IF EXISTS reader")
    database.run("CREATE ROLE reader LOGIN")
    database.run("GRANT pg_read_all_data TO reader")
    try:
        connection(database.uri(user="reader"))
        refused = restored(run, **LATEST, tables=["langchain_pg_embedding"])
        assert refused.error["error_type"] == "DATABASE_ERROR"
        connection(database.uri(), "pgvector_restore")
        assert restored(run, **LATEST, tables=["langchain_pg_embedding"]).state == "success"
        configure(restore_connection_id="pgvector_absent")
        assert restored(run, **LATEST, tables=["langchain_pg_embedding"]).error["error_type"] == "RESOURCE_NOT_FOUND"
    finally:
        database.run("DROP OWNED BY reader")
        database.run("DROP ROLE reader")
