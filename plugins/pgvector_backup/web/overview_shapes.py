"""What the overview tells, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pgvector_backup.web.run_shapes import Run, WholeRun
from pgvector_backup.web.set_shapes import BackupSet
from pgvector_backup.web.shapes import Open


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
    copy_roots: list[str]
    server_time: str


class Health(Open):
    """`ok`, or what is wrong."""

    database: str
    storage: str
