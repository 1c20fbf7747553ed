"""The DAG used in its three ways: on schedule, from the UI's form, over the REST API."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.rest import RestError
from tests.helpers.browser import open_page
from tests.helpers.installation import DAG_ID, URI_DAG_ID, Installation, manifest_of, until

EMBEDDINGS, COLLECTIONS = 58, 4


def check_set(result: dict[str, Any]) -> None:
    """The files that a result tells of are there, whole, and nothing unfinished is beside them."""
    directory = Path(result["backup_directory"])
    assert result["response"] == "Vector表备份完成"
    assert {label: table["row_count"] for label, table in result["tables_backed_up"].items()} == {
        "langchain_pg_collection": COLLECTIONS,
        "langchain_pg_embedding": EMBEDDINGS,
    }
    for table in result["tables_backed_up"].values():
        assert (directory / table["backup_file"]).stat().st_size == table["bytes"]
    assert (directory / result["manifest_file"]).exists()
    assert result["backup_id"] in (directory / "vector_backup_log.txt").read_text(encoding="utf-8")
    assert not list(directory.glob("*.tmp"))


def test_the_scheduler_makes_a_run_by_itself(installation: Installation) -> None:
    def scheduled() -> Any:
        runs = installation.client.request("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?run_type=scheduled")["dag_runs"]
        return runs and runs[0]["state"] in ("success", "failed") and runs[0]

    run = until(scheduled, "a scheduled run")
    assert run["state"] == "success"
    assert run["triggered_by"] == "timetable"
    assert run["conf"] == {}
    check_set(installation.client.xcom(DAG_ID, run["dag_run_id"], "report"))
    dag = installation.client.request("GET", f"/api/v2/dags/{DAG_ID}")
    assert dag["timetable_summary"] == "0 0 1 1 *"
    assert dag["next_dagrun_run_after"] > run["run_after"]


def test_triggered_over_rest_the_wait_returns_the_result(installation: Installation) -> None:
    run_id, outcome = installation.run({})
    assert outcome.state == "success"
    assert set(outcome.results) == {"report"}
    check_set(outcome.results["report"])
    assert installation.states(run_id) == {"backup": "success", "truncate": "skipped", "report": "success"}
    assert manifest_of(outcome)["run_id"] == run_id


def test_the_wait_of_a_failed_run_returns_the_result_too(installation: Installation) -> None:
    run_id, outcome = installation.run({"task_id": "not_there"})
    assert outcome.state == "failed"
    result = outcome.results["report"]
    assert result["backup_performed"] is False
    assert result["errors"] == ["指定的任务目录不存在: not_there"]
    error = installation.client.xcom(DAG_ID, run_id, "backup", "error")
    assert set(error) == {"response", "error_type", "can_retry", "timestamp"}
    assert (error["error_type"], error["can_retry"]) == ("RESOURCE_NOT_FOUND", False)
    assert installation.task(run_id, "backup")["try_number"] == 1
    # The last line that somebody woken up by the failure reads.
    log = installation.client.task_log(DAG_ID, run_id, "backup")
    assert "RESOURCE_NOT_FOUND: the task's directory does not exist: not_there" in log
    assert "the task's directory does not exist: not_there" in installation.client.task_log(DAG_ID, run_id, "report")


def test_an_unknown_key_fails_the_run(installation: Installation) -> None:
    run_id, outcome = installation.run({"truncate_vector_table": True})
    assert outcome.state == "failed"
    error = installation.client.xcom(DAG_ID, run_id, "backup", "error")
    assert error["error_type"] == "INVALID_PARAMS"
    assert "did you mean 'truncate_vector_tables'" in error["response"]
    assert installation.query("library", "SELECT count(*) FROM langchain_pg_embedding") == [(EMBEDDINGS,)]


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"task_id": "../x"}, "'../x' does not match"),
        ({"task_id": ""}, "'' does not match"),
        ({"task_id": "中文"}, "'中文' does not match"),
        ({"task_id": "x" * 300}, "is too long"),
        ({"task_id": 7}, "7 is not of type 'string', 'null'"),
        ({"truncate_vector_tables": "true"}, "'true' is not of type 'boolean'"),
        ({"truncate_vector_tables": None}, "None is not of type 'boolean'"),
        ({"backup_vector_tables": 1}, "1 is not of type 'boolean'"),
        ({"db_connection": ["pgvector_default"]}, "is not of type 'string', 'null'"),
        ({"db_connection": "warehouse"}, "'warehouse' does not match"),
        ({"db_connection": "postgresql://u@127.0.0.1/d"}, "does not match"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_the_schema_can_say_is_refused_by_the_trigger(
    installation: Installation, conf: dict[str, Any], words: str
) -> None:
    (key,) = conf
    with pytest.raises(RestError) as refused:
        installation.client.trigger(DAG_ID, conf)
    assert refused.value.status == 400
    assert key in str(refused.value.detail)
    assert words in str(refused.value.detail)


def test_a_uri_with_a_wrong_scheme_is_refused_where_uris_are_allowed(installation: Installation) -> None:
    with pytest.raises(RestError) as refused:
        installation.client.trigger(URI_DAG_ID, {"db_connection": "mysql://u@127.0.0.1/d"})
    assert refused.value.status == 400


def test_a_viewer_may_look_and_not_trigger(installation: Installation) -> None:
    viewer = installation.airflow.client("eve")
    assert viewer.request("GET", f"/api/v2/dags/{DAG_ID}")["dag_id"] == DAG_ID
    with pytest.raises(RestError) as refused:
        viewer.trigger(DAG_ID, {})
    assert refused.value.status == 403


def test_names_and_times_are_in_the_default_timezone(installation: Installation) -> None:
    _, outcome = installation.run({})
    result = outcome.results["report"]
    moment = datetime.fromisoformat(result["timestamp"])
    assert moment.utcoffset() == timedelta(hours=8)
    named = datetime.strptime(result["backup_id"] + "+0800", "%Y%m%d_%H%M%S%z")
    assert timedelta(0) <= moment - named < timedelta(minutes=1)
    assert datetime.fromisoformat(manifest_of(outcome)["created_at"]).utcoffset() == timedelta(hours=8)


def test_the_asset_s_events_are_an_audit_trail(installation: Installation) -> None:
    directory = installation.make_task_directory("audited")
    run_id, outcome = installation.run({"task_id": "audited"})
    events = installation.client.request(
        "GET", f"/api/v2/assets/events?source_dag_id={DAG_ID}&order_by=-timestamp&limit=5"
    )["asset_events"]
    (event,) = (event for event in events if event["source_run_id"] == run_id)
    assert event["name"] == "pgvector_backup"
    assert event["source_task_id"] == "backup"
    assert event["extra"]["backup_id"] == outcome.results["report"]["backup_id"]
    assert event["extra"]["backup_directory"] == str(directory)
    assert event["extra"]["task_id"] == "audited"
    assert event["extra"]["rows"] == {"langchain_pg_collection": COLLECTIONS, "langchain_pg_embedding": EMBEDDINGS}


def test_the_task_s_log_tells_what_happened(installation: Installation) -> None:
    run_id, outcome = installation.run({})
    result, log = outcome.results["report"], installation.client.task_log(DAG_ID, run_id, "backup")
    assert "using connection pgvector_default" in log
    assert f"to {result['backup_directory']}, as set {result['backup_id']}" in log
    table = result["tables_backed_up"]["langchain_pg_embedding"]
    assert re.search(rf"langchain_pg_embedding: 58 rows, {table['file_size']} in .* s \(.* MB/s\)", log)
    assert f"set {result['backup_id']} is on disk with 2 of 2 tables: {result['manifest_file']}" in log
    report = installation.client.task_log(DAG_ID, run_id, "report")
    assert f"OK  {result['backup_id']}" in report
    assert "not asked to empty any table: skipping truncate" in log


def test_the_trigger_form(installation: Installation, tmp_path: Path) -> None:
    directory = installation.make_task_directory("from_the_form")
    # A copy of the tables, for the form's switch empties them.
    _copy_library(installation, "emptied")
    airflow = installation.airflow
    with open_page(viewport={"width": 1280, "height": 1400}) as page:
        page.set_default_timeout(30_000)
        page.goto(f"{airflow.url}/dags/{DAG_ID}")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", airflow.passwords["admin"])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name=DAG_ID).wait_for()
        page.get_by_role("button", name="Trigger").click()
        form = page.locator("[role=dialog][aria-modal=true]")
        task_id = form.locator("#element_task_id")
        task_id.wait_for()
        text = form.inner_text()
        params = installation.client.request("GET", f"/api/v2/dags/{DAG_ID}/details")["params"]
        for param in params.values():
            assert param["schema"]["title"] in text
            assert param["description"] in text
            assert "`" not in param["description"]
        task_id.fill("from_the_form")
        form.locator("#element_db_connection").fill("pgvector_emptied")
        form.locator("label[id='switch:element_truncate_vector_tables']").click()
        page.screenshot(path=tmp_path / "form.png")
        with page.expect_response(lambda response: response.url.endswith("/dagRuns")) as answered:
            form.get_by_role("button", name="Trigger").click()
        run = answered.value.json()
        assert answered.value.status == 200
        outcome = installation.wait(run["dag_run_id"])
        page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run['dag_run_id']}")
        page.get_by_text("Success", exact=True).first.wait_for()
        page.screenshot(path=tmp_path / "run.png")
    assert (run["run_type"], run["triggering_user_name"]) == ("manual", "admin")
    assert outcome.state == "success"
    result = outcome.results["report"]
    assert result["backup_directory"] == str(directory)
    check_set(result)
    assert result["truncate_results"]["langchain_pg_embedding"]["rows_before"] == EMBEDDINGS
    assert installation.query("emptied", "SELECT count(*) FROM langchain_pg_embedding") == [(0,)]


def test_the_files_load_into_empty_tables_with_plain_copy(installation: Installation) -> None:
    _, outcome = installation.run({})
    result = outcome.results["report"]
    _copy_library(installation, "loaded")
    with psycopg.connect(installation.server.uri("loaded"), autocommit=True) as conn:
        conn.execute("TRUNCATE langchain_pg_collection, langchain_pg_embedding")
        for label, table in result["tables_backed_up"].items():
            content = (Path(result["backup_directory"]) / table["backup_file"]).read_bytes()
            with conn.cursor().copy(f"COPY {label} FROM STDIN (FORMAT csv, HEADER MATCH)") as copy:
                copy.write(content)
    everything = "SELECT t::text FROM {} AS t ORDER BY 1"
    for label in result["tables_backed_up"]:
        statement = everything.format(label)
        assert installation.query("loaded", statement) == installation.query("library", statement)


def _copy_library(installation: Installation, name: str) -> None:
    """Another database with the sample in it, and the connection `pgvector_{name}` to it, stored in Airflow."""
    installation.query("postgres", f"CREATE DATABASE {name} TEMPLATE library")
    connection = {
        "connection_id": f"pgvector_{name}",
        "conn_type": "postgres",
        "host": installation.server.socket_directory,
        "port": installation.server.port,
        "login": "postgres",
        "schema": name,
    }
    installation.client.request("POST", "/api/v2/connections", connection)
