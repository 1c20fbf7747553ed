"""What Airflow's own pages offer of each DAG: what a form marks as needed, no backfill, and what to do at a failure."""

from __future__ import annotations

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType

from tests.helpers.own_airflow import Configure, load_dag

DAGS = ("pgvector_backup", "pgvector_restore", "pgvector_verify", "pgvector_prune", "pgvector_copy", "pgvector_watch")


@pytest.mark.parametrize("dag_id", DAGS)
def test_no_backfill_is_offered(dag_id: str) -> None:
    dag = load_dag(dag_id)
    assert dag.catchup is False
    offered = dag.allowed_run_types
    assert offered is not None
    assert {one.value for one in DagRunType} - {one.value for one in offered} == {"backfill"}


@pytest.mark.parametrize("dag_id", DAGS)
def test_the_docs_say_what_to_do_when_it_fails(dag_id: str) -> None:
    text = load_dag(dag_id).doc_md or ""
    assert "**When it fails**" in text
    assert len(text.split("**When it fails**")[1].split()) >= 10


def test_a_restores_form_marks_what_it_needs_and_shows_it_first() -> None:
    params = load_dag("pgvector_restore").params
    titles = {name: params.get_param(name).schema["title"] for name in params}
    assert titles["backup_path"] == "Backup path (required, unless a task directory is given)"
    assert titles["timestamp"] == "Timestamp (required)"
    assert not [name for name in params if "required" in titles[name] and name not in ("backup_path", "timestamp")]
    sections = {name: params.get_param(name).schema.get("section") for name in params}
    assert {name for name, section in sections.items() if section} == {"backup_path", "task_id", "timestamp"}
    assert list(params)[:3] == ["backup_path", "task_id", "timestamp"]


@pytest.mark.parametrize("dag_id", ["pgvector_backup", "pgvector_verify", "pgvector_prune", "pgvector_copy"])
def test_nothing_is_needed_elsewhere(dag_id: str) -> None:
    params = load_dag(dag_id).params
    params.validate()
    assert not [name for name in params if "required" in params.get_param(name).schema["title"]]


def test_an_installation_that_always_backs_up_first_has_it_switched_on_in_the_form(configure: Configure) -> None:
    assert load_dag("pgvector_restore").params["backup_before_restore"] is False
    configure(backup_before_restore=True)
    assert load_dag("pgvector_restore").params["backup_before_restore"] is True
