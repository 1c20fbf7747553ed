"""The API server of Airflow inside this process, and the DAGs in its database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.helpers.api import Api
from tests.helpers.own_airflow import DAGS, HOME, load

# What a DAG that this checkout does not have would look like to the API.
STAND_IN = """
from airflow.sdk import DAG, Param
from airflow.providers.standard.operators.empty import EmptyOperator
from pgvector_backup.engine.contract.request_keys import {keys}

with DAG(dag_id="{dag_id}", schedule=None, is_paused_upon_creation=False,
         params={{key.name: Param(key.default, **key.schema) for key in {keys}}}):
    EmptyOperator(task_id="{kind}") >> EmptyOperator(task_id="report", trigger_rule="all_done")
"""


@pytest.fixture(scope="session")
def dags(metadata: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Our DAGs, as Airflow's DAG processor would have stored them."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db

    shipped = {path.name for path in DAGS.glob("*.py")}
    folder = tmp_path_factory.mktemp("dags")
    for kind in ("restore", "verify"):
        if f"pgvector_{kind}_dag.py" not in shipped:
            text = STAND_IN.format(dag_id=f"pgvector_{kind}", keys=f"{kind.upper()}_KEYS", kind=kind)
            (folder / f"{kind}.py").write_text(text)
    DagBundlesManager().sync_bundles_to_db()
    for where in (DAGS, folder):
        bag = load(where)
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "dags-folder", None)


@pytest.fixture(scope="session")
def app(dags: None) -> Any:
    """Airflow's API server with the plugin in it."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    return create_app(apps="core")


@pytest.fixture(scope="session")
def server_client(app: Any) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def as_(server_client: TestClient) -> Any:
    """The API as a role's user, or as nobody."""
    passwords = json.loads((HOME / "passwords.json").read_text())

    def see(role: str | None) -> Api:
        if role is None:
            return Api(server_client)
        answer = server_client.post("/auth/token", json={"username": role, "password": passwords[role]})
        server_client.cookies.clear()
        return Api(server_client, answer.json()["access_token"])

    return see


@pytest.fixture
def api(as_: Any) -> Api:
    """The API as an ordinary user."""
    found = as_("user")
    assert isinstance(found, Api)
    return found


@pytest.fixture(autouse=True)
def looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests change what lies below the root and look at once; that what was seen counts for a while has its own."""
    from pgvector_backup.web import routes_overview

    monkeypatch.setattr(routes_overview._seen, "_times", 0.0)
