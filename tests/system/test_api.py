"""The API in a running Airflow: an older client, waiting, progress, cancelling, a URI that leaves no trace."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.helpers.gate import closed_gate, data_files, wait_for_the_middle
from tests.helpers.installation import DAG_ID, LARGE_ROWS, PASSWORD, WRONG_PASSWORD, Installation, keeper_uri, until
from tests.helpers.traces import TRACES, kept, leaks

PREFIX = "/api/v0/data_pipeline/vector"

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(
    url: str, token: str | None, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any], Any]:
    """One request, as curl would send it: status, headers, and the answer's JSON, or its bytes."""
    everything = {**headers, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    data = None
    if body is not None:
        data, everything["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(url + PREFIX + path, data=data, headers=everything, method=method)
    try:
        answer = _direct.open(request, timeout=120)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        content = answer.read()
    is_json = answer.headers["Content-Type"] == "application/json"
    return int(answer.status), dict(answer.headers), json.loads(content) if is_json else content


class Api:
    """The API as one user of the installation sees it."""

    def __init__(self, installation: Installation, user: str = "admin") -> None:
        self._url = installation.airflow.url
        self._token = installation.airflow.client(user).token

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and data of an answer in the envelope."""
        code, _, envelope = ask(self._url, self._token, method, path, body, **headers)
        assert set(envelope) == {"code", "success", "message", "data"}, envelope
        assert (envelope["code"], envelope["success"]) == (code, code < 400)
        return code, envelope["data"]

    def data(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The data of a success."""
        code, data = self(method, path, body)
        assert code == 200, data
        return data

    def run(self, kind: str, run_id: str) -> dict[str, Any]:
        return self.data("GET", f"/{kind}/{quote(run_id, safe='')}")

    def begin(self, body: Any) -> str:
        """Trigger a backup without waiting."""
        code, data = self("POST", "/backup?wait=0", body)
        assert code == 202, data
        assert data["status_url"] == f"{PREFIX}/backup/{quote(data['run_id'], safe='')}"
        return str(data["run_id"])

    def end(self, run_id: str) -> dict[str, Any]:
        """Wait for a run's end by asking again and again."""
        return dict(until(lambda: (run := self.run("backup", run_id))["end_date"] and run, "the run's end", every=0.3))


@pytest.fixture
def api(installation: Installation) -> Api:
    return Api(installation)


class TestOfAClientOfTheOlderApi:
    """Written against the older design: only the host and one header are new to it."""

    def post(self, installation: Installation, body: Any) -> tuple[int, Any]:
        token = installation.airflow.client("admin").token
        request = urllib.request.Request(
            f"{installation.airflow.url}/api/v0/data_pipeline/vector/backup",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
            method="POST",
        )
        try:
            with _direct.open(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def check_done(self, status: int, answer: Any, *, truncated: bool = False) -> Any:
        assert (status, answer["code"], answer["success"], answer["message"]) == (200, 200, True, "操作成功")
        data = answer["data"]
        assert data["response"] == "Vector表备份完成"
        assert data["backup_performed"] is True
        assert data["truncate_performed"] is truncated
        assert data["errors"] == []
        assert isinstance(data["duration"], float)
        assert datetime.fromisoformat(data["timestamp"]).tzinfo is not None
        for name, rows in (("langchain_pg_collection", 4), ("langchain_pg_embedding", 58)):
            table = data["tables_backed_up"][name]
            assert (table["success"], table["row_count"]) == (True, rows)
            assert table["file_size"].endswith(("B", "KB"))
            assert table["backup_file"].startswith(f"{name}_")
            assert (Path(data["backup_directory"]) / table["backup_file"]).is_file()
        return data

    def test_nothing_said(self, installation: Installation) -> None:
        data = self.check_done(*self.post(installation, {}))
        assert data["backup_directory"] == str(installation.directory)

    def test_a_task_s_directory(self, installation: Installation) -> None:
        directory = installation.make_task_directory("task_20250721_213627")
        body = {"task_id": "task_20250721_213627", "truncate_vector_tables": False}
        data = self.check_done(*self.post(installation, body))
        assert data["backup_directory"] == str(directory)

    def test_another_database_and_emptying_it(self, installation: Installation) -> None:
        installation.make_task_directory("emptied")
        body = {
            "task_id": "emptied",
            "db_connection": installation.server.uri("spare"),
            "truncate_vector_tables": True,
        }
        data = self.check_done(*self.post(installation, body), truncated=True)
        emptied = data["truncate_results"]["langchain_pg_embedding"]
        assert (emptied["success"], emptied["rows_before"], emptied["rows_after"]) == (True, 58, 0)
        assert installation.query("spare", "SELECT count(*) FROM langchain_pg_embedding") == [(0,)]

    def test_its_errors(self, installation: Installation) -> None:
        status, answer = self.post(installation, {"task_id": "a/b"})
        assert (status, answer["message"]) == (400, "请求参数错误")
        assert answer["data"]["response"] == "无效的task_id格式,只能包含字母、数字和下划线"
        assert answer["data"]["error_type"] == "INVALID_PARAMS"
        status, answer = self.post(installation, {"task_id": "task_20250721_999999"})
        assert (status, answer["message"]) == (404, "资源未找到")
        assert answer["data"]["response"] == "指定的任务目录不存在: task_20250721_999999"
        assert answer["data"]["error_type"] == "RESOURCE_NOT_FOUND"
        status, answer = self.post(installation, {"db_connection": "pgvector_unreachable"})
        assert (status, answer["message"], answer["success"]) == (500, "系统内部错误", False)
        assert answer["data"]["response"].startswith("数据库连接失败,请检查连接配置")
        assert (answer["data"]["error_type"], answer["data"]["can_retry"]) == ("DATABASE_ERROR", True)


def test_a_run_is_told_of_while_it_goes_on_and_when_it_is_over(installation: Installation, api: Api) -> None:
    installation.make_task_directory("watched")
    run_id = api.begin({"task_id": "watched", "db_connection": "pgvector_large"})
    seen = []
    while not seen or seen[-1]["end_date"] is None:
        seen.append(api.run("backup", run_id))
        time.sleep(0.1)
    reports = [run["progress"] for run in seen if run["progress"]]
    shares = [report["share"] for report in reports]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares), shares
    between = next(report for report in reports if 0 < report["share"] < 1)
    assert 0 < between["rows"] < LARGE_ROWS
    assert between["seconds_left"] > 0
    assert between["bytes_per_second"] > 0
    assert between["tables"]["langchain_pg_embedding"]["rows"] == between["rows"]
    last = seen[-1]
    assert (last["state"], last["error"], last["cancelled"], last["progress"]) == ("success", None, False, None)
    assert last["task_id"] == "watched"
    assert last["triggered_by"] == "admin"
    assert last["steps"] == {"backup": "success", "truncate": "skipped", "report": "success"}
    assert last["result"]["run_id"] == run_id
    assert last["result"]["tables_backed_up"]["langchain_pg_embedding"]["row_count"] == LARGE_ROWS

    detail = api.data("GET", f"/sets/watched/vector_bak/{last['result']['backup_id']}")
    assert detail["run_id"] == run_id
    assert detail["duration"] == last["result"]["duration"]
    assert run_id in detail["log_section"]
    file = detail["tables"]["langchain_pg_embedding"]
    url, token = installation.airflow.url, installation.client.token
    status, headers, content = ask(url, token, "GET", f"/download/watched/vector_bak/{file['file']}")
    assert status == 200
    assert hashlib.sha256(content).hexdigest() == file["sha256"] == headers["etag"].strip('"')
    path = f"/download/watched/vector_bak/{file['file']}"
    status, headers, part = ask(url, token, "GET", path, Range="bytes=1000000-1999999")
    assert (status, part) == (206, content[1_000_000:2_000_000])


def test_a_cancelled_backup_leaves_nothing_and_says_so_to_everybody(installation: Installation, api: Api) -> None:
    directory = installation.make_task_directory("cancelled")
    body = {"task_id": "cancelled", "db_connection": "pgvector_gate"}
    with closed_gate(installation), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api, "POST", "/backup", body)
        wait_for_the_middle(installation, directory)
        (running,) = api.data("GET", "/overview")["running"]
        run = api.data("DELETE", f"/backup/{quote(running['run_id'], safe='')}")
        until(lambda: installation.connections() == 0, "the server to be rid of the backup's queries", seconds=30)
        code, told = waiting.result()
    assert (run["state"], run["cancelled"]) == ("failed", True)
    assert run["steps"]["backup"] == "failed"
    assert run["error"]["error_type"] == "CANCELLED"
    # The task's own last word may come, or not.
    assert run["error"]["response"].startswith(("cancelled by admin", "cancelled on request"))
    assert run["result"]["backup_performed"] is False
    assert (code, told["error_type"], told["run_id"]) == (409, "CANCELLED", run["run_id"])
    until(lambda: data_files(directory) == [], "the unfinished files to go", seconds=30)
    assert run["error"]["response"] in (directory / "vector_backup_log.txt").read_text(encoding="utf-8")
    code, again = api("DELETE", f"/backup/{quote(running['run_id'], safe='')}")
    assert (code, again["error_type"]) == (409, "CONFLICT")


def test_a_queued_backup_can_be_cancelled_as_well(installation: Installation, api: Api) -> None:
    directory = installation.make_task_directory("queued")
    body = {"task_id": "queued", "db_connection": "pgvector_gate"}
    with closed_gate(installation):
        first = api.begin(body)
        wait_for_the_middle(installation, directory)
        second = api.begin(body)
        assert api.run("backup", second)["state"] == "queued"
        run = api.data("DELETE", f"/backup/{quote(second, safe='')}")
        assert (run["state"], run["cancelled"]) == ("failed", True)
        assert api.run("backup", first)["state"] == "running"
    assert api.end(first)["state"] == "success"


def test_a_viewer_sees_everything_and_does_nothing(installation: Installation) -> None:
    eve, uma = Api(installation, "eve"), Api(installation, "uma")
    assert eve("POST", "/backup?wait=0", {})[0] == 403
    result = uma.data("POST", "/backup", {})
    run = eve.run("backup", result["run_id"])
    assert (run["state"], run["triggered_by"]) == ("success", "uma")
    assert eve("DELETE", f"/backup/{quote(result['run_id'], safe='')}")[0] == 403
    assert eve("DELETE", f"/sets/vector_bak/{result['backup_id']}")[0] == 403
    assert eve.data("GET", f"/sets/vector_bak/{result['backup_id']}")["whole"] is True
    removed = uma.data("DELETE", f"/sets/vector_bak/{result['backup_id']}")["removed"]
    assert not [name for name in removed if (installation.directory / name).exists()]


class TestOfAUri:
    """It becomes a connection of its run alone, and nothing of it is left."""

    def connections(self, installation: Installation) -> list[str]:
        found = installation.client.request("GET", "/api/v2/connections?limit=100")["connections"]
        return [one["connection_id"] for one in found if one["connection_id"].startswith("pgvector_tmp_")]

    def stored(self, installation: Installation) -> bytes:
        """All of Airflow's database, what it has deleted and not yet overwritten included."""
        return b"".join(path.read_bytes() for path in installation.airflow.home.glob("airflow.db*"))

    def check_gone(self, installation: Installation, run_id: str) -> None:
        until(lambda: not self.connections(installation), "the connection to be gone", seconds=15)
        assert leaks(kept(installation, DAG_ID, run_id)) == []
        run = installation.client.request("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{quote(run_id, safe='')}")
        assert set(run["conf"]) <= {"db_connection", "task_id"}
        assert run["conf"]["db_connection"].startswith("pgvector_tmp_")
        for trace in TRACES:
            assert trace.encode() not in self.stored(installation)

    @contextmanager
    def at_the_gate(self, installation: Installation, api: Api, task: str) -> Iterator[str]:
        """A backup by URI that stands still in its middle."""
        directory = installation.make_task_directory(task)
        uri = installation.server.uri("gate").replace("@", f":{quote(PASSWORD, safe='')}@", 1)
        with closed_gate(installation):
            run_id = api.begin({"task_id": task, "db_connection": uri})
            wait_for_the_middle(installation, directory)
            yield run_id

    def test_of_a_run_that_succeeds(self, installation: Installation, api: Api) -> None:
        with self.at_the_gate(installation, api, "by_uri") as run_id:
            (connection,) = self.connections(installation)
            run = api.run("backup", run_id)
            assert run["state"] == "running"
            assert "s3cret" not in json.dumps(run)
            # Nobody else's run may use it, not even a user's who has read its name in the conf.
            code, told = api("POST", "/backup?wait=0", {"db_connection": connection})
            assert (code, told["error_type"]) == (400, "INVALID_PARAMS")
            other = installation.client.trigger(DAG_ID, {"db_connection": connection, "task_id": "by_uri"})
        assert api.end(run_id)["state"] == "success"
        assert "may not be named" in api.end(other)["error"]["response"]
        self.check_gone(installation, run_id)

    def test_of_a_run_that_fails(self, installation: Installation, api: Api) -> None:
        installation.make_task_directory("by_wrong_uri")
        body = {"task_id": "by_wrong_uri", "db_connection": keeper_uri(installation.server, WRONG_PASSWORD)}
        code, told = api("POST", "/backup", body)
        assert (code, told["error_type"]) == (500, "DATABASE_ERROR")
        assert told["response"].startswith("数据库连接失败")
        self.check_gone(installation, told["run_id"])

    def test_of_a_run_that_is_cancelled(self, installation: Installation, api: Api) -> None:
        with self.at_the_gate(installation, api, "by_uri_cancelled") as run_id:
            assert len(self.connections(installation)) == 1
            assert api.data("DELETE", f"/backup/{quote(run_id, safe='')}")["cancelled"] is True
        self.check_gone(installation, run_id)

    def test_a_user_who_may_not_create_connections(self, installation: Installation) -> None:
        body = {"db_connection": keeper_uri(installation.server, PASSWORD)}
        code, told = Api(installation, "uma")("POST", "/backup?wait=0", body)
        assert (code, told["error_type"]) == (403, "FORBIDDEN")
