"""`GET /metrics`: who may scrape, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.api import PREFIX, Api
from tests.helpers.own_airflow import Configure, Run

TOKEN = "a-token-of-some-length"
REFUSED = (401, 403)


def scraped(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by name, as Prometheus reads them."""
    return {
        family.name: [(dict(sample.labels), sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_numbers_of_the_sets(house: Path, api: Api, run: Run) -> None:
    run({})
    run({"timestamp": "latest", "backup_path": "vector_bak", "depth": "rows"}, dag_id="pgvector_verify")
    answer = api.call("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = scraped(answer.text)
    assert told["pgvector_backup_store_up"] == [({}, 1.0)]
    rows = {labels["table"]: value for labels, value in told["pgvector_backup_rows"]}
    assert rows == {"langchain_pg_collection": 4, "langchain_pg_embedding": 58}
    ((labels, moment),) = told["pgvector_backup_last_good_timestamp_seconds"]
    assert labels["location"] == "vector_bak"
    assert labels["database"]
    assert labels["server"]
    assert moment > 1_700_000_000
    assert len(told["pgvector_backup_last_proven_timestamp_seconds"]) == 1
    assert "pgvector_backup_last_drilled_timestamp_seconds" not in told
    assert {labels["whole"]: value for labels, value in told["pgvector_backup_sets"]} == {"true": 1, "false": 0}


def test_a_store_that_cannot_be_seen_has_no_numbers(house: Path, api: Api, run: Run, configure: Configure) -> None:
    run({})
    (house / "file").write_text("")
    configure(backup_root=house / "file" / "below")
    told = scraped(api.call("GET", "/metrics").text)
    # Of runs, which Airflow knows, all the same; of sets nothing.
    of_runs = {"pgvector_backup_last_success_timestamp_seconds", "pgvector_backup_dag_paused"}
    assert {name: value for name, value in told.items() if name not in of_runs} == {
        "pgvector_backup_store_up": [({}, 0.0)]
    }


def test_the_token_opens_the_metrics_and_nothing_else(
    house: Path, server_client: TestClient, configure: Configure
) -> None:
    configure(metrics_token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert server_client.get(f"{PREFIX}/metrics", headers=bearer).status_code == 200
    for path in ("/overview", "/health", "/restore/list", "/openapi.json", "/download/vector_bak/x"):
        assert server_client.get(PREFIX + path, headers=bearer).status_code in REFUSED
    assert server_client.post(f"{PREFIX}/backup", headers=bearer, json={}).status_code in REFUSED


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "a" * 5000])
def test_another_token_is_nobodys(house: Path, server_client: TestClient, configure: Configure, wrong: str) -> None:
    configure(metrics_token=TOKEN)
    answer = server_client.get(f"{PREFIX}/metrics", headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code in REFUSED
    assert "pgvector_backup_" not in answer.text


@pytest.mark.parametrize("short", ["", "short"])
def test_a_token_that_could_be_guessed_opens_nothing(
    house: Path, server_client: TestClient, configure: Configure, short: str
) -> None:
    configure(metrics_token=short)
    assert server_client.get(f"{PREFIX}/metrics", headers={"Authorization": f"Bearer {short}"}).status_code in REFUSED


def test_nobody_is_told_anything(house: Path, as_: Any) -> None:
    answer = as_(None).call("GET", "/metrics")
    assert answer.status_code == 401
    assert "pgvector_backup_" not in answer.text


@pytest.mark.parametrize("role", ["viewer", "user", "op", "admin"])
def test_everybody_with_a_login_may_scrape(house: Path, as_: Any, role: str) -> None:
    assert as_(role).call("GET", "/metrics").status_code == 200
