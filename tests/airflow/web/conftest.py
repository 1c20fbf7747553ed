"""The API server of Airflow inside this process, with four users, one of each role, and the DAGs in its database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from httpx import Response

from tests.airflow.conftest import DAGS, HOME, load

PREFIX = "/api/v0/data_pipeline/vector"
ROLES = ("viewer", "user", "op", "admin")

# Read when Airflow's auth manager starts, which is with the first app.
os.environ |= {
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{role}:{role}" for role in ROLES),
    "AIRFLOW__API_AUTH__JWT_SECRET": "as long as the algorithm wants its key to be, " * 2,
    "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(HOME / "passwords.json"),
}

# What a DAG that this checkout does not have would look like to the API.
STAND_IN = """
from airflow.sdk import DAG, Param
from airflow.providers.standard.operators.empty import EmptyOperator
from pgvector_backup.engine.contract.requests import {keys}

with DAG(dag_id="{dag_id}", schedule=None, is_paused_upon_creation=False,
         params={{key.name: Param(key.default, **key.schema) for key in {keys}}}):
    EmptyOperator(task_id="{kind}") >> EmptyOperator(task_id="report", trigger_rule="all_done")
"""


@dataclass(frozen=True)
class Api:
    """The API as one user sees it; ``role`` None: nobody is logged in."""

    client: TestClient
    token: str | None = None

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Response:
        """Send a request to a path below the prefix; what ``body`` is goes out as JSON, bytes as they are."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        headers |= more.pop("headers", {})
        if isinstance(body, bytes):
            more["content"] = body
        elif body is not None:
            more["json"] = body
        return self.client.request(method, PREFIX + path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        """The data of a success."""
        return data_of(self.call("GET", path, **more))


def data_of(answer: Response, code: int = 200) -> Any:
    """The data of an answer whose envelope is as it has to be."""
    envelope = answer.json()
    assert set(envelope) == {"code", "success", "message", "data"}, envelope
    assert answer.status_code == envelope["code"] == code, envelope
    assert envelope["success"] is (code < 400)
    assert envelope["message"]
    if code >= 400:
        assert {"response", "error_type", "can_retry", "timestamp"} <= set(envelope["data"])
    return envelope["data"]


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
