"""How this installation backs up: what does not change from request to request."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.table_name import TableName, parse_names

SECTION: Final = "pgvector_backup"
"""Of airflow.cfg; an environment variable of it is ``AIRFLOW__PGVECTOR_BACKUP__KEY``."""

DEFAULT_ROOT: Final = "data_pipeline/training_data"
"""Below AIRFLOW_HOME."""


@dataclass(frozen=True)
class Settings:
    """The section ``[pgvector_backup]`` of airflow.cfg, read and checked; README tells what each one means.

    :param backup_root: where task directories live: a path, or an fsspec URL
    :param max_mb_per_second: 10**6 bytes a second read from the server, all connections together; None: no limit
    :param lock_timeout: seconds to wait for another session's lock
    :param restore_memory_mb: mebibytes that an index build of a restore may take on the server
    :param drill_timeout: seconds that a restore drill may take; 0: an hour, and a second for each mebibyte of rows
    :param drill_disk_mb: mebibytes of disk that it may take; 0: 1,024, and five times the rows
    :param drill_memory_mb: mebibytes that each process of its embedded server may map beside an index build
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
    drill_timeout: float = 0.0
    drill_disk_mb: int = 0
    drill_memory_mb: int = 4096

    def __post_init__(self) -> None:
        for name in ("jobs", "progress_rows", "lock_timeout", "restore_memory_mb", "drill_memory_mb"):
            if getattr(self, name) <= 0:
                raise InvalidParams(f"{name}: must be more than 0, is {getattr(self, name)}")
        for name in ("drill_timeout", "drill_disk_mb"):
            if getattr(self, name) < 0:
                raise InvalidParams(f"{name}: must not be less than 0, is {getattr(self, name)}")
        if self.max_mb_per_second is not None and self.max_mb_per_second <= 0:
            raise InvalidParams(f"max_mb_per_second: must be more than 0, is {self.max_mb_per_second}")
        for table in self.truncate_tables:
            if table not in self.tables:
                raise InvalidParams(
                    f"truncate_tables names {table.label}, which `tables` does not: "
                    "only what is backed up may be emptied"
                )


Given = Callable[[str], "str | None"]
"""The text that a key of `SECTION` was given, wherever it stands; None where nobody wrote it down."""


def read_settings(given: Given, *, home: str, backup_root: str | None = None, tables: str | None = None) -> Settings:
    """Read how an installation backs up.

    :param home: AIRFLOW_HOME, below which sets are kept unless ``backup_root`` says otherwise
    :param backup_root: in place of the configured one
    :param tables: in place of the configured list; what it leaves out is not emptied either
    :raises InvalidParams: naming the key whose value cannot be used
    """

    def text(key: str, default: str) -> str:
        value = given(key)
        return default if value is None else value

    root = backup_root or text("backup_root", "") or os.path.join(home, DEFAULT_ROOT)
    names = parse_names(tables or text("tables", "langchain_pg_collection,langchain_pg_embedding"))
    emptied = text("truncate_tables", "langchain_pg_embedding")
    # Empty means that none may be emptied. What nobody wrote down is no contradiction to the tables listed.
    may_be_emptied = parse_names(emptied) if emptied.strip() else ()
    if tables or given("truncate_tables") is None:
        may_be_emptied = tuple(name for name in may_be_emptied if name in names)
    return Settings(
        backup_root=root,
        backup_directory=text("backup_directory", "vector_bak"),
        tables=names,
        truncate_tables=may_be_emptied,
        timestamp_format=text("timestamp_format", "%Y%m%d_%H%M%S"),
        jobs=whole_number(given, "jobs", 2),
        progress_rows=whole_number(given, "progress_rows", 50_000),
        max_mb_per_second=number(given, "max_mb_per_second", 0) or None,
        lock_timeout=number(given, "lock_timeout", 10),
        restore_memory_mb=whole_number(given, "restore_memory_mb", 1024),
        drill_timeout=number(given, "drill_timeout", 0),
        drill_disk_mb=whole_number(given, "drill_disk_mb", 0),
        drill_memory_mb=whole_number(given, "drill_memory_mb", 4096),
    )


def number(given: Given, key: str, default: float) -> float:
    """A key's value as a finite number.

    :raises InvalidParams: when it is none
    """
    text = given(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise InvalidParams(f"[{SECTION}] {key}: not a number: {text!r}") from None
    if not math.isfinite(value):
        raise InvalidParams(f"[{SECTION}] {key}: not a finite number: {text!r}")
    return value


def whole_number(given: Given, key: str, default: int) -> int:
    """A key's value as a whole number.

    :raises InvalidParams: when it is none
    """
    value = float(number(given, key, default))
    if not value.is_integer():
        raise InvalidParams(f"[{SECTION}] {key}: not a whole number: {given(key)!r}")
    return int(value)


def time_zone(name: str) -> tzinfo:
    """The zone that names of sets are in: ``utc``, ``system``, or a name of the IANA database.

    :raises InvalidParams: when there is no such zone
    """
    if name.lower() == "utc":
        return timezone.utc
    if name.lower() == "system":
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        return zone
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise InvalidParams(f"[core] default_timezone: no such time zone: {name!r}") from None
