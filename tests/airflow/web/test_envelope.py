"""What is wrong with a request is said in the envelope, in the language asked for, before any run is created."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import func, select

from tests.helpers.api import Api, data_of

ZH = {400: "请求参数错误", 404: "资源未找到", 500: "系统内部错误"}


def count_runs() -> int:
    with create_session() as session:
        return session.scalar(select(func.count()).select_from(DagRun)) or 0


def check_refused(api: Api, path: str, body: Any, code: int, error_type: str, **more: Any) -> dict[str, Any]:
    before = count_runs()
    answer = api.call("POST", path, body, **more)
    data = data_of(answer, code)
    assert answer.json()["message"] == ZH[code]
    assert data["error_type"] == error_type
    assert data["can_retry"] is False
    assert datetime.fromisoformat(data["timestamp"]).tzinfo is not None
    assert count_runs() == before
    return dict(data)


def test_a_malformed_task_id_as_in_the_older_api(house: Any, api: Api) -> None:
    data = check_refused(api, "/backup", {"task_id": "../etc"}, 400, "INVALID_PARAMS")
    assert data["response"] == "无效的task_id格式,只能包含字母、数字和下划线"


def test_a_task_that_is_not_there_as_in_the_older_api(house: Any, api: Api) -> None:
    data = check_refused(api, "/backup", {"task_id": "task_20250721_999999"}, 404, "RESOURCE_NOT_FOUND")
    assert data["response"] == "指定的任务目录不存在: task_20250721_999999"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object"),
        (b'"text"', "no JSON object"),
        (b"null", "no JSON object"),
        (b"1", "no JSON object"),
        (b'{"x": "' + b"x" * (1 << 20) + b'"}', "larger than"),
        ({"truncate_vector_table": True}, "did you mean 'truncate_vector_tables'"),
        ({"truncate_vector_tables": "true"}, "expected boolean, got str"),
        ({"backup_vector_tables": None}, "expected boolean, got NoneType"),
        ({"task_id": 7}, "expected string or null, got int"),
        ({"compression": "lzma"}, "'lzma' is not one of"),
        ({"compression": "gzip", "compression_level": 99}, "compression_level"),
        ({"db_connection": "warehouse"}, "'warehouse' may not be named"),
        ({"db_connection": "pgvector_tmp_" + "0" * 32}, "may not be named"),
        ({"db_connection": "mysql://u@h/d"}, "postgresql://"),
        ({"db_connection": "postgresql://u:p w@h:port/d"}, "libpq cannot read"),
        ({"task_id": "nul\0"}, "NUL"),
        (b'{"task_id": "\\ud800"}', "surrogate"),
        ({"task_id": "x" * 256}, "task_id"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_body(house: Any, as_: Any, body: Any, words: str) -> None:
    assert words in check_refused(as_("admin"), "/backup", body, 400, "INVALID_PARAMS")["response"]


@pytest.mark.parametrize("body", [None, b"", b" \n", b"{}"], ids=str)
def test_an_empty_body_is_an_empty_object(house: Any, api: Api, body: Any) -> None:
    answer = api.call("POST", "/backup?wait=0", body)
    run_id = data_of(answer, 202)["run_id"]
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.run_id == run_id))
        assert run is not None
        assert run.conf == {}
        assert (run.triggering_user_name, run.triggered_by.value) == ("user", "rest_api")


@pytest.mark.parametrize("wait", ["-1", "3601", "soon", "1.5", ""])
def test_a_bad_wait(house: Any, api: Api, wait: str) -> None:
    assert check_refused(api, f"/backup?wait={wait}", {}, 400, "INVALID_PARAMS")["response"].startswith("wait: ")


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, ["backup_path", "timestamp"]),
        ({"timestamp": "20250721_234914"}, ["backup_path"]),
        ({"task_id": "t1"}, ["timestamp"]),
        ({"backup_path": "vector_bak"}, ["timestamp"]),
    ],
)
def test_a_restore_has_to_say_which_set(house: Any, api: Api, body: Any, missing: list[str]) -> None:
    data = check_refused(api, "/restore", body, 400, "MISSING_REQUIRED_PARAMS")
    assert data["missing_params"] == missing
    assert data["response"].startswith("缺少必需参数")


@pytest.mark.parametrize("path", ["../vector_bak", "/etc", "a/b/vector_bak", "vector_bak/..", "%2e%2e/vector_bak", ""])
@pytest.mark.parametrize("kind", ["restore", "verify"])
def test_a_path_out_of_the_root(house: Any, api: Api, kind: str, path: str) -> None:
    body = {"backup_path": path, "timestamp": "20250721_234914"}
    assert "is no place of backups" in check_refused(api, f"/{kind}", body, 400, "INVALID_PARAMS")["response"]


def test_a_set_that_is_not_there(house: Any, api: Api) -> None:
    (house / "vector_bak").mkdir()
    body = {"backup_path": "vector_bak", "timestamp": "20250721_234914"}
    for kind in ("restore", "verify"):
        assert "no set 20250721_234914" in check_refused(api, f"/{kind}", body, 404, "RESOURCE_NOT_FOUND")["response"]


@pytest.mark.parametrize("kind", ["restore", "verify"])
def test_a_copy_that_nobody_has_configured(house: Any, api: Api, kind: str) -> None:
    """Whoever may trigger does not say where sets are read."""
    for root in ("s3://elsewhere/sets", str(house.parent), ""):
        body = {"backup_path": "vector_bak", "timestamp": "20250721_234914", "from_copy": root}
        data = check_refused(api, f"/{kind}", body, 400, "INVALID_PARAMS")
        assert "from_copy: it has to be one of copy_roots" in data["response"]


def test_a_dag_that_is_not_there_or_would_not_run(house: Any, api: Api) -> None:
    from airflow.models.dag import DagModel

    for change, code, words in (
        ({"is_stale": True}, 404, "not there"),
        ({"is_paused": True}, 409, "paused"),
        ({"has_import_errors": True}, 409, "cannot be read"),
    ):
        with changed(DagModel, change):
            data = data_of(api.call("POST", "/backup?wait=0", {}), code)
        assert words in data["response"]


@contextmanager
def changed(model: Any, change: dict[str, Any]) -> Iterator[None]:
    """The backup's DAG with other columns, for as long as the block lasts."""

    def put(values: dict[str, Any]) -> None:
        with create_session() as session:
            found = session.get(model, "pgvector_backup")
            for name, value in values.items():
                setattr(found, name, value)

    put(change)
    try:
        yield
    finally:
        put(dict.fromkeys(change, False))


@pytest.mark.parametrize(
    ("header", "message", "response"),
    [
        (None, "资源未找到", "指定的任务目录不存在: not_there"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "资源未找到", "指定的任务目录不存在: not_there"),
        ("fr", "资源未找到", "指定的任务目录不存在: not_there"),
        ("*", "资源未找到", "指定的任务目录不存在: not_there"),
        ("en", "Not found", "the task's directory does not exist: not_there"),
        ("en-US,en;q=0.9", "Not found", "the task's directory does not exist: not_there"),
        ("zh;q=0.2, en;q=0.7", "Not found", "the task's directory does not exist: not_there"),
        ("en;q=0, zh", "资源未找到", "指定的任务目录不存在: not_there"),
        ("en;q=bad", "资源未找到", "指定的任务目录不存在: not_there"),
    ],
)
def test_the_language_is_the_one_asked_for(house: Any, api: Api, header: Any, message: str, response: str) -> None:
    headers = {} if header is None else {"Accept-Language": header}
    answer = api.call("POST", "/backup", {"task_id": "not_there"}, headers=headers)
    assert answer.json()["message"] == message
    assert data_of(answer, 404)["response"] == response
    assert "Accept-Language" in answer.headers["vary"]


@pytest.mark.parametrize(("path", "method"), [("/nope", "GET"), ("/", "GET"), ("/backup/", "POST")])
def test_no_such_route(api: Api, path: str, method: str) -> None:
    assert data_of(api.call(method, path), 404)["error_type"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/backup", "GET", "POST"),
        ("/restore/list", "POST", "GET"),
        ("/backup/some_run", "PATCH", "DELETE, GET"),
        ("/sets/vector_bak/20250721_234914", "POST", "DELETE, GET"),
        ("/download/vector_bak/file", "PUT", "GET, HEAD"),
        ("/overview", "DELETE", "GET"),
    ],
)
def test_no_such_method(api: Api, path: str, method: str, allowed: str) -> None:
    answer = api.call(method, path)
    assert data_of(answer, 405)["error_type"] == "METHOD_NOT_ALLOWED"
    assert answer.headers["allow"] == allowed


def test_no_page_of_documentation_that_would_load_from_elsewhere(api: Api) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        data_of(api.call("GET", path), 404)


def test_the_unforeseen_tells_nothing_and_is_logged(
    house: Any, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pgvector_backup.web import routes_sets

    def break_down(**_: Any) -> Any:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(routes_sets.sets, "found_locations", break_down)
    answer = api.call("GET", "/restore/list")
    assert data_of(answer, 500)["error_type"] == "INTERNAL_ERROR"
    assert answer.json()["message"] == "系统内部错误"
    assert "secret" not in answer.text
    assert any(record.exc_info and "unforeseen" in record.getMessage() for record in caplog.records)


def test_airflow_s_own_database_being_away(house: Any, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    from pgvector_backup.web import runs

    def away(*_: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("password=hidden"))

    monkeypatch.setattr(runs, "look", away)
    answer = api.call("GET", "/backup/some_run")
    data = data_of(answer, 503)
    assert answer.json()["message"] == "数据库服务不可用"
    assert (data["error_type"], data["can_retry"]) == ("SERVICE_UNAVAILABLE", True)
    assert "hidden" not in answer.text


def test_the_document_tells_of_the_keys_and_of_no_422(api: Api) -> None:
    answer = api.call("GET", "/openapi.json")
    document = answer.json()
    body = document["paths"]["/backup"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["additionalProperties"] is False
    assert set(body["properties"]) >= {"task_id", "db_connection", "truncate_vector_tables", "file_format"}
    assert "422" not in json.dumps(document)
    assert "ValidationError" not in json.dumps(document)
    assert document["servers"] == [{"url": "/api/v0/data_pipeline/vector"}]
