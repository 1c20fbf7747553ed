"""What has to work on every version of everything, one test a thing; `make test-matrix` runs it elsewhere too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.helpers.api import Api, data_of
from tests.helpers.database import Database
from tests.helpers.own_airflow import PLUGINS, Run, load

OURS = {"pgvector_backup", "pgvector_restore", "pgvector_verify"}


def test_plugin(metadata: None) -> None:
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    assert "pgvector_backup" in {plugin.name for plugin in plugins}
    assert not [path for path in errors if str(PLUGINS) in path]


def test_dags() -> None:
    bag = load()
    assert bag.import_errors == {}
    assert set(bag.dags) >= OURS


def test_backup(house: Path, run: Run) -> None:
    outcome = run({})
    assert outcome.state == "success"
    tables = outcome.result["tables_backed_up"]
    assert {label: table["row_count"] for label, table in tables.items()} == {
        "langchain_pg_collection": 4,
        "langchain_pg_embedding": 58,
    }


def test_truncate(house: Path, run: Run, database: Database) -> None:
    outcome = run({"truncate_vector_tables": True})
    assert outcome.state == "success"
    assert outcome.result["truncate_performed"] is True
    assert database.run("SELECT count(*) FROM langchain_pg_embedding") == [(0,)]


def test_restore(house: Path, run: Run, database: Database) -> None:
    assert run({"truncate_vector_tables": True}).state == "success"
    outcome = run(
        {"backup_path": "vector_bak", "timestamp": "latest", "on_conflict": "skip"}, dag_id="pgvector_restore"
    )
    assert outcome.state == "success"
    assert outcome.result["restore_results"]["langchain_pg_embedding"]["rows_restored"] == 58
    assert database.run("SELECT count(*) FROM langchain_pg_embedding") == [(58,)]


def test_verify(house: Path, run: Run) -> None:
    assert run({}).state == "success"
    outcome = run({"depth": "rows"}, dag_id="pgvector_verify")
    assert outcome.state == "success"
    assert outcome.result["verify_performed"] is True


def test_http(house: Path, api: Api) -> None:
    overview = api.get("/overview")
    assert overview
    started = data_of(api.call("POST", "/backup?wait=0", {}), 202)
    assert api.get(f"/backup/{started['run_id']}")["state"] == "queued"


def test_page(server_client: TestClient) -> None:
    answer = server_client.get("/pgvector-backup/")
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]


def test_cancel(house: Path, api: Api) -> None:
    started: dict[str, Any] = data_of(api.call("POST", "/backup?wait=0", {}), 202)
    ended = data_of(api.call("DELETE", f"/backup/{started['run_id']}?wait=0"))
    assert ended["state"] == "failed"
    assert ended["cancelled"] is True
