"""What a report says in DAGs of somebody's own, whatever their steps are called and however they are wired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from tests.helpers.database import Database
from tests.helpers.outcomes import log, rows
from tests.helpers.own_airflow import Configure, Outcome, Run

HEAD = '''
"""A DAG of somebody's own."""
from airflow.sdk import DAG, task, task_group, TaskGroup
from airflow.sdk.exceptions import AirflowSkipException
from pgvector_backup.operators.backup import PgVectorBackupOperator as Backup
from pgvector_backup.operators.report import PgVectorReportOperator as Report
from pgvector_backup.operators.restore import PgVectorRestoreOperator as Restore
from pgvector_backup.operators.restore import PgVectorRestoreReportOperator as RestoreReport
from pgvector_backup.operators.truncate import PgVectorTruncateOperator as Truncate
from pgvector_backup.operators.verify import PgVectorVerifyOperator as Verify
from pgvector_backup.operators.verify import PgVectorVerifyReportOperator as VerifyReport

@task
def works():
    return None

@task
def breaks():
    raise ValueError("broken on purpose")

@task
def skips():
    raise AirflowSkipException("not today")

late = dict(trigger_rule="all_done")
only = dict(tables=["langchain_pg_embedding"])

with DAG(dag_id="own", schedule=None):
'''

Own = Callable[..., Outcome]


@pytest.fixture
def own(house: Path, run: Run, tmp_path: Path) -> Own:
    """Run a DAG of which only the wiring is given."""
    folder = tmp_path / "dags"
    folder.mkdir()

    def runner(wiring: str, conf: Mapping[str, Any] | None = None) -> Outcome:
        (folder / "own.py").write_text(HEAD + indent(dedent(wiring), "    "), encoding="utf-8")
        return run(conf, dags=folder, dag_id="own")

    return runner


def told(outcome: Outcome, task_id: str = "tell") -> Any:
    return outcome.xcoms[task_id, "return_value"]


def errors(outcome: Outcome, task_id: str = "tell") -> str:
    return " | ".join(told(outcome, task_id)["errors"])


PLAIN = """
    save = Backup(task_id="save", **only)
    empty = Truncate(task_id="empty", backup=save.output, **only)
    save >> empty >> Report(task_id="tell", **late)
"""
GROUPED = """
    with TaskGroup("nightly"):
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
    empty >> Report(task_id="tell", **late)
"""
HANDED_OVER = """
    save = Backup(task_id="save", **only)
    empty = Truncate(task_id="empty", backup=save.output, **only)
    Report(task_id="tell", backup=save.output, truncate=empty.output, **late)
"""
FAR_APART = """
    save = Backup(task_id="save", **only)
    empty = Truncate(task_id="empty", backup=save.output, **only)
    save >> works() >> empty >> works() >> Report(task_id="tell", **late)
"""


@pytest.mark.parametrize("wiring", [PLAIN, GROUPED, HANDED_OVER, FAR_APART], ids=["named", "grouped", "handed", "far"])
def test_rows_that_were_emptied_are_told_as_emptied(own: Own, house: Path, database: Database, wiring: str) -> None:
    outcome = own(wiring)
    assert outcome.state == "success"
    result = told(outcome)
    assert result["response"] == "Vector表备份完成"
    assert (result["backup_performed"], result["truncate_performed"]) == (True, True)
    assert result["truncate_results"]["langchain_pg_embedding"]["rows_before"] == 58
    assert rows(database) == 0
    section = log(house / "vector_bak")
    assert "truncate:  langchain_pg_embedding: 58 rows -> 0" in section
    assert "REFUSED" not in section
    assert section.startswith("==== ")
    assert "  OK  " in section


def test_a_backup_without_a_truncate(own: Own, house: Path) -> None:
    outcome = own('Backup(task_id="save") >> Report(task_id="tell", **late)')
    assert outcome.state == "success"
    assert (told(outcome)["backup_performed"], told(outcome)["truncate_performed"]) == (True, False)
    assert "truncate:  not asked for" in log(house / "vector_bak").splitlines()


def test_a_failed_step_before_the_backup_fails_the_run(own: Own, house: Path, database: Database) -> None:
    outcome = own("""
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        breaks() >> save >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "failed"
    assert outcome.states["tell"] == "failed"
    result = told(outcome)
    assert (result["response"], result["backup_performed"]) == ("Vector表备份失败", False)
    assert result["errors"] == ["task save did not run: task breaks failed: the log of that task tells why"]
    assert outcome.xcoms["tell", "error"]["response"] == result["errors"][0]
    section = log(house / "vector_bak")
    assert "backup:    did not run: task breaks failed; nothing was backed up" in section
    assert "truncate:  not carried out: did not run: task breaks failed" in section
    assert rows(database) == 58


def test_a_failed_step_between_backup_and_truncate_fails_the_run(own: Own, house: Path) -> None:
    outcome = own("""
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        save >> breaks() >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "failed"
    result = told(outcome)
    assert (result["response"], result["backup_performed"]) == ("Vector表清空失败", True)
    assert "task empty did not run: task breaks failed" in errors(outcome)
    assert "truncate:  not carried out: did not run: task breaks failed" in log(house / "vector_bak")


def test_a_failed_task_after_the_backup_fails_the_run(own: Own, house: Path) -> None:
    outcome = own('Backup(task_id="save") >> breaks() >> Report(task_id="tell", **late)')
    assert outcome.state == "failed"
    assert told(outcome)["backup_performed"] is True
    assert errors(outcome) == "task breaks failed: its log tells why"


def test_a_failure_that_was_made_good_fails_nothing(own: Own, house: Path) -> None:
    outcome = own("""
        repair = works.override(trigger_rule="all_done")()
        breaks() >> repair >> Backup(task_id="save") >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    assert told(outcome)["errors"] == []


def test_a_skipped_step_before_the_backup_is_told_as_such(own: Own, house: Path, database: Database) -> None:
    outcome = own("""
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        skips() >> save >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.states["save"] == outcome.states["empty"] == "skipped"
    assert outcome.state == "success"
    result = told(outcome)
    assert (result["response"], result["backup_performed"]) == ("未执行任何操作", False)
    section = log(house / "vector_bak")
    assert "backup:    skipped, as was task skips before it; nothing was backed up" in section
    assert "truncate:  not carried out: skipped" in section


def test_a_backup_that_failed_is_told_by_its_own_reason(own: Own, house: Path) -> None:
    outcome = own("""
        save = Backup(task_id="save", backup_task_id="nowhere", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        save >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "failed"
    assert told(outcome)["errors"] == ["指定的任务目录不存在: nowhere"]
    assert outcome.xcoms["tell", "error"]["error_type"] == "RESOURCE_NOT_FOUND"


def test_a_step_of_which_nothing_is_known_is_called_unknown(own: Own, house: Path, database: Database) -> None:
    outcome = own("""
        earlier = {"manifest_file": "manifest_1.json"}
        Truncate(task_id="empty", backup=earlier, truncate_vector_tables=False) >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    assert told(outcome)["backup_performed"] is None
    assert told(outcome)["response"] == "Vector表备份结果未知"
    assert "backup:    unknown: no backup is upstream of this report" in log(house / "vector_bak")


@pytest.mark.parametrize(
    ("wiring", "words"),
    [
        ('works() >> Report(task_id="tell", **late)', "no backup and no truncate is upstream"),
        ('Backup(task_id="save") >> Report(task_id="tell", backup_step="sve", **late)', "no task 'sve'"),
        ('Backup(task_id="save") >> Report(task_id="tell", backup="save", **late)', "backup: expected what the task"),
        ('works() >> RestoreReport(task_id="tell", **late)', "no restore is upstream"),
        ('works() >> VerifyReport(task_id="tell", **late)', "no verify is upstream"),
    ],
)
def test_a_report_without_its_steps_says_what_it_needs(own: Own, wiring: str, words: str) -> None:
    outcome = own(wiring)
    assert outcome.states["tell"] == "failed"
    assert outcome.xcoms["tell", "error"]["error_type"] == "INVALID_PARAMS"
    assert words in outcome.xcoms["tell", "error"]["response"]


def test_a_step_that_somebody_marked_success_is_not_taken_for_done(own: Own, house: Path, database: Database) -> None:
    # A task that succeeds and leaves nothing is what marking one leaves.
    outcome = own("""
        works() >> Report(task_id="tell", backup_step="works", **late)
    """)
    assert outcome.state == "failed"
    assert "task works is marked success and left no result" in errors(outcome)
    assert told(outcome)["backup_performed"] is None


def test_a_timeout_is_told_as_one(own: Own, house: Path, database: Database) -> None:
    with database.connect() as conn:
        conn.execute("LOCK TABLE langchain_pg_embedding IN ACCESS EXCLUSIVE MODE")
        outcome = own("""
            from datetime import timedelta
            save = Backup(task_id="save", execution_timeout=timedelta(seconds=2), **only)
            save >> Report(task_id="tell", **late)
        """)
    assert outcome.state == "failed"
    assert "task save was stopped after its execution_timeout of 0:00:02" in errors(outcome)
    assert outcome.xcoms["tell", "error"]["error_type"] == "CANCELLED"


@pytest.fixture
def tenants(house: Path) -> Path:
    for name in ("a", "b"):
        (house / name).mkdir()
    return house


def test_mapped_steps_give_a_list(own: Own, tenants: Path) -> None:
    outcome = own("""
        save = Backup.partial(task_id="save", **only).expand(backup_task_id=["a", "b"])
        save >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    results = told(outcome)
    assert [(one["step"], one["map_index"]) for one in results] == [("save", 0), ("save", 1)]
    for name, one in zip("ab", results, strict=True):
        assert one["backup_performed"] is True
        assert one["backup_directory"] == str(tenants / name / "vector_bak")
        section = log(tenants / name / "vector_bak")
        assert "  OK  " in section
        assert f"task_id:   {name}" in section
    assert not (tenants / "vector_bak").exists()


def test_one_failed_instance_fails_the_run_and_hides_no_other(own: Own, tenants: Path) -> None:
    outcome = own("""
        save = Backup.partial(task_id="save", **only).expand(backup_task_id=["a", "nowhere", "b"])
        Report(task_id="tell", backup=save.output, **late)
    """)
    assert outcome.state == "failed"
    results = told(outcome)
    assert [one["backup_performed"] for one in results] == [True, False, True]
    assert [len(one["errors"]) for one in results] == [0, 1, 0]
    assert "  OK  " in log(tenants / "b" / "vector_bak")


def test_a_mapped_group_with_the_report_behind_it(own: Own, tenants: Path, database: Database) -> None:
    outcome = own("""
        @task_group
        def tenant(name):
            save = Backup(task_id="save", backup_task_id=name, **only)
            empty = Truncate(task_id="empty", backup=save.output, backup_task_id=name, **only)
            save >> empty
        tenant.expand(name=["a", "b"]) >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    results = told(outcome)
    assert [one["map_index"] for one in results] == [0, 1]
    assert {one["truncate_performed"] for one in results} == {True}
    assert sorted(one["truncate_results"]["langchain_pg_embedding"]["rows_before"] for one in results) == [0, 58]
    for name in ("a", "b"):
        assert "REFUSED" not in log(tenants / name / "vector_bak")


def test_a_mapped_group_with_the_report_inside(own: Own, tenants: Path) -> None:
    outcome = own("""
        @task_group
        def tenant(name):
            save = Backup(task_id="save", backup_task_id=name, **only)
            save >> Report(task_id="tell", backup_task_id=name, **late)
        tenant.expand(name=["a", "nowhere", "b"])
    """)
    assert outcome.state == "failed"
    assert "  OK  " in log(tenants / "a" / "vector_bak")
    assert "  OK  " in log(tenants / "b" / "vector_bak")
    assert not (tenants / "vector_bak").exists()


def test_a_report_mapped_over_results(own: Own, tenants: Path) -> None:
    outcome = own("""
        save = Backup.partial(task_id="save", **only).expand(backup_task_id=["a", "b"])
        Report.partial(task_id="tell", **late).expand(backup=save.output)
    """)
    assert outcome.state == "success"
    assert told(outcome)["backup_performed"] is True
    assert "step" not in told(outcome)


def test_nothing_to_map_over_is_nothing_done(own: Own, tenants: Path) -> None:
    outcome = own("""
        save = Backup.partial(task_id="save", **only).expand(backup_task_id=[])
        save >> Report(task_id="tell", **late)
    """)
    assert [one["response"] for one in told(outcome)] == ["未执行任何操作"]


def test_two_backups_and_one_report(
    own: Own, house: Path, database: Database, connection: Callable[..., None], configure: Configure
) -> None:
    connection("postgresql://nobody@127.0.0.1:1/nowhere", "pgvector_second")
    (house / "second").mkdir()
    outcome = own("""
        first = Backup(task_id="first", **only)
        second = Backup(task_id="second", pgvector_conn_id="pgvector_second", backup_task_id="second", **only)
        empty = Truncate(task_id="empty", backup=first.output, **only)
        [first, second, empty] >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "failed"
    first, second = told(outcome)
    assert (first["step"], first["backup_performed"], first["truncate_performed"]) == ("first", True, True)
    assert (second["step"], second["backup_performed"], second["truncate_performed"]) == ("second", False, False)
    assert "  OK  " in log(house / "vector_bak")
    assert "  FAILED  " in log(house / "second" / "vector_bak")


def test_a_restore_named_otherwise_grouped_and_mapped(own: Own, house: Path, database: Database) -> None:
    assert own('Backup(task_id="save") >> Report(task_id="tell", **late)').state == "success"
    outcome = own("""
        with TaskGroup("back"):
            bring = Restore(task_id="bring", backup_path="vector_bak", on_conflict="skip", **only)
        bring >> RestoreReport(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    assert told(outcome)["response"] == "Vector表恢复完成"
    assert "  RESTORE OK  " in log(house / "vector_bak")
    assert "RESTORE FAILED" not in log(house / "vector_bak")
    mapped = own("""
        bring = Restore.partial(task_id="bring", backup_path="vector_bak", on_conflict="skip").expand(
            tables=[["langchain_pg_collection"], ["langchain_pg_embedding"]])
        RestoreReport(task_id="tell", restore=bring.output, **late)
    """)
    assert mapped.state == "success"
    assert [list(one["restore_results"]) for one in told(mapped)] == [
        ["langchain_pg_collection"],
        ["langchain_pg_embedding"],
    ]


def test_a_restore_that_did_not_run_is_told_as_such(own: Own, house: Path) -> None:
    assert own('Backup(task_id="save") >> Report(task_id="tell", **late)').state == "success"
    skipped = own("""
        skips() >> Restore(task_id="bring", backup_path="vector_bak") >> RestoreReport(task_id="tell", **late)
    """)
    assert skipped.state == "success"
    assert told(skipped)["response"] == "未执行任何操作"
    assert "restore:   skipped, as was task skips before it" in log(house / "vector_bak")
    broken = own("""
        breaks() >> Restore(task_id="bring", backup_path="vector_bak") >> RestoreReport(task_id="tell", **late)
    """)
    assert broken.state == "failed"
    assert "task bring did not run: task breaks failed" in errors(broken)


def test_a_verify_named_otherwise_mapped_and_skipped(own: Own, tenants: Path) -> None:
    assert (
        own("""
        save = Backup.partial(task_id="save", **only).expand(backup_task_id=["a", "b"])
        check = Verify.partial(task_id="check", depth="files").expand(backup_task_id=["a", "b"])
        save >> check >> VerifyReport(task_id="tell", **late)
    """).state
        == "success"
    )
    skipped = own('skips() >> Verify(task_id="check") >> VerifyReport(task_id="tell", **late)')
    assert skipped.state == "success"
    assert told(skipped)["notes"] == ["skipped, as was task skips before it"]
    broken = own('breaks() >> Verify(task_id="check") >> VerifyReport(task_id="tell", **late)')
    assert broken.state == "failed"
    assert "task check did not run: task breaks failed" in errors(broken)


ARGUMENTS = {
    "no names": ("tables=names()", "return []", "tables: the list is empty"),
    "no text": ("tables=names()", 'return ""', "tables: expected texts that are not empty"),
    "numbers": ("tables=names()", "return [1]", "tables: expected texts that are not empty inside it, got 1"),
    "one number": ("tables=names()", "return 5", "tables: expected a list of texts, got int"),
    "by name": ("tables=names()", 'return {"a": 1}', "tables: expected a list of texts, got dict"),
    "none": ("tables=names()", "return None", "tables: what was given for it came out as None"),
    "task number": ("backup_task_id=names()", "return 7", "task_id: expected string"),
    "task none": ("backup_task_id=names()", "return None", "backup_task_id: what was given for it came out as None"),
    "no connection": ("pgvector_conn_id=names()", 'return ""', "pgvector_conn_id: what was given for it is empty"),
    "connections": ("pgvector_conn_id=names()", 'return ["a"]', "pgvector_conn_id: expected a text, got list"),
    "no root": ("backup_root=names()", 'return " "', "backup_root: what was given for it is empty"),
    "root": ("backup_root=names()", "return 3", "backup_root: expected a text, got int"),
    "rendered": ("tables=\"{{ '' }}\"", "return None", "tables: expected texts that are not empty"),
}


@pytest.mark.parametrize(("argument", "body", "words"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_that_came_out_wrong_is_refused_by_name(
    own: Own, house: Path, database: Database, argument: str, body: str, words: str
) -> None:
    outcome = own(f"""
        @task
        def names():
            {body}
        save = Backup(task_id="save", {argument})
        empty = Truncate(task_id="empty", backup=save.output)
        save >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.states["save"] == "failed"
    error = outcome.xcoms["save", "error"]
    assert error["error_type"] == "INVALID_PARAMS"
    assert words in error["response"]
    assert errors(outcome) == error["response"]
    assert not list(house.rglob("manifest_*"))
    assert rows(database) == 58


RESTORE_ARGUMENTS = {
    "no tables": ("tables=given()", "return []", "tables: the list is empty"),
    "no collections": ("collections=given()", "return []", "collections: the list is empty"),
    "names": ("rename_collection=given()", 'return ["a"]', "rename_collection: expected names by names, got list"),
    "schema": ("schema=given()", "return 1", "schema: expected a text, got int"),
    "timestamp": ("timestamp=given()", "return None", "timestamp: what was given for it came out as None"),
}


@pytest.mark.parametrize(("argument", "body", "words"), RESTORE_ARGUMENTS.values(), ids=RESTORE_ARGUMENTS)
def test_a_restore_s_argument_that_came_out_wrong_is_refused_by_name(
    own: Own, house: Path, argument: str, body: str, words: str
) -> None:
    outcome = own(f"""
        @task
        def given():
            {body}
        Restore(task_id="bring", backup_path="vector_bak", {argument}) >> RestoreReport(task_id="tell", **late)
    """)
    error = outcome.xcoms["bring", "error"]
    assert error["error_type"] == "INVALID_PARAMS"
    assert words in error["response"]


def test_a_truncate_is_given_one_result(own: Own, tenants: Path, database: Database) -> None:
    outcome = own("""
        save = Backup.partial(task_id="save", **only).expand(backup_task_id=["a", "b"])
        Truncate(task_id="empty", backup=save.output, **only) >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "failed"
    assert "2 results, as of a mapped task" in outcome.xcoms["empty", "error"]["response"]
    assert rows(database) == 58
    assert [one["backup_performed"] for one in told(outcome)] == [True, True, None]


def test_an_error_of_ours_is_one_line_of_the_log(
    own: Own, house: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    own('Backup(task_id="save", backup_task_id="nowhere") >> Report(task_id="tell", **late)')
    out = capsys.readouterr().out + caplog.text
    assert "RESOURCE_NOT_FOUND: the task's directory does not exist: nowhere" in out
    assert "Traceback" not in out
    own("breaks()")
    assert "Traceback" in capsys.readouterr().out + caplog.text
