"""Airflow's REST API, as far as triggering and following a DAG run goes."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any

# The server is on this machine: a proxy configured in the environment has no business in between.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RestError(Exception):
    """An answer with an error status: ``status`` is the number, ``detail`` what the server said."""

    def __init__(self, status: int, detail: Any) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"HTTP {status}: {detail}")


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """How a DAG run ended: its state and, by task id, the results that the DAG declares."""

    state: str
    results: dict[str, Any]


class AirflowClient:
    """One user's view of a running Airflow.

    :param url: the base URL, without a path
    :param token: from :meth:`login`; None asks anonymously
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.token = token

    @classmethod
    def login(cls, url: str, username: str, password: str) -> AirflowClient:
        """A client with a token of this user."""
        client = cls(url)
        answer = client.request("POST", "/auth/token", {"username": username, "password": password})
        client.token = answer["access_token"]
        return client

    def request(self, method: str, path: str, body: Any = None, *, timeout: float = 60) -> Any:
        """Send ``body`` as JSON to ``path`` (from the base URL); return the answer's JSON, None if empty.

        :raises RestError: the status is 400 or higher
        :raises OSError: the server cannot be reached
        """
        with self._open(method, path, body, timeout=timeout) as response:
            content = response.read()
        return json.loads(content) if content else None

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None) -> str:
        """Start a DAG run now; return its id."""
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        run = self.request("POST", f"/api/v2/dags/{_quoted(dag_id)}/dagRuns", body)
        return str(run["dag_run_id"])

    def wait(
        self,
        dag_id: str,
        run_id: str,
        *,
        result: str | None = None,
        interval: float = 1,
        timeout: float = 600,
    ) -> RunOutcome:
        """Wait for the end of a DAG run.

        :param result: the task whose result is wanted; by default the DAG's own result
        :raises TimeoutError: the run is not over after ``timeout`` seconds
        """
        query = {"interval": str(interval)} | ({} if result is None else {"result": result})
        path = f"{_run_path(dag_id, run_id)}/wait?{urllib.parse.urlencode(query)}"
        deadline = time.monotonic() + timeout
        state = "unknown"
        with self._open("GET", path, timeout=interval + 60) as response:
            for line in response:
                if line.strip():
                    answer = json.loads(line)
                    state = answer["state"]
                    if state in ("success", "failed"):
                        return RunOutcome(state, answer.get("results", {}))
                if time.monotonic() > deadline:
                    break
        raise TimeoutError(f"the run {run_id} of {dag_id} is still {state} after {timeout:.0f} s")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run as the API shows them."""
        answer = self.request("GET", f"{_run_path(dag_id, run_id)}/taskInstances")
        return list(answer["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """The value a task pushed.

        :raises RestError: 404 when there is none
        """
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quoted(task_id)}/xcomEntries/{_quoted(key)}"
        return self.request("GET", f"{path}?deserialize=false&stringify=false")["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """A task's log: a line per event with everything it carries, tracebacks below their event."""
        task = f"{_run_path(dag_id, run_id)}/taskInstances/{_quoted(task_id)}"
        content = self.request("GET", f"{task}/logs/{try_number}?full_content=true")["content"]
        if isinstance(content, str):
            return content
        return "\n".join(_log_line(event) for event in content)

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """End a run by hand: ``failed`` or ``success``; its running tasks are told to stop."""
        self.request("PATCH", _run_path(dag_id, run_id), {"state": state})

    def unfinished_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs that are queued or running, as the API shows them."""
        path = f"/api/v2/dags/{_quoted(dag_id)}/dagRuns?state=queued&state=running"
        return list(self.request("GET", path)["dag_runs"])

    def import_errors(self) -> dict[str, str]:
        """The DAG files that could not be read, each with its traceback."""
        answer = self.request("GET", "/api/v2/importErrors")
        return {error["filename"]: error["stack_trace"] for error in answer["import_errors"]}

    def wait_for_dag(self, dag_id: str, *, parsed_after: str | None = None, timeout: float = 120) -> None:
        """Wait until the DAG can be triggered.

        :param parsed_after: a moment, as ISO 8601 in UTC, when what was read before it is of no interest
        :raises TimeoutError: it did not come; the message holds the import errors
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                dag = self.request("GET", f"/api/v2/dags/{_quoted(dag_id)}")
                parsed = dag["last_parsed_time"] or ""
                if not dag["is_stale"] and (parsed_after is None or parsed[:19] >= parsed_after[:19]):
                    return
            except RestError as error:
                if error.status != 404:
                    raise
            if time.monotonic() > deadline:
                errors = "".join(f"\n{name}:\n{trace}" for name, trace in self.import_errors().items())
                raise TimeoutError(f"the DAG {dag_id} did not appear within {timeout:.0f} s{errors}")
            time.sleep(0.5)

    def _open(self, method: str, path: str, body: Any = None, *, timeout: float) -> HTTPResponse:
        headers = {"Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)  # noqa: S310
        try:
            response: HTTPResponse = _opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise RestError(error.code, _detail(error.read())) from None
        except HTTPException as error:
            raise OSError(f"the server hung up: {error!r}") from error
        return response


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}"


def _detail(content: bytes) -> Any:
    """What FastAPI puts under ``detail``, or else the text as it came."""
    try:
        answer = json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
    return answer.get("detail", answer) if isinstance(answer, dict) else answer


def _log_line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    known = ("timestamp", "level", "event", "logger", "error_detail")
    rest = {name: value for name, value in event.items() if name not in known and value is not None}
    words = [str(event.get(name)) for name in ("timestamp", "level", "event") if event.get(name) is not None]
    lines = [" ".join(words) + (f" {json.dumps(rest, ensure_ascii=False)}" if rest else "")]
    for error in event.get("error_detail") or []:
        for frame in error.get("frames") or []:
            lines.append(f'    File "{frame["filename"]}", line {frame["lineno"]}, in {frame["name"]}')
        lines.append(f"    {error.get('exc_type')}: {error.get('exc_value')}")
        lines.extend(f"    {note}" for note in error.get("exc_notes") or [])
    return "\n".join(lines)
