"""The section ``[pgvector_backup]`` of airflow.cfg."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.configuration import AIRFLOW_HOME, conf
from croniter import croniter  # type: ignore[import-untyped]

from pgvector_backup.engine.errors import InvalidParams
from pgvector_backup.engine.settings import DEFAULT_ROOT, Settings
from pgvector_backup.engine.tables import parse_names
from pgvector_backup.installation import temporary

SECTION: Final = "pgvector_backup"

_PRESETS: Final = ("@once", "@continuous", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


@dataclass(frozen=True)
class ConnectionRules:
    """Which databases a run's conf may name.

    :param default: Airflow connection id, used when conf names none
    :param allowed: globs of connection ids
    :param uri_allowed: whether conf may hold a ``postgresql://`` URI
    """

    default: str
    allowed: tuple[str, ...]
    uri_allowed: bool

    def admits(self, connection_id: str) -> bool:
        """Whether conf may name this connection. The default needs no glob."""
        return re.fullmatch(self.id_pattern, connection_id) is not None

    @property
    def id_pattern(self) -> str:
        """The globs as one regular expression, of the kind that JSON schema knows."""
        # fnmatch.translate writes Python's own dialect, which a browser does not read.
        globs = (re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in self.allowed)
        return f"^(?:{'|'.join([re.escape(self.default), *globs, temporary.PATTERN])})$"

    @property
    def pattern(self) -> str:
        """What a conf's ``db_connection`` must match, so that the trigger itself can refuse it."""
        return rf"{self.id_pattern}|^postgres(?:ql)?://\S+$" if self.uri_allowed else self.id_pattern


def settings(*, backup_root: str | None = None, tables: str | None = None) -> Settings:
    """Read how this installation backs up.

    :param backup_root: in place of the configured one
    :param tables: in place of the configured list; what it leaves out is not emptied either
    :raises InvalidParams: naming the key whose value cannot be used
    """
    root = backup_root or _text("backup_root", "") or os.path.join(AIRFLOW_HOME, DEFAULT_ROOT)
    names = parse_names(tables or _text("tables", "langchain_pg_collection,langchain_pg_embedding"))
    emptied = _text("truncate_tables", "langchain_pg_embedding")
    # Empty means that none may be emptied. What nobody wrote down is no contradiction to the tables listed.
    may_be_emptied = parse_names(emptied) if emptied.strip() else ()
    if tables or not conf.has_option(SECTION, "truncate_tables"):
        may_be_emptied = tuple(name for name in may_be_emptied if name in names)
    return Settings(
        backup_root=root,
        backup_directory=_text("backup_directory", "vector_bak"),
        tables=names,
        truncate_tables=may_be_emptied,
        timestamp_format=_text("timestamp_format", "%Y%m%d_%H%M%S"),
        jobs=_whole_number("jobs", 2),
        progress_rows=_whole_number("progress_rows", 50_000),
        max_mb_per_second=_number("max_mb_per_second", 0) or None,
        lock_timeout=_number("lock_timeout", 10),
    )


def connection_rules() -> ConnectionRules:
    """Read which databases conf may name."""
    return ConnectionRules(
        default=_text("connection_id", "pgvector_default"),
        allowed=tuple(glob.strip() for glob in _text("allowed_connections", "pgvector*").split(",") if glob.strip()),
        uri_allowed=conf.getboolean(SECTION, "allow_connection_uri", fallback=False),
    )


def schedule() -> str | None:
    """When the DAG runs by itself: a cron expression or preset; None for never.

    :raises InvalidParams: for what Airflow would not take, because it would not say where that came from
    """
    text = _text("schedule", "@daily").strip()
    if text.lower() in ("", "none"):
        return None
    if text not in _PRESETS and not croniter.is_valid(text):
        raise InvalidParams(
            f"[{SECTION}] schedule: neither a cron expression nor one of {', '.join(_PRESETS)}, none: {text!r}"
        )
    return text


def retries() -> int:
    """How often a task is tried again after a failure that a retry may cure."""
    return _whole_number("retries", 1)


def retry_delay() -> timedelta:
    """How long before it is tried again."""
    return timedelta(seconds=_number("retry_delay", 10))


def now() -> datetime:
    """The time in ``[core] default_timezone``, which names of sets are in."""
    return datetime.now(_timezone(conf.get("core", "default_timezone", fallback="utc")))


def _timezone(name: str) -> tzinfo:
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


def _text(key: str, default: str) -> str:
    # "%" in a value, as in timestamp_format, must not be taken for an interpolation.
    value = conf.get(SECTION, key, fallback=default, raw=True) if conf.has_option(SECTION, key) else default
    return str(value).replace("%%", "%")


def _number(key: str, default: float) -> float:
    text = _text(key, str(default))
    try:
        number = float(text)
    except ValueError:
        raise InvalidParams(f"[{SECTION}] {key}: not a number: {text!r}") from None
    if not math.isfinite(number):
        raise InvalidParams(f"[{SECTION}] {key}: not a finite number: {text!r}")
    return number


def _whole_number(key: str, default: int) -> int:
    number = _number(key, default)
    if not number.is_integer():
        raise InvalidParams(f"[{SECTION}] {key}: not a whole number: {_text(key, str(default))!r}")
    return int(number)
