"""The section ``[pgvector_backup]`` of airflow.cfg."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, get_args

from airflow.configuration import AIRFLOW_HOME, conf

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.requests import Depth
from pgvector_backup.engine.contract.settings import SECTION, Settings, number, read_settings, time_zone, whole_number
from pgvector_backup.installation import temporary

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
    return read_settings(_given, home=AIRFLOW_HOME, backup_root=backup_root, tables=tables)


def connection_rules() -> ConnectionRules:
    """Read which databases conf may name."""
    return ConnectionRules(
        default=_text("connection_id", "pgvector_default"),
        allowed=tuple(glob.strip() for glob in _text("allowed_connections", "pgvector*").split(",") if glob.strip()),
        uri_allowed=conf.getboolean(SECTION, "allow_connection_uri", fallback=False),
    )


def schedule(key: str = "schedule", default: str = "@daily") -> str | None:
    """When a DAG runs by itself: a cron expression or preset; None for never.

    :param key: ``schedule`` of the backup, ``verify_schedule`` of the verify
    :raises InvalidParams: for what Airflow would not take, because it would not say where that came from
    """
    text = _text(key, default).strip()
    if text.lower() in ("", "none"):
        return None
    if text not in _PRESETS and not _is_cron(text):
        raise InvalidParams(
            f"[{SECTION}] {key}: neither a cron expression nor one of {', '.join(_PRESETS)}, none: {text!r}"
        )
    return text


def verify_depth() -> str:
    """How deep a verify looks that does not say so itself.

    :raises InvalidParams: when it is no depth
    """
    text = _text("verify_depth", "rows").strip()
    if text not in get_args(Depth):
        raise InvalidParams(f"[{SECTION}] verify_depth: not one of {', '.join(get_args(Depth))}: {text!r}")
    return text


def retries() -> int:
    """How often a task is tried again after a failure that a retry may cure."""
    return whole_number(_given, "retries", 1)


def retry_delay() -> timedelta:
    """How long before it is tried again."""
    return timedelta(seconds=number(_given, "retry_delay", 10))


def now() -> datetime:
    """The time in ``[core] default_timezone``, which names of sets are in."""
    return datetime.now(time_zone(conf.get("core", "default_timezone", fallback="utc")))


def _is_cron(text: str) -> bool:
    from croniter import croniter  # type: ignore[import-untyped]  # noqa: PLC0415 (every task's process comes by here)

    return bool(croniter.is_valid(text))


def _given(key: str) -> str | None:
    # "%" in a value, as in timestamp_format, must not be taken for an interpolation.
    value = conf.get(SECTION, key, raw=True) if conf.has_option(SECTION, key) else None
    return None if value is None else str(value).replace("%%", "%")


def _text(key: str, default: str) -> str:
    value = _given(key)
    return default if value is None else value
