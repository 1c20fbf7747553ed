"""The operators in a DAG of the user's own, told by arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.base import PgVectorOperator
from pgvector_backup.operators.report import PgVectorReportOperator
from pgvector_backup.operators.truncate import PgVectorTruncateOperator
from tests.helpers.database import Database
from tests.helpers.own_airflow import Configure, Run

OPERATORS = [PgVectorBackupOperator, PgVectorTruncateOperator, PgVectorReportOperator]

# Nothing here could be used; a constructor must not care, for what it is given may still be a template.
UNUSABLE = {
    "pgvector_conn_id": "{{ no such thing",
    "backup_task_id": "../out",
    "tables": "; drop table",
    "backup_root": "/proc/nowhere",
    "conf_from_run": True,
}

OWN_DAG = '''
"""A DAG of somebody's own."""
from airflow.sdk import DAG, task
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.report import PgVectorReportOperator
from pgvector_backup.operators.truncate import PgVectorTruncateOperator

with DAG(dag_id="own", schedule=None, params={{"where": "nightly"}}):
    same = dict(
        pgvector_conn_id="{{{{ 'warehouse' }}}}",
        backup_task_id="{{{{ params.where }}}}",
        tables={tables!r},
        backup_root="{root}/{{{{ dag.dag_id }}}}",
    )
    backup = PgVectorBackupOperator(task_id="save", **same)
    truncate = PgVectorTruncateOperator(task_id="empty", backup=backup.output, **same)
    report = PgVectorReportOperator(
        task_id="tell", backup_step="save", truncate_step="empty", trigger_rule="all_done", **same
    )
    backup >> truncate >> report
'''


MAPPED_DAG = '''
"""One backup for each of several directories."""
from airflow.sdk import DAG
from pgvector_backup.operators.backup import PgVectorBackupOperator

with DAG(dag_id="mapped", schedule=None):
    PgVectorBackupOperator.partial(task_id="save", pgvector_conn_id="warehouse", backup_root="{root}").expand(
        backup_task_id=["one", "two"]
    )
'''


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_constructors_only_store(operator: type[PgVectorOperator]) -> None:
    further = {"backup": "{{ x"} if operator is PgVectorTruncateOperator else {}
    task = operator(task_id="t", **UNUSABLE, **further)
    for name, value in {**UNUSABLE, **further}.items():
        assert getattr(task, name) == value


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_every_argument_is_given_by_name(operator: type[PgVectorOperator]) -> None:
    parameters = inspect.signature(operator.__init__).parameters
    kinds = {parameter.kind for name, parameter in parameters.items() if name not in ("self", "kwargs")}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert {"pgvector_conn_id", "backup_task_id", "tables", "backup_root"} <= set(operator.template_fields)


@pytest.fixture
def own(house: Path, database: Database, configure: Configure, connection: Callable[..., None], tmp_path: Path) -> Path:
    """Folder and root for a DAG of one's own, whose connection conf could not name."""
    connection(database.uri(), "warehouse")
    configure(connection_id="unused", backup_root=house / "elsewhere")
    (house / "own" / "nightly").mkdir(parents=True)
    folder = tmp_path / "dags"
    folder.mkdir()
    return folder


def write(folder: Path, root: Path, tables: object) -> None:
    (folder / "own.py").write_text(OWN_DAG.format(root=root, tables=tables), encoding="utf-8")


def test_arguments_take_the_place_of_conf_and_configuration(
    own: Path, house: Path, run: Run, database: Database
) -> None:
    write(own, house, ["langchain_pg_embedding"])
    # This DAG's conf is its author's affair: no key of it is refused, or obeyed.
    outcome = run({"task_id": "../x", "unknown": 1}, dags=own, dag_id="own")
    assert outcome.state == "success"
    result = outcome.xcoms["tell", "return_value"]
    assert result["backup_directory"] == str(house / "own" / "nightly" / "vector_bak")
    assert set(result["tables_backed_up"]) == {"langchain_pg_embedding"}
    assert result["truncate_results"]["langchain_pg_embedding"]["rows_before"] == 58
    assert database.run("SELECT count(*) FROM langchain_pg_embedding") == [(0,)]
    assert database.run("SELECT count(*) FROM langchain_pg_collection") == [(4,)]
    assert (house / "own" / "nightly" / "vector_bak" / "vector_backup_log.txt").exists()
    assert not (house / "elsewhere").exists()


def test_arguments_are_rendered(own: Path, house: Path, run: Run) -> None:
    write(own, house, "langchain_pg_collection,langchain_pg_embedding")
    outcome = run(dags=own, dag_id="own")
    assert outcome.state == "success"
    for task_id in ("save", "empty", "tell"):
        rendered = outcome.rendered[task_id]
        assert rendered["pgvector_conn_id"] == "warehouse"
        assert rendered["backup_task_id"] == "nightly"
        assert rendered["backup_root"] == f"{house}/own"


def test_the_author_may_decide_against_emptying(own: Path, house: Path, run: Run, database: Database) -> None:
    write(own, house, "langchain_pg_embedding")
    text = (own / "own.py").read_text(encoding="utf-8")
    (own / "own.py").write_text(
        text.replace('task_id="empty"', 'task_id="empty", truncate_vector_tables=False'), encoding="utf-8"
    )
    outcome = run(dags=own, dag_id="own")
    assert outcome.states == {"save": "success", "empty": "skipped", "tell": "success"}
    assert database.run("SELECT count(*) FROM langchain_pg_embedding") == [(58,)]


def test_an_argument_that_cannot_be_used_fails_the_task_not_the_import(own: Path, house: Path, run: Run) -> None:
    write(own, house, "langchain_pg_embedding; drop")
    outcome = run(dags=own, dag_id="own")
    assert outcome.state == "failed"
    assert outcome.xcoms["save", "error"]["error_type"] in ("INVALID_PARAMS", "RESOURCE_NOT_FOUND")


def test_a_backup_may_be_mapped_over_directories(own: Path, house: Path, run: Run) -> None:
    (own / "mapped.py").write_text(MAPPED_DAG.replace("{root}", str(house)), encoding="utf-8")
    for name in ("one", "two"):
        (house / name).mkdir()
    assert run(dags=own, dag_id="mapped").state == "success"
    for name in ("one", "two"):
        assert len(list((house / name / "vector_bak").glob("manifest_*.json"))) == 1
