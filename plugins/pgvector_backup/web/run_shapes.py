"""What answers tell of runs, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pgvector_backup.web.shapes import ErrorData, Open


class Accepted(Open):
    """A run that goes on after the answer."""

    run_id: str
    dag_id: str
    state: str
    status_url: str


class RunResult(Open):
    """The run's result, as its DAG's task `report` returned it."""

    run_id: str
    response: str


class TableProgress(Open):
    """How far one table is; bytes before compression."""

    rows: int
    bytes: int
    expected_rows: int | None
    share: float | None


class Progress(TableProgress):
    """How far a run is: `share` from 0 to 1, seconds."""

    seconds: float
    seconds_left: float | None
    bytes_per_second: float
    tables: dict[str, TableProgress]


class Run(Open):
    """A run as it is now; `result` and `error` once it has ended."""

    run_id: str
    dag_id: str
    kind: Literal["backup", "restore", "verify", "prune", "copy"]
    state: str
    cancelled: bool
    cancelling: bool
    task_id: str | None
    asked: dict[str, Any]
    triggered_by: str | None
    run_type: str
    queued_at: str | None
    start_date: str | None
    end_date: str | None
    duration: float | None
    steps: dict[str, str | None]
    progress: Progress | None
    error: ErrorData | None
    url: str


class WholeRun(Run):
    """A run with its result."""

    result: dict[str, Any] | None
