"""How this installation backs up: what does not change from request to request."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from pgvector_backup.engine.errors import InvalidParams
from pgvector_backup.engine.tables import TableName, parse_names

DEFAULT_ROOT: Final = "data_pipeline/training_data"
"""Below AIRFLOW_HOME."""


@dataclass(frozen=True)
class Settings:
    """The section ``[pgvector_backup]`` of airflow.cfg, read and checked; README tells what each one means.

    :param backup_root: where task directories live: a path, or an fsspec URL
    :param max_mb_per_second: 10**6 bytes a second read from the server, all connections together; None: no limit
    :param lock_timeout: seconds to wait for another session's lock
    :param restore_memory_mb: mebibytes that an index build of a restore may take on the server
    """

    backup_root: str | os.PathLike[str]
    backup_directory: str = "vector_bak"
    tables: tuple[TableName, ...] = parse_names("langchain_pg_collection,langchain_pg_embedding")
    truncate_tables: tuple[TableName, ...] = parse_names("langchain_pg_embedding")
    timestamp_format: str = "%Y%m%d_%H%M%S"
    jobs: int = 2
    progress_rows: int = 50_000
    max_mb_per_second: float | None = None
    lock_timeout: float = 10.0
    restore_memory_mb: int = 1024

    def __post_init__(self) -> None:
        for name in ("jobs", "progress_rows", "lock_timeout", "restore_memory_mb"):
            if getattr(self, name) <= 0:
                raise InvalidParams(f"{name}: must be more than 0, is {getattr(self, name)}")
        if self.max_mb_per_second is not None and self.max_mb_per_second <= 0:
            raise InvalidParams(f"max_mb_per_second: must be more than 0, is {self.max_mb_per_second}")
        for table in self.truncate_tables:
            if table not in self.tables:
                raise InvalidParams(
                    f"truncate_tables names {table.label}, which `tables` does not: "
                    "only what is backed up may be emptied"
                )
