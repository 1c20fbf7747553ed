"""The section ``[pgvector_backup]`` of airflow.cfg."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from airflow.configuration import AIRFLOW_HOME, conf

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.settings import (
    SECTION,
    AirflowSettings,
    Settings,
    read_settings,
    reference,
    time_zone,
    value_of,
)
from pgvector_backup.installation import storage, temporary

_GRACE: Final = timedelta(hours=2)
"""How long after its time a backup may be missing before somebody is called."""

NEVER: Final = "none"
"""The depth of no verification."""

_PRESETS: Final = ("@once", "@continuous", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


@dataclass(frozen=True)
class ConnectionRules:
    """Which databases a run's conf may name.

    :param default: Airflow connection id, used when conf names none
    :param allowed: globs of connection ids
    :param uri_allowed: whether conf may hold a ``postgresql://`` URI
    :param uri_hosts: globs of the hosts that a URI may name; none: whatever host
    """

    default: str
    allowed: tuple[str, ...]
    uri_allowed: bool
    uri_hosts: tuple[str, ...] = ()

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


def settings(*, backup_root: str | None = None, tables: str | None = None, copy_roots: str | None = None) -> Settings:
    """Read how this installation backs up.

    :param backup_root: in place of the configured one
    :param tables: in place of the configured list; what it leaves out is not emptied either
    :param copy_roots: in place of the configured list
    :raises InvalidParams: naming the key whose value cannot be used
    """
    return read_settings(
        _given,
        home=AIRFLOW_HOME,
        backup_root=backup_root,
        tables=tables,
        copy_roots=copy_roots,
        storage=storage.options_of,
    )


def copies_wanted() -> bool:
    """Whether sets are copied to further roots."""
    return bool(value_of(Settings, "copy_roots", _given))


def truncate_needs_copies() -> bool:
    """Whether tables are emptied only once the copies are there."""
    return bool(value_of(Settings, "truncate_needs_copies", _given))


def backup_before_restore() -> bool:
    """Whether a restore that replaces rows backs up the tables first, unless its conf says otherwise."""
    return bool(value_of(Settings, "backup_before_restore", _given))


def connection_rules() -> ConnectionRules:
    """Read which databases conf may name."""
    return ConnectionRules(
        default=_value("connection_id"),
        allowed=_value("allowed_connections"),
        uri_allowed=_value("allow_connection_uri"),
        uri_hosts=_value("allowed_uri_hosts"),
    )


def download_needs() -> str:
    """What a user has to be allowed to do with the backup's DAG to download a set's files.

    :raises InvalidParams: when it is none of the three
    """
    return str(_value("download_needs"))


def notifiers(key: str) -> str:
    """Whom to call, as written down.

    :param key: ``on_failure`` or ``on_recovery``
    """
    return str(_value(key))


def notified() -> bool:
    """Whether anybody is to be called at all."""
    return bool(notifiers("on_failure").strip() or notifiers("on_recovery").strip())


def restore_connection() -> str | None:
    """The connection id of a restore that names none itself; None where nobody has set one."""
    return str(_value("restore_connection_id")) or None


def schedule(key: str = "schedule") -> str | None:
    """When a DAG runs by itself: a cron expression or preset; None for never.

    :param key: ``schedule`` of the backup, ``verify_schedule`` of the verify
    :raises InvalidParams: for what Airflow would not take, because it would not say where that came from
    """
    text = str(_value(key)).strip()
    if text.lower() in ("", "none"):
        return None
    if text not in _PRESETS and not _is_cron(text):
        raise InvalidParams(
            f"[{SECTION}] {key}: neither a cron expression nor one of {', '.join(_PRESETS)}, none: {text!r}"
        )
    return text


def last_due(moment: datetime) -> datetime | None:
    """When the last backup should have begun whose time to be done has passed; None where none is on a schedule.

    :param moment: now, in ``[core] default_timezone``, as schedules are
    """
    from croniter import croniter  # type: ignore[import-untyped]  # noqa: PLC0415 (every task's process comes by here)

    text = schedule()
    if text is None or not croniter.is_valid(text):
        return None
    ticks = croniter(text, moment)
    later: datetime = ticks.get_prev(datetime)
    earlier: datetime = ticks.get_prev(datetime)
    return later if moment - later > min(later - earlier, _GRACE) else earlier


def verify_depth() -> str:
    """How deep a verify looks that does not say so itself.

    :raises InvalidParams: when it is no depth
    """
    return str(_value("verify_depth"))


def verify_after() -> str:
    """How deep each new set is looked at once it is made; `NEVER`: not at all.

    :raises InvalidParams: when it is no depth
    """
    return str(_value("verify_after"))


def retries() -> int:
    """How often a task is tried again after a failure that a retry may cure."""
    return int(_value("retries"))


def retry_delay() -> timedelta:
    """How long before it is tried again."""
    return timedelta(seconds=_value("retry_delay"))


def metrics_token() -> str:
    """The bearer token that opens the metrics, and nothing else; empty for none."""
    return str(_value("metrics_token")).strip()


def execution_timeout() -> timedelta | None:
    """How long a task may be at work; None: for ever."""
    return timedelta(seconds=_value("execution_timeout")) or None


def now() -> datetime:
    """The time in ``[core] default_timezone``, which names of sets are in."""
    return datetime.now(time_zone(conf.get("core", "default_timezone", fallback="utc")))


def _is_cron(text: str) -> bool:
    from croniter import croniter  # noqa: PLC0415 (every task's process comes by here)

    return bool(croniter.is_valid(text))


_DEFAULTS: Final = {one.key: one.default for one in reference()}


def _given(key: str) -> str | None:
    # "%" in a value, as in timestamp_format, must not be taken for an interpolation.
    value = conf.get(SECTION, key, raw=True) if conf.has_option(SECTION, key) else None
    text = None if value is None else str(value).replace("%%", "%")
    # As an installed package, Airflow knows the defaults itself and gives them for what nobody wrote down.
    return None if text == _DEFAULTS.get(key) else text


def _value(key: str) -> Any:
    return value_of(AirflowSettings, key, _given)
