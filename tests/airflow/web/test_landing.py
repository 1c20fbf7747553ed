"""Where a link to the page leads, by who follows it."""

from __future__ import annotations

import json

import pytest
from airflow.api_fastapi.app import get_auth_manager
from fastapi.testclient import TestClient

from pgvector_backup.installation.addresses import link_url, page_url
from tests.helpers.own_airflow import HOME

QUERY = {"dag_id": "pgvector_backup", "run_id": "manual__2026-11-26T00:00:00+00:00"}


def follow(client: TestClient, role: str | None, query: dict[str, str]) -> str:
    """Where the link leads that role's user."""
    cookies = {}
    if role is not None:
        password = json.loads((HOME / "passwords.json").read_text())[role]
        answer = client.post("/auth/token", json={"username": role, "password": password})
        cookies = {"_token": answer.json()["access_token"]}
    client.cookies.clear()
    client.cookies.update(cookies)
    try:
        answer = client.get("/pgvector-backup/open", params=query, follow_redirects=False)
    finally:
        client.cookies.clear()
    assert answer.status_code == 302
    return str(answer.headers["location"])


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_who_may_see_plugins_is_led_into_airflow(server_client: TestClient, role: str) -> None:
    assert follow(server_client, role, {}) == page_url()
    assert follow(server_client, role, QUERY) == page_url(**QUERY)


def test_who_may_not_is_led_to_the_page_itself(server_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(get_auth_manager()), "is_authorized_view", lambda *_, **__: False)
    assert follow(server_client, "viewer", {}) == "./"
    assert follow(server_client, "viewer", QUERY).startswith("./?dag_id=pgvector_backup&run_id=manual__")
    assert server_client.get("/pgvector-backup/").status_code == 200


def test_who_is_not_logged_in_is_led_to_the_page_itself(server_client: TestClient) -> None:
    assert follow(server_client, None, {}) == "./"


def test_a_link_leads_nowhere_else(server_client: TestClient) -> None:
    led = follow(server_client, "admin", {"dag_id": "//evil.example", "run_id": "https://evil.example/"})
    assert led.startswith("/plugin/vector-backups/pgvector-backup/?")


def test_links_stand_below_airflow_s_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example/team/airflow/")
    assert link_url() == "https://example/team/airflow/pgvector-backup/open"
    assert link_url(**QUERY).startswith(
        "https://example/team/airflow/pgvector-backup/open?dag_id=pgvector_backup&run_id="
    )
