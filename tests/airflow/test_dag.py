"""The DAG `pgvector_backup` as Airflow reads it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG, Asset

from tests.helpers.own_airflow import DAGS, Configure, load, load_dag

CONTRACT_PARAMS = {
    "task_id": (["string", "null"], None),
    "db_connection": (["string", "null"], None),
    "truncate_vector_tables": (["boolean"], False),
    "backup_vector_tables": (["boolean"], True),
}


@pytest.fixture(scope="module")
def dag() -> DAG:
    return load_dag()


def test_the_file_is_read_without_errors_and_quickly() -> None:
    load()  # what is imported once is not what is measured
    bag = load()
    assert bag.import_errors == {}
    assert "pgvector_backup" in bag.dags
    assert sum(stat.duration.total_seconds() for stat in bag.dagbag_stats) < 1
    assert not any(bag.captured_warnings.values())


def test_the_tasks_follow_one_another(dag: DAG) -> None:
    assert [task.task_id for task in dag.topological_sort()] == ["backup", "truncate", "report"]
    assert dag.get_task("backup").downstream_task_ids == {"truncate"}
    assert dag.get_task("truncate").downstream_task_ids == {"report"}
    assert dag.get_task("report").downstream_task_ids == set()


def test_the_report_runs_whatever_became_of_the_others(dag: DAG) -> None:
    rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}
    assert rules == {"backup": "all_success", "truncate": "all_success", "report": "all_done"}
    assert dag.get_task("report").retries == 2


def test_one_run_at_a_time_and_none_for_the_past(dag: DAG) -> None:
    assert dag.max_active_runs == 1
    assert dag.catchup is False


def test_what_a_reader_of_the_ui_finds(dag: DAG) -> None:
    assert dag.tags == {"pgvector", "backup"}
    assert dag.description
    assert dag.doc_md
    for task in dag.tasks:
        assert f"`{task.task_id}`" in dag.doc_md


def test_every_param_is_optional_and_explains_itself(dag: DAG) -> None:
    params = {name: dag.params.get_param(name) for name in dag.params}
    for name, (types, default) in CONTRACT_PARAMS.items():
        assert params[name].schema["type"] == types
        assert params[name].value == default
    for param in params.values():
        assert param.schema["title"]
        assert param.description
    dag.params.validate()


@pytest.mark.parametrize("value", ["", "../x", "中文", "a b", "a-b", "/", "x" * 300, 5, True, ["a"]], ids=repr)
def test_a_bad_task_id_does_not_pass_the_schema(value: object) -> None:
    with pytest.raises(ValueError, match="task_id"):
        load_dag().params["task_id"] = value


@pytest.mark.parametrize("value", ["task_20250721_213627", "A", "x" * 255, None], ids=repr)
def test_a_good_task_id_passes_the_schema(value: object) -> None:
    params = load_dag().params
    params["task_id"] = value
    assert params.dump()["task_id"] == value


@pytest.mark.parametrize("key", ["truncate_vector_tables", "backup_vector_tables"])
@pytest.mark.parametrize("value", ["true", 1, 0, None], ids=repr)
def test_a_switch_is_a_boolean(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        load_dag().params[key] = value


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [
        ({}, ["pgvector_default", "pgvector", "pgvector_2"], ["other", "my_pgvector", "postgresql://u@h/d", "", "a b"]),
        ({"allowed_connections": "prod_*, test?"}, ["prod_1", "test1", "pgvector_default"], ["test12", "pgvector_2"]),
        ({"allowed_connections": ""}, ["pgvector_default"], ["pgvector_2", ""]),
        ({"connection_id": "main"}, ["main", "pgvector_x"], ["main2"]),
        ({"allowed_connections": "a.b"}, ["a.b"], ["axb"]),
        (
            {"allow_connection_uri": "True"},
            ["postgresql://u:p@h/d", "postgres://h/d", "pgvector_2"],
            ["mysql://h/d", "postgresql+psycopg://h/d", "http://169.254.169.254/", "other"],
        ),
    ],
    ids=str,
)
def test_db_connection_takes_what_the_configuration_allows(
    configure: Configure, settings: dict[str, str], good: list[str], bad: list[str]
) -> None:
    configure(**settings)
    for value in [None, *good]:
        load_dag().params["db_connection"] = value
    for value in bad:
        with pytest.raises(ValueError, match="db_connection"):
            load_dag().params["db_connection"] = value


@pytest.mark.parametrize(
    ("text", "schedule"), [("@hourly", "@hourly"), (" 30 3 * * 0 ", "30 3 * * 0"), ("none", None), ("", None)]
)
def test_the_schedule_is_the_configured_one(configure: Configure, text: str, schedule: str | None) -> None:
    configure(schedule=text)
    assert load_dag().schedule == schedule


def test_without_configuration_it_runs_daily(dag: DAG) -> None:
    assert dag.schedule == "@daily"


def test_retries_are_the_configured_ones(configure: Configure) -> None:
    configure(retries=4, retry_delay=90)
    backup = load_dag().get_task("backup")
    assert backup.retries == 4
    assert backup.retry_delay.total_seconds() == 90


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize(("seconds", "limit"), [(None, None), ("0", None), ("5400", timedelta(minutes=90))])
def test_tasks_have_the_configured_limit_of_time(
    configure: Configure, file: Path, seconds: str | None, limit: timedelta | None
) -> None:
    if seconds is not None:
        configure(execution_timeout=seconds)
    (dag,) = load(file).dags.values()
    assert {task.task_id: task.execution_timeout for task in dag.tasks} == dict.fromkeys(dag.task_ids, limit)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule", "every day"),
        ("schedule", "@dayly"),
        ("retries", "some"),
        ("retries", "1.5"),
        ("retry_delay", "soon"),
        ("allow_connection_uri", "maybe"),
    ],
)
def test_a_value_that_the_dag_needs_is_named_when_it_cannot_be_read(configure: Configure, key: str, value: str) -> None:
    configure(**{key: value})
    traces = {Path(file).name: trace for file, trace in load().import_errors.items()}
    assert "pgvector_backup_dag.py" in traces
    for trace in traces.values():
        last = trace.strip().splitlines()[-1]
        assert key in last
        assert value in last


def test_a_backup_announces_an_asset(dag: DAG) -> None:
    (asset,) = dag.get_task("backup").outlets
    assert isinstance(asset, Asset)
    assert asset.name == "pgvector_backup"


def test_the_file_holds_no_logic() -> None:
    """The wiring is short enough to be read at a glance; what it wires has the tests."""
    (path,) = DAGS.glob("pgvector_backup_dag.py")
    assert "def " not in path.read_text(encoding="utf-8")
