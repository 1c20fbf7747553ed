"""The task `copy`: a set at other roots before anything is emptied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.database import Database
from tests.helpers.outcomes import check_error, log, names, rows
from tests.helpers.own_airflow import Configure, Run, load_dag


@pytest.fixture
def others(house: Path, configure: Configure) -> list[Path]:
    """Two further roots, configured."""
    roots = [house.parent / "other_1", house.parent / "other_2"]
    for root in roots:
        root.mkdir()
    configure(copy_roots=", ".join(map(str, roots)), retries=0)
    return roots


def test_without_other_roots_there_is_no_such_task(house: Path) -> None:
    assert not load_dag().has_task("copy")


def test_the_copy_stands_between_backup_and_truncate(others: list[Path], configure: Configure) -> None:
    dag = load_dag()
    assert [task.task_id for task in dag.topological_sort()] == ["backup", "copy", "truncate", "report"]
    assert dag.get_task("truncate").upstream_task_ids == {"backup", "copy"}
    assert dag.get_task("report").upstream_task_ids == {"copy", "truncate"}
    configure(truncate_needs_copies=False)
    assert load_dag().get_task("truncate").upstream_task_ids == {"backup"}


def test_each_set_is_brought_to_each_root(house: Path, others: list[Path], run: Run) -> None:
    (house / "task_1").mkdir()
    outcome = run({"task_id": "task_1"})
    assert outcome.states == {"backup": "success", "copy": "success", "truncate": "skipped", "report": "success"}
    copies = outcome.result["copies"]
    assert [(one["root"], one["success"]) for one in copies] == [(str(root), True) for root in others]
    assert all(one["duration"] > 0 for one in copies)
    assert outcome.result["response"] == "Vector表备份完成"
    there = [name for name in names(house / "task_1/vector_bak") if not name.endswith("log.txt")]
    for root in others:
        assert names(root / "task_1/vector_bak") == there
        assert f"copy:      {root}: whole" in log(house / "task_1/vector_bak")


def test_tables_are_emptied_once_the_copies_are_there(
    house: Path, others: list[Path], run: Run, database: Database
) -> None:
    outcome = run({"truncate_vector_tables": True})
    assert outcome.states == {"backup": "success", "copy": "success", "truncate": "success", "report": "success"}
    assert rows(database) == 0
    assert outcome.result["truncate_performed"] is True


def test_a_copy_that_failed_keeps_the_tables_as_they_are(
    house: Path, others: list[Path], run: Run, database: Database
) -> None:
    before = rows(database)
    others[0].rmdir()
    outcome = run({"truncate_vector_tables": True})
    assert outcome.states == {
        "backup": "success",
        "copy": "failed",
        "truncate": "upstream_failed",
        "report": "failed",
    }
    assert rows(database) == before
    result = outcome.result
    assert result["response"] == "Vector表备份复制失败"
    assert result["response_en"] == "Copying the backup sets failed"
    assert result["backup_performed"] is True
    assert result["truncate_performed"] is False
    first, second = result["copies"]
    assert (first["success"], second["success"]) == (False, True)
    assert first["error"] == result["errors"][0]
    assert len(result["errors"]) == 1
    assert str(others[0]) in check_error(outcome.error, "STORAGE_ERROR", can_retry=True)
    assert names(others[1] / "vector_bak")
    section = log(house / "vector_bak")
    assert "FAILED" in section
    assert f"copy:      {others[0]}: FAILED: " in section
    assert "truncate:  not carried out: did not run: task copy failed" in section


def test_a_failed_copy_holds_up_no_truncate_that_does_not_need_it(
    house: Path, others: list[Path], run: Run, database: Database, configure: Configure
) -> None:
    configure(truncate_needs_copies=False)
    others[0].rmdir()
    outcome = run({"truncate_vector_tables": True})
    assert outcome.states == {"backup": "success", "copy": "failed", "truncate": "success", "report": "failed"}
    assert rows(database) == 0
    assert outcome.result["truncate_performed"] is True


def test_a_second_try_copies_what_the_first_could_not(
    house: Path, others: list[Path], run: Run, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgvector_backup.engine import copy_sets as story

    configure(retries=1)
    calls = []
    require = story.require_root

    def once(root: object, *, create: bool) -> None:
        calls.append(str(root))
        if len(calls) == 1:
            shutil.rmtree(others[0])
            try:
                require(others[0], create=create)
            finally:
                others[0].mkdir()

    monkeypatch.setattr(story, "require_root", once)
    outcome = run({})
    assert outcome.states["copy"] == "success"
    assert outcome.tries["copy"] == 2
    assert [one["files_copied"] for one in outcome.result["copies"]] == [5, 0]


def test_nothing_asked_for_is_nothing_copied(house: Path, others: list[Path], run: Run) -> None:
    outcome = run({"backup_vector_tables": False})
    assert outcome.states == {"backup": "skipped", "copy": "skipped", "truncate": "skipped", "report": "success"}
    assert outcome.result["copies"] == []
    assert names(others[0]) == []


OWN = """
from datetime import datetime
from airflow.sdk import DAG
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.copy_sets import PgVectorCopyOperator
from pgvector_backup.operators.report import PgVectorReportOperator

with DAG("own", schedule=None, start_date=datetime(2025, 1, 1)):
    saved = PgVectorBackupOperator(task_id="saved")
    elsewhere = PgVectorCopyOperator(task_id="elsewhere", backup=saved.output, copy_roots=[{root!r}], retries=0)
    told = PgVectorReportOperator(task_id="report", trigger_rule="all_done", retries=0)
    saved >> elsewhere >> told
"""


def test_a_dag_of_ones_own_copies_to_a_root_of_its_own(house: Path, tmp_path: Path, run: Run) -> None:
    root, dags = tmp_path / "elsewhere", tmp_path / "dags"
    root.mkdir()
    dags.mkdir()
    (dags / "own.py").write_text(OWN.format(root=str(root)))
    outcome = run(dags=dags, dag_id="own")
    assert outcome.states == {"saved": "success", "elsewhere": "success", "report": "success"}
    assert [one["root"] for one in outcome.result["copies"]] == [str(root)]
    shutil.rmtree(root)
    outcome = run(dags=dags, dag_id="own")
    assert outcome.states == {"saved": "success", "elsewhere": "failed", "report": "failed"}
    assert outcome.result["response_en"] == "Copying the backup sets failed"


def test_a_set_that_the_first_root_has_lost_is_restored_and_verified_at_a_copy(
    house: Path, others: list[Path], run: Run, database: Database
) -> None:
    before = rows(database)
    assert run({"truncate_vector_tables": True}).state == "success"
    shutil.rmtree(house / "vector_bak")
    asked = {"backup_path": "vector_bak", "timestamp": "latest", "from_copy": str(others[1])}
    assert run(asked, dag_id="pgvector_verify").result["sets"][0]["ok"] is True
    outcome = run({**asked, "on_conflict": "skip"}, dag_id="pgvector_restore")
    assert outcome.result["restore_performed"] is True
    assert rows(database) == before
    assert "RESTORE OK" in log(others[1] / "vector_bak")
    assert not (house / "vector_bak").exists()
    refused = run({**asked, "from_copy": str(house.parent)}, dag_id="pgvector_restore")
    assert "from_copy" in check_error(refused.error, "INVALID_PARAMS", can_retry=False)


def test_a_copy_is_made_on_request_and_made_again_where_it_is_damaged_or_lost(
    house: Path, others: list[Path], run: Run, configure: Configure
) -> None:
    configure(copy_roots="")
    assert run({}).state == "success"
    assert "copy_roots" in check_error(run({}, dag_id="pgvector_copy").xcoms["copy", "error"], "INVALID_PARAMS")
    configure(copy_roots=", ".join(map(str, others)))
    told = run({"backup_path": "vector_bak"}, dag_id="pgvector_copy").xcoms["copy", "return_value"]
    assert [(one["root"], one["success"], one["files_copied"]) for one in told["copies"]] == [
        (str(root), True, 5) for root in others
    ]
    assert f"to {others[0]}: whole" in log(house / "vector_bak")
    (embeddings,) = (others[0] / "vector_bak").glob("langchain_pg_embedding_*.csv")
    whole = embeddings.read_bytes()
    embeddings.write_bytes(whole[:-2] + b"x\n")
    asked = {"backup_path": "vector_bak", "timestamp": told["copies"][0]["timestamp"]}
    told = run(asked, dag_id="pgvector_copy").xcoms["copy", "return_value"]
    assert [one["repaired"] for one in told["copies"]] == [True, False]
    assert embeddings.read_bytes() == whole
    shutil.rmtree(house / "vector_bak")
    shutil.rmtree(others[0] / "vector_bak")
    asked = {"backup_path": "vector_bak", "from_copy": str(others[1]), "all": True}
    told = run(asked, dag_id="pgvector_copy").xcoms["copy", "return_value"]
    assert [one["root"] for one in told["copies"]] == [str(house), str(others[0])]
    assert embeddings.read_bytes() == (house / "vector_bak" / embeddings.name).read_bytes() == whole
    failed = run({**asked, "from_copy": str(house)}, dag_id="pgvector_copy")
    assert "one of copy_roots" in check_error(failed.xcoms["copy", "error"], "INVALID_PARAMS")
