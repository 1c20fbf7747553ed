"""What the operators themselves refuse, also where no schema stands before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.database import Database
from tests.helpers.outcomes import check_error, names, rows
from tests.helpers.own_airflow import Configure, Run

DAG = '''
"""The shipped wiring without Params: nothing checks conf before the operators do."""
from airflow.sdk import DAG
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.report import PgVectorReportOperator
from pgvector_backup.operators.truncate import PgVectorTruncateOperator

with DAG(dag_id="bare", schedule=None, default_args={"retries": 3}):
    backup = PgVectorBackupOperator(task_id="backup", conf_from_run=True)
    truncate = PgVectorTruncateOperator(task_id="truncate", conf_from_run=True, backup=backup.output)
    report = PgVectorReportOperator(task_id="report", conf_from_run=True, trigger_rule="all_done", retries=0)
    backup >> truncate >> report
'''

Fails = Callable[..., str]


@pytest.fixture
def fails(house: Path, run: Run, tmp_path: Path, database: Database) -> Fails:
    """Run a conf that must fail at once and leave everything as it was; the error's text is returned."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "bare.py").write_text(DAG, encoding="utf-8")

    def runner(conf: dict[str, Any], error_type: str) -> str:
        outcome = run(conf, dags=folder, dag_id="bare")
        assert outcome.state == "failed"
        assert outcome.states == {"backup": "failed", "truncate": "upstream_failed", "report": "failed"}
        assert outcome.tries["backup"] == 1
        text = check_error(outcome.xcoms["backup", "error"], error_type)
        assert check_error(outcome.error, error_type) == text
        assert outcome.result["errors"] == [text]
        assert outcome.result["backup_performed"] is False
        assert rows(database) == 58
        return text

    return runner


@pytest.mark.parametrize("value", ["../x", "", "中文", "x" * 300, "a/b", ".", "a\n", "a\0b"], ids=ascii)
def test_a_bad_task_id(fails: Fails, house: Path, value: str) -> None:
    assert fails({"task_id": value}, "INVALID_PARAMS") == "无效的task_id格式,只能包含字母、数字和下划线"
    assert names(house) == []


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"task_ids": "x"}, ["unknown key", "'task_ids'", "'task_id'"]),
        ({"truncate": True}, ["unknown key", "'truncate'"]),
        ({"": 1}, ["unknown key"]),
        ({"task_id": 5}, ["task_id", "int"]),
        ({"task_id": ["a"]}, ["task_id", "list"]),
        ({"db_connection": {"host": "x"}}, ["db_connection", "dict"]),
        ({"truncate_vector_tables": "true"}, ["truncate_vector_tables", "boolean", "str"]),
        ({"truncate_vector_tables": 1}, ["truncate_vector_tables", "int"]),
        ({"truncate_vector_tables": None}, ["truncate_vector_tables", "NoneType"]),
        ({"backup_vector_tables": "no"}, ["backup_vector_tables"]),
    ],
    ids=str,
)
def test_unknown_keys_and_wrong_types(fails: Fails, house: Path, conf: dict[str, Any], words: list[str]) -> None:
    text = fails(conf, "INVALID_PARAMS")
    for word in words:
        assert word in text


def test_a_connection_that_is_not_allowed(fails: Fails, connection: Any, database: Database) -> None:
    connection(database.uri(), "warehouse")
    text = fails({"db_connection": "warehouse"}, "INVALID_PARAMS")
    assert "'warehouse'" in text
    assert "allowed_connections" in text


def test_a_connection_that_airflow_does_not_know(fails: Fails) -> None:
    text = fails({"db_connection": "pgvector_missing"}, "RESOURCE_NOT_FOUND")
    assert "'pgvector_missing'" in text
    assert "AIRFLOW_CONN_PGVECTOR_MISSING" in text


def test_a_connection_of_another_kind(fails: Fails, connection: Any) -> None:
    connection("mysql://user:secret-word@127.0.0.1/db", "pgvector_mysql")
    text = fails({"db_connection": "pgvector_mysql"}, "INVALID_PARAMS")
    assert "'mysql'" in text
    assert "secret-word" not in text


def test_a_connection_that_cannot_be_read(fails: Fails, connection: Any) -> None:
    connection('{"conn_type": "postgres", "password": "secret-word"', "pgvector_broken")
    text = fails({"db_connection": "pgvector_broken"}, "RESOURCE_NOT_FOUND")
    assert "'pgvector_broken' that it can read" in text
    assert "secret-word" not in text


def test_a_uri_while_that_is_not_allowed(fails: Fails, database: Database) -> None:
    text = fails({"db_connection": database.uri().replace("postgres@", "postgres:secret-word@")}, "INVALID_PARAMS")
    assert "allow_connection_uri" in text
    assert "secret-word" not in text


@pytest.mark.parametrize("scheme", ["mysql", "http", "file", "postgresql+psycopg", "POSTGRESQL", ""])
def test_a_uri_with_a_wrong_scheme(fails: Fails, configure: Configure, scheme: str) -> None:
    configure(allow_connection_uri=True)
    text = fails({"db_connection": f"{scheme}://user:secret-word@127.0.0.1/db"}, "INVALID_PARAMS")
    assert "postgresql://" in text
    assert "secret-word" not in text


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:secret-word@[::1/db",
        "postgresql://user:secret-word%zz@127.0.0.1/db",
        "postgresql://user:secret-word@127.0.0.1/db?nosuchoption=1",
        "postgresql://user@127.0.0.1/db?password=secret-word%",
    ],
)
def test_a_uri_that_libpq_cannot_read(fails: Fails, configure: Configure, uri: str) -> None:
    configure(allow_connection_uri=True)
    assert "secret-word" not in fails({"db_connection": uri}, "INVALID_PARAMS")


def test_a_task_directory_that_is_missing(fails: Fails, house: Path) -> None:
    assert fails({"task_id": "nobody_made_me"}, "RESOURCE_NOT_FOUND") == "指定的任务目录不存在: nobody_made_me"
    assert names(house) == []


def test_a_task_directory_that_is_a_file(fails: Fails, house: Path) -> None:
    (house / "a_file").write_text("mine")
    fails({"task_id": "a_file"}, "RESOURCE_NOT_FOUND")
    assert (house / "a_file").read_text() == "mine"


def test_a_task_directory_that_leads_out_of_the_root(fails: Fails, house: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (house / "link").symlink_to(tmp_path / "outside")
    fails({"task_id": "link"}, "RESOURCE_NOT_FOUND")
    assert names(tmp_path / "outside") == []


def test_a_uri_that_is_allowed(
    house: Path, run: Run, configure: Configure, connection: Any, database: Database
) -> None:
    configure(allow_connection_uri=True)
    connection("postgresql://nobody@127.0.0.1:1/nowhere")
    # The server of the tests listens on a socket only, which has to be meant where hosts are named.
    configure(allow_connection_uri=True, allowed_uri_hosts="*.example.com")
    refused = run({"db_connection": database.uri()})
    assert "may not name a socket" in check_error(refused.error, "INVALID_PARAMS")
    configure(allow_connection_uri=True, allowed_uri_hosts="")
    outcome = run({"db_connection": database.uri()})
    assert outcome.state == "success"
    manifest = (house / "vector_bak" / outcome.result["manifest_file"]).read_text(encoding="utf-8")
    assert database.name in manifest
    assert database.server.socket_directory not in manifest


@pytest.mark.parametrize(("scheme", "error_type"), [("ftp", "STORAGE_ERROR"), ("nosuchscheme", "INVALID_PARAMS")])
def test_a_password_in_the_root_s_url_is_not_shown(
    house: Path, run: Run, configure: Configure, caplog: pytest.LogCaptureFixture, scheme: str, error_type: str
) -> None:
    configure(backup_root=f"{scheme}://somebody:secret-word@127.0.0.1:1/backups", retries=0)
    outcome = run({})
    assert outcome.error["error_type"] == error_type
    assert f"{scheme}://127.0.0.1:1/backups" in outcome.error["response"]
    assert "secret-word" not in repr(outcome)
    assert "secret-word" not in caplog.text
