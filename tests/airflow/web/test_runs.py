"""Waiting for runs and looking at them; what becomes of them is set by hand here, by a running Airflow elsewhere."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import delete, select

from tests.helpers.api import PREFIX, Api, data_of
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set


@pytest.fixture(autouse=True)
def clean(dags: None) -> Iterator[None]:
    """No run of another test before, and none of this one after."""
    _remove_runs()
    yield
    _remove_runs()


def _remove_runs() -> None:
    with create_session() as session:
        session.execute(delete(DagRun))


def finish(run_id: str, state: str, *, dag_id: str = "pgvector_backup", task_id: str = "report", **xcoms: Any) -> None:
    """End a run as its last task would: with what it leaves, by key."""
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.run_id == run_id, DagRun.dag_id == dag_id))
        assert run is not None
        for key, value in xcoms.items():
            XComModel.set(
                key=key, value=value, dag_id=dag_id, task_id=task_id, run_id=run_id, serialize=False, session=session
            )
        run.set_state(state)


@pytest.fixture
def begun(house: Any, api: Api) -> str:
    return str(data_of(api.call("POST", "/backup?wait=0", {}), 202)["run_id"])


def error(error_type: str) -> dict[str, Any]:
    return {
        "response": "what it was",
        "error_type": error_type,
        "can_retry": False,
        "timestamp": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("error_type", "code", "message"),
    [
        ("INVALID_PARAMS", 400, "请求参数错误"),
        ("MISSING_REQUIRED_PARAMS", 400, "请求参数错误"),
        ("RESOURCE_NOT_FOUND", 404, "资源未找到"),
        ("CONFLICT", 409, "操作冲突"),
        ("CANCELLED", 409, "操作冲突"),
        ("INTEGRITY_ERROR", 500, "系统内部错误"),
        ("STORAGE_ERROR", 500, "系统内部错误"),
        ("DATABASE_ERROR", 500, "系统内部错误"),
        ("INTERNAL_ERROR", 500, "系统内部错误"),
    ],
)
def test_a_failed_run_is_answered_with_its_error(
    house: Any, api: Api, error_type: str, code: int, message: str
) -> None:
    finisher = threading.Thread(
        target=finish_next, kwargs={"error": error(error_type), "return_value": {"response": "x"}}
    )
    finisher.start()
    answer = api.call("POST", "/backup?wait=30", {})
    finisher.join()
    data = data_of(answer, code)
    assert answer.json()["message"] == message
    assert data["error_type"] == error_type
    assert data["response"] == "what it was"
    assert data["result"]["response"] == "x"
    run = api.get(f"/backup/{data['run_id']}")
    assert (run["state"], run["error"]["error_type"]) == ("failed", error_type)
    assert run["cancelled"] is (error_type == "CANCELLED")


def finish_next(**xcoms: Any) -> None:
    """End the one backup that is there, as soon as it is."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with create_session() as session:
            queued = session.scalars(
                select(DagRun.run_id).where(DagRun.state == "queued", DagRun.dag_id == "pgvector_backup")
            ).all()
        if queued:
            (run_id,) = queued
            finish(run_id, "failed" if "error" in xcoms else "success", **xcoms)
            return
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["backup", "restore", "verify", "prune", "copy"])
def test_each_kind_waits_for_its_result(house: Any, api: Api, database: Database, configure: Any, kind: str) -> None:
    configure(copy_roots=house.parent / "other")
    made = make_set(database)
    a_set = {"backup_path": "vector_bak", "timestamp": made.backup_id}
    body = {"backup": {}, "prune": {"backup_path": "vector_bak", "dry_run": True}}.get(kind, a_set)
    run_id = data_of(api.call("POST", f"/{kind}?wait=0", body), 202)["run_id"]
    run = api.get(f"/{kind}/{run_id}")
    assert (run["kind"], run["state"], run["dag_id"]) == (kind, "queued", f"pgvector_{kind}")
    assert run["steps"]
    assert (run["result"], run["error"], run["progress"]) == (None, None, None)
    assert run["url"].startswith(f"dags/pgvector_{kind}/runs/manual__")
    for other in {"backup", "restore", "verify", "prune", "copy"} - {kind}:
        data_of(api.call("GET", f"/{other}/{run_id}"), 404)
    tells = kind if kind in ("prune", "copy") else "report"
    finish(run_id, "success", dag_id=f"pgvector_{kind}", task_id=tells, return_value={"response": "done"})
    run = api.get(f"/{kind}/{run_id}")
    assert (run["state"], run["result"]) == ("success", {"response": "done", "run_id": run_id})


def test_the_result_comes_as_soon_as_the_run_is_over(house: Any, api: Api) -> None:
    finisher = threading.Thread(target=finish_next, kwargs={"return_value": {"response": "Vector表备份完成"}})
    finisher.start()
    started = time.monotonic()
    answer = api.call("POST", "/backup", {})
    finisher.join()
    assert time.monotonic() - started < 20
    assert data_of(answer)["response"] == "Vector表备份完成"
    run_id = data_of(answer)["run_id"]
    english = api.get(f"/backup/{run_id}", headers={"Accept-Language": "en"})
    assert english["result"]["response"] == "Vector tables backed up"


def test_a_run_that_outlasts_the_wait_is_told_of(house: Any, api: Api) -> None:
    started = time.monotonic()
    answer = api.call("POST", "/backup?wait=2", {})
    assert 1.9 < time.monotonic() - started < 10
    data = data_of(answer, 202)
    assert data["state"] == "queued"
    assert answer.headers["location"] == data["status_url"]
    assert api.client.get(data["status_url"], headers={"Authorization": f"Bearer {api.token}"}).status_code == 200


def test_a_run_that_left_no_reason(api: Api, begun: str) -> None:
    finish(begun, "failed")
    run = api.get(f"/backup/{begun}")
    assert run["error"]["error_type"] == "INTERNAL_ERROR"
    assert "gave no reason" in run["error"]["response"]


def test_a_run_that_is_not_there(house: Any, api: Api) -> None:
    for method in ("GET", "DELETE"):
        data_of(api.call(method, "/backup/manual__not_there"), 404)


def test_a_queued_run_is_cancelled_as_a_whole(api: Api, begun: str) -> None:
    run = data_of(api.call("DELETE", f"/backup/{begun}"))
    assert (run["state"], run["cancelled"]) == ("failed", True)
    assert run["error"]["response"].startswith("cancelled by user")
    assert data_of(api.call("DELETE", f"/backup/{begun}"), 409)["error_type"] == "CONFLICT"


def test_a_run_at_its_report_is_not_cancelled(api: Api, begun: str) -> None:
    from airflow.models.taskinstance import TaskInstance

    with create_session() as session:
        for task in session.scalars(select(TaskInstance).where(TaskInstance.run_id == begun)):
            task.state = "running" if task.task_id == "report" else "success"
        session.scalar(select(DagRun).where(DagRun.run_id == begun)).state = "running"
    assert "at its end" in data_of(api.call("DELETE", f"/backup/{begun}"), 409)["response"]


def test_many_who_wait_hold_up_nobody(house: Any, app: Any, as_: Callable[[str], Api]) -> None:
    """More than there are threads and connections to the metadata database."""
    token = as_("user").token
    crowd = 60

    async def all_at_once() -> tuple[list[int], float]:
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://testserver", headers=headers, timeout=120
        ) as client:
            waiting = [asyncio.create_task(client.post(f"{PREFIX}/backup?wait=15")) for _ in range(crowd)]
            await asyncio.sleep(5)
            started = time.monotonic()
            assert (await client.get(f"{PREFIX}/restore/list")).status_code == 200
            took = time.monotonic() - started
            assert not all(one.done() for one in waiting)
            return [(await one).status_code for one in waiting], took

    codes, took = asyncio.run(all_at_once())
    assert codes == [202] * crowd
    assert took < 5


def test_the_audit_log_tells_who_did_what(api: Api, begun: str) -> None:
    from airflow.models.log import Log

    data_of(api.call("DELETE", f"/backup/{begun}"))
    with create_session() as session:
        lines = session.scalars(select(Log).where(Log.run_id == begun).order_by(Log.id)).all()
        assert [(line.event, line.owner, line.dag_id) for line in lines] == [
            ("trigger_dag_run", "user", "pgvector_backup"),
            ("pgvector_cancel_run", "user", "pgvector_backup"),
        ]
