"""Results that an XCom backend keeps elsewhere, as large installations have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from tests.helpers.api import Api, data_of

BACKEND = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where values of more than ten bytes go."""
    from airflow.providers.common.io.xcom import backend

    for value in vars(backend).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", BACKEND)
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", f"file://{tmp_path}/xcoms")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "10")
    return tmp_path / "xcoms"


def finish(run_id: str, state: str, **xcoms: Any) -> None:
    """End a run as its report would, whose worker has the same backend."""
    from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend

    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.run_id == run_id))
        assert run is not None
        for key, value in xcoms.items():
            stored = XComObjectStorageBackend.serialize_value(
                value, key=key, task_id="report", dag_id="pgvector_backup", run_id=run_id
            )
            XComModel.set(
                key=key,
                value=stored,
                dag_id="pgvector_backup",
                task_id="report",
                run_id=run_id,
                serialize=False,
                session=session,
            )
        run.set_state(state)


def begin(api: Api) -> str:
    return str(data_of(api.call("POST", "/backup?wait=0", {}), 202)["run_id"])


def test_a_result_that_lies_elsewhere_is_the_run_s(house: Path, api: Api, elsewhere: Path) -> None:
    run_id = begin(api)
    finish(run_id, "success", return_value={"response": "Vector表备份完成", "backup_performed": True})
    assert [path.name for path in elsewhere.rglob("*") if path.is_file()]
    seen = api.get(f"/backup/{run_id}")
    assert seen["result"] == {"response": "Vector表备份完成", "backup_performed": True, "run_id": run_id}


def test_an_error_that_lies_elsewhere_is_the_run_s(house: Path, api: Api, elsewhere: Path) -> None:
    run_id = begin(api)
    error = {
        "response": "what it was",
        "error_type": "CONFLICT",
        "can_retry": False,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    finish(run_id, "failed", error=error)
    assert api.get(f"/backup/{run_id}")["error"] == error


def test_what_cannot_be_reached_is_no_fault_of_the_answer(
    house: Path, api: Api, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = begin(api)
    finish(run_id, "success", return_value={"response": "Vector表备份完成", "backup_performed": True})
    for path in list(elsewhere.rglob("*")):
        if path.is_file():
            path.unlink()
    assert api.get(f"/backup/{run_id}")["result"] is None
