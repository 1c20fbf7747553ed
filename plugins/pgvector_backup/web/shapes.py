"""The answers' shapes, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Open(BaseModel):
    """Further fields may come with later releases."""

    model_config = ConfigDict(extra="allow")


class Envelope(BaseModel, Generic[T]):
    """Every answer of a success."""

    code: int
    success: Literal[True]
    message: str
    data: T


class ErrorData(Open):
    """What went wrong, and the remedy."""

    response: str
    error_type: str
    can_retry: bool
    timestamp: str
    missing_params: list[str] | None = None
    run_id: str | None = None
    result: dict[str, Any] | None = None


class ErrorEnvelope(BaseModel):
    """Every answer of an error."""

    code: int
    success: Literal[False]
    message: str
    data: ErrorData


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
    kind: Literal["backup", "restore", "verify", "prune"]
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


class Table(Open):
    """One table's file; `bytes` as it lies there, `raw_bytes` before compression."""

    file: str
    rows: int | None
    bytes: int
    raw_bytes: int | None
    size: str
    format: str | None
    compression: str | None
    sha256: str | None
    duration: float | None


class Verified(Open):
    """The last verification."""

    when: str | None
    depth: str | None
    ok: bool | None
    run_id: str | None


class Pin(Open):
    """Who holds a set, and why; `until` null: until it is lifted."""

    by: str
    reason: str
    until: str | None
    at: str | None


class Pinned(Open):
    """A pin that was made, or lifted."""

    relative_path: str
    timestamp: str
    pin: Pin


class Collection(Open):
    """One of LangChain's collections, with its embeddings at the moment of the set."""

    name: str
    uuid: str
    rows: int


class BackupSet(Open):
    """A backup set; `collections` null where nobody has counted them, in a list the first fifty."""

    timestamp: str
    collection_file: str | None
    embedding_file: str | None
    collection_size: str | None
    embedding_size: str | None
    backup_date: str
    has_log: bool
    log_file: str | None
    type: Literal["global", "task"]
    task_id: str | None
    relative_path: str
    manifest_file: str | None
    backup_id: str
    created_at: str
    rows: int | None
    bytes: int
    size: str
    tables: dict[str, Table]
    collections: list[Collection] | None
    failed_tables: dict[str, str]
    run_id: str | None
    run_url: str | None
    duration: float | None
    verified: Verified | None
    damaged: str | None
    whole: bool
    fault: str | None
    good: bool
    pin: Pin | None
    database: str | None
    server: dict[str, Any] | None


class BackupSetDetail(BackupSet):
    """A backup set with all that is known of it."""

    source: dict[str, Any] | None
    copies: list[dict[str, Any]]
    schema_file: str | None
    log_section: str | None
    verification: dict[str, Any] | None


class BackupLocation(Open):
    """A place of sets, the newest first."""

    type: Literal["global", "task"]
    task_id: str | None
    relative_path: str
    backups: list[BackupSet]


class Summary(Open):
    """Of a list; `scan_time` in seconds."""

    total_locations: int
    total_backup_sets: int
    global_backups: int
    task_backups: int
    scan_time: float


class BackupList(Open):
    """All sets."""

    backup_locations: list[BackupLocation]
    summary: Summary


class PlannedSet(Open):
    """A set's fate; `goes_at`: when it would go if backups go on as they do, null where that cannot be foreseen."""

    timestamp: str
    created_at: str
    bytes: int
    keep: bool
    reasons: list[str]
    goes_at: str | None


class PlannedLocation(Open):
    """A location's sets, the newest first; `drastic`: more than half of them would go."""

    backup_path: str
    drastic: bool
    sets: list[PlannedSet]


class Retention(Open):
    """The policy, and what it says of each set now."""

    policy: dict[str, Any]
    has_policy: bool
    time_zone: str
    locations: list[PlannedLocation]
    bytes_freed: int


class Removed(Open):
    """What was deleted."""

    relative_path: str
    timestamp: str
    removed: list[str]


class Compared(Open):
    """What differs between two sets, by table."""

    backup_path: str
    a: str
    b: str
    tables: dict[str, dict[str, Any]]
    notes: list[str]
    duration: float


class Searched(Open):
    """Where a row lies: by table its versions, the oldest first."""

    backup_path: str
    found: bool
    sets_searched: int
    tables: dict[str, list[dict[str, Any]]]
    notes: list[str]
    duration: float


class Target(Open):
    """The database that a connection leads to; `system_identifier` null where the server does not tell."""

    connection: str
    database: str
    server_version: str
    system_identifier: str | None
    standby: bool


class Concern(Open):
    """Something that needs attention."""

    code: str
    params: dict[str, Any]
    message: str


class Storage(Open):
    """The backup root: what the sets in it take, what is free (null: nobody can say). Bytes."""

    backup_root: str
    bytes: int
    sets: int
    free: int | None


class Overview(Open):
    """What the page shows first."""

    running: list[Run]
    last: WholeRun | None
    recent: list[Run]
    storage: Storage
    databases: list[dict[str, Any]]
    newest_good: BackupSet | None
    schedule: str | None
    next_run: str | None
    paused: bool
    warnings: list[Concern]
    can_trigger: dict[str, bool]
    can_edit: bool
    can_use_uri: bool
    can_download: bool
    connections: dict[str, Any]
    tables: list[str]
    truncate_tables: list[str]
    server_time: str


class Health(Open):
    """`ok`, or what is wrong."""

    database: str
    storage: str


def answers(shape: Any, *errors: int, code: int = 200) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: its success, its own errors, and those that every route may give."""
    every = {400, 401, 403, 500, 503, *errors}
    return {
        code: {"model": Envelope[shape], "description": "Success"},
        **{error: {"model": ErrorEnvelope, "description": "Error"} for error in sorted(every)},
    }
