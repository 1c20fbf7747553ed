"""An Airflow of the tests' own inside this process: its database, and one call that runs a DAG to its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import langchain
from tests.helpers.database import Database
from tests.helpers.own_airflow import DAG_ID, DAGS, Configure, Outcome, Run, load_dag, outcome_of


@pytest.fixture(scope="session")
def metadata() -> None:
    """Airflow's own database."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Set keys of ``[pgvector_backup]`` for one test, as the environment does."""

    def setter(**settings: object) -> None:
        for key, value in settings.items():
            monkeypatch.setenv(f"AIRFLOW__PGVECTOR_BACKUP__{key.upper()}", str(value))

    return setter


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give Airflow a connection for one test, by default the one that is backed up."""

    def setter(uri: str, name: str = "pgvector_default") -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", uri)

    return setter


@pytest.fixture
def house(database: Database, backup_root: Path, configure: Configure, connection: Callable[..., None]) -> Path:
    """The two tables, the connection to them and an empty backup root, which is returned."""
    database.run(langchain.filled(dimensions=3))
    connection(database.uri())
    configure(backup_root=backup_root, retry_delay=0)
    return backup_root


@pytest.fixture
def run(metadata: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a DAG of a folder from its first task to its last, with its retries."""

    def runner(conf: Mapping[str, Any] | None = None, *, dags: Path = DAGS, dag_id: str = DAG_ID) -> Outcome:
        bundle = {
            "name": "dags-folder",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(dags)},
        }
        monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
        done = load_dag(dag_id, dags).test(run_conf=dict(conf or {}))
        return outcome_of(dag_id, done.run_id, str(done.state))

    return runner
