"""Shapes of DAGs that people write and nobody thinks of: steps and report go by what has happened in each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.airflow.test_own_dags import Own, errors, own, tenants, told
from tests.helpers.database import Database
from tests.helpers.outcomes import log, rows

__all__ = ["own", "tenants"]

EMPTIED = {
    "a group in a group": """
        with TaskGroup("outer"):
            with TaskGroup("inner"):
                save = Backup(task_id="save", **only)
            with TaskGroup("other"):
                empty = Truncate(task_id="empty", backup=save.output, **only)
        save >> empty >> Report(task_id="tell", **late)
    """,
    "a group without prefixes": """
        with TaskGroup("outer", prefix_group_id=False):
            save = Backup(task_id="save", **only)
            empty = Truncate(task_id="empty", backup=save.output, **only)
        empty >> Report(task_id="tell", **late)
    """,
    "a subclass of each": """
        class Mine(Backup):
            def execute(self, context):
                return {**super().execute(context), "mine": 1}
        class Emptying(Truncate):
            pass
        class Telling(Report):
            pass
        save = Mine(task_id="save", **only)
        empty = Emptying(task_id="empty", backup=save.output, **only)
        save >> empty >> Telling(task_id="tell", **late)
    """,
    "setup and teardown": """
        begin = works.override(task_id="begin")().as_setup()
        end = works.override(task_id="end")().as_teardown(setups=begin)
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        begin >> save >> empty >> end
        empty >> Report(task_id="tell", **late)
    """,
    "tables by another task": """
        @task
        def names():
            return ["langchain_pg_embedding"]
        save = Backup(task_id="save", tables=names())
        empty = Truncate(task_id="empty", backup=save.output, tables=names.override(task_id="again")())
        save >> empty >> Report(task_id="tell", **late)
    """,
    "a branch that leads to it": """
        @task.branch
        def choose():
            return "save"
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        choose() >> [save, works.override(task_id="not_today")()]
        save >> empty >> Report(task_id="tell", **late)
    """,
    "default arguments": """
        with TaskGroup("g", default_args={"backup_task_id": None, "tables": ["langchain_pg_embedding"], "retries": 2}):
            save = Backup(task_id="save")
            empty = Truncate(task_id="empty", backup=save.output)
        empty >> Report(task_id="tell", **late)
    """,
    "another trigger rule": """
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, trigger_rule="none_failed_min_one_success", **only)
        [save, works()] >> empty >> Report(task_id="tell", trigger_rule="all_done_setup_success")
    """,
}


@pytest.mark.parametrize("wiring", EMPTIED.values(), ids=EMPTIED)
def test_what_was_emptied_is_told_in_any_shape(own: Own, house: Path, database: Database, wiring: str) -> None:
    outcome = own(wiring)
    assert (outcome.state, outcome.states["tell"]) == ("success", "success")
    assert (told(outcome)["backup_performed"], told(outcome)["truncate_performed"]) == (True, True)
    assert told(outcome)["errors"] == []
    assert rows(database) == 0
    assert "  OK  " in log(house / "vector_bak")


def test_a_branch_that_leads_elsewhere_skips_and_fails_nothing(own: Own, house: Path, database: Database) -> None:
    outcome = own("""
        @task.branch
        def choose():
            return "not_today"
        save = Backup(task_id="save", **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        choose() >> [save, works.override(task_id="not_today")()]
        save >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    assert (outcome.states["save"], told(outcome)["backup_performed"]) == ("skipped", False)
    assert rows(database) == 58


def test_a_backup_that_pushes_no_result_empties_nothing(own: Own, house: Path, database: Database) -> None:
    """Without its result, a truncate has nothing to rely on, and the report says what it does not know."""
    outcome = own("""
        save = Backup(task_id="save", do_xcom_push=False, **only)
        empty = Truncate(task_id="empty", backup=save.output, **only)
        save >> empty >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "failed"
    assert told(outcome)["backup_performed"] is not False
    assert told(outcome)["truncate_performed"] is not True
    assert rows(database) == 58
    assert list((house / "vector_bak").glob("manifest_*.json"))


def test_two_backups_in_one_directory_at_once_make_two_sets(own: Own, house: Path) -> None:
    outcome = own("""
        first = Backup(task_id="first", **only)
        second = Backup(task_id="second", tables=["langchain_pg_collection"])
        [first, second] >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    made: list[dict[str, Any]] = told(outcome)
    assert len({one["backup_id"] for one in made}) == 2
    assert [list(one["tables_backed_up"]) for one in made] == [["langchain_pg_embedding"], ["langchain_pg_collection"]]


def test_a_report_that_dies_is_tried_again_and_its_verdict_is_not(own: Own, house: Path) -> None:
    outcome = own("""
        class Dies(Report):
            def execute(self, context):
                if context["ti"].try_number == 1:
                    raise RuntimeError("the API server did not answer")
                return super().execute(context)
        from datetime import timedelta
        save = Backup(task_id="save", tables=["not_there"], retries=0)
        save >> Dies(task_id="tell", retries=3, retry_delay=timedelta(0), **late)
    """)
    assert (outcome.state, outcome.tries["tell"]) == ("failed", 2)
    (error,) = told(outcome)["errors"]
    assert "not_there" in error


def test_a_truncate_that_is_tried_again_after_it_has_emptied(own: Own, house: Path, database: Database) -> None:
    """What the first try has done stays done; the second one finds nothing left and is no failure."""
    outcome = own("""
        class Unlucky(Truncate):
            def execute(self, context):
                done = super().execute(context)
                if context["ti"].try_number == 1:
                    raise ValueError("after the deed")
                return done
        from datetime import timedelta
        save = Backup(task_id="save", **only)
        empty = Unlucky(task_id="empty", backup=save.output, retries=1, retry_delay=timedelta(0), **only)
        save >> empty >> Report(task_id="tell", **late)
    """)
    assert rows(database) == 0
    assert outcome.state == "success"
    assert told(outcome)["truncate_performed"] is True


def test_a_nested_mapped_group(own: Own, tenants: Path) -> None:
    outcome = own("""
        @task_group
        def inner(name):
            Backup(task_id="save", backup_task_id=name, **only)
        @task_group
        def outer(name):
            inner(name)
        outer.expand(name=["a", "b"]) >> Report(task_id="tell", **late)
    """)
    assert outcome.state == "success"
    assert [one["backup_performed"] for one in told(outcome)] == [True, True]


def test_a_conf_template_of_the_wrong_type_is_refused_by_name(own: Own, house: Path) -> None:
    outcome = own(
        """
        save = Backup(task_id="save", backup_task_id="{{ dag_run.conf['where'] }}", **only)
        save >> Report(task_id="tell", **late)
        """,
        {"where": {"a": 1}},
    )
    assert outcome.state == "failed"
    assert "task_id" in errors(outcome)
    assert outcome.xcoms["save", "error"]["error_type"] == "INVALID_PARAMS"
