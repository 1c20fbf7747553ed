"""What answers tell of sets, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pgvector_backup.web.shapes import Open


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
    saved_before: str | None
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


class Copies(Open):
    """How the sets of a location stand at each other root, by id."""

    backup_path: str
    roots: list[str]
    sets: dict[str, list[dict[str, Any]]]


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
