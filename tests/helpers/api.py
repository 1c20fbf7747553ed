"""The API of Airflow inside this process as its users see it: four, one of each role."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from httpx import Response

from tests.helpers.own_airflow import HOME

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
