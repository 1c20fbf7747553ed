"""A backup root in an object store, reached by an Airflow connection."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.seaweed import SeaweedFS
from pgvector_backup.engine.base.errors import InvalidParams, NotFound
from pgvector_backup.engine.store.options import RemoteRoot
from pgvector_backup.installation import configuration
from tests.helpers.own_airflow import Configure, Run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as running:
        running.make_bucket("backups")
        yield running


def stored(store: SeaweedFS, **changes: str) -> str:
    """The connection as an environment variable holds it."""
    extra = {"endpoint_url": store.endpoint, "region_name": store.region}
    words = {"conn_type": "aws", "login": store.access_key, "password": store.secret_key} | changes
    return json.dumps({**words, "extra": extra})


def test_a_run_stores_in_a_bucket_by_a_connection(
    house: Path,
    run: Run,
    configure: Configure,
    store: SeaweedFS,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", stored(store))
    configure(backup_root="s3://backups/sets", storage_connection="lake")
    done = run({"truncate_vector_tables": True})
    assert done.state == "success"
    assert done.result["backup_directory"] == "s3://backups/sets/vector_bak"
    assert done.result["truncate_results"]["langchain_pg_embedding"]["success"]
    assert store.secret_key not in json.dumps(done.result)
    assert store.secret_key not in caplog.text
    assert not (house / "vector_bak").exists()


@pytest.mark.parametrize(
    ("name", "value", "fault", "said"),
    [
        ("AIRFLOW_CONN_OTHER", "aws://a:b@", NotFound, "has no connection 'lake'"),
        ("AIRFLOW_CONN_LAKE", "postgresql://somebody:top-secret@host/db", InvalidParams, "it has to be aws"),
        ("AIRFLOW_CONN_LAKE", "{top-secret", NotFound, "that it can read"),
    ],
)
def test_a_connection_that_will_not_do_is_refused_and_not_shown(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: type[Exception], said: str
) -> None:
    monkeypatch.setenv(name, value)
    configure(backup_root="s3://backups/sets", storage_connection="lake")
    root = configuration.settings().backup_root
    assert isinstance(root, RemoteRoot)
    with pytest.raises(fault, match=said) as refused:
        root.resolved()
    assert "top-secret" not in str(refused.value)


def test_a_role_without_the_amazon_provider_is_refused_with_the_remedy(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_LAKE", json.dumps({"conn_type": "aws", "extra": {"role_arn": "arn:aws:iam::1:role/x"}})
    )
    configure(backup_root="s3://backups/sets", storage_connection="lake")
    root = configuration.settings().backup_root
    assert isinstance(root, RemoteRoot)
    with pytest.raises(InvalidParams, match="apache-airflow-providers-amazon; install it"):
        root.resolved()
