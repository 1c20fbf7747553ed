"""How this installation backs up: what does not change from request to request.

Each key of the section ``[pgvector_backup]`` is told once, here: its default, its kind, its meaning. What reads
airflow.cfg, the command line's flags, Airflow's own reference and the page `docs/configuration.md` derive from it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone, tzinfo
from functools import partial
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.table_name import TableName, parse_names
from pgvector_backup.engine.store import modes
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions
from pgvector_backup.engine.store.urls import is_object_url, kind_of

SECTION: Final = "pgvector_backup"
"""Of airflow.cfg; an environment variable of it is ``AIRFLOW__PGVECTOR_BACKUP__KEY``."""

DEFAULT_ROOT: Final = "data_pipeline/training_data"
"""Below AIRFLOW_HOME."""

Given = Callable[[str], "str | None"]
"""The text that a key of `SECTION` was given, wherever it stands; None where nobody wrote it down."""


class Kind(NamedTuple):
    """What a key's text may be.

    :param name: as Airflow's own reference calls it
    :param parse: makes the value; it raises `InvalidParams` with what is wrong and the text, without the key's name
    """

    name: str
    parse: Callable[[str], Any]


class Setting(NamedTuple):
    """One key as users know it; ``default`` as it would stand in airflow.cfg."""

    key: str
    kind: str
    default: str
    meaning: str


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InvalidParams(f"not a number: {text!r}") from None
    if not math.isfinite(value):
        raise InvalidParams(f"not a finite number: {text!r}")
    return value


def _whole_number(text: str) -> int:
    value = _number(text)
    if not value.is_integer():
        raise InvalidParams(f"not a whole number: {text!r}")
    return int(value)


def _count(text: str) -> int:
    value = _whole_number(text)
    if value < 0:
        raise InvalidParams(f"less than 0: {text!r}")
    return value


def _boolean(text: str) -> bool:
    word = text.split("#", maxsplit=1)[0].strip().lower()
    if word not in ("t", "true", "1", "f", "false", "0"):
        raise InvalidParams(f"neither True nor False: {text!r}")
    return word in ("t", "true", "1")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


TEXT: Final = Kind("string", str)
BOOLEAN: Final = Kind("boolean", _boolean)
NUMBER: Final = Kind("float", _number)
LIMIT: Final = Kind("float", lambda text: _number(text) or None)
"""A number, 0 for none."""
WHOLE_NUMBER: Final = Kind("integer", _whole_number)
COUNT: Final = Kind("string", lambda text: _count(text) if text.strip() else 0)
"""A whole number from 0 on; empty for none."""
LIST: Final = Kind("string", _list)
PLACES: Final = Kind("string", lambda text: tuple(part.strip() for part in text.split(",")) if text.strip() else ())
"""A list in which a place may be empty."""
NAMES: Final = Kind("string", parse_names)
NAMES_OR_NONE: Final = Kind("string", lambda text: parse_names(text) if text.strip() else ())


def one_of(*choices: str) -> Kind:
    """A text that is one of a few."""

    def parse(text: str) -> str:
        if text.strip() not in choices:
            raise InvalidParams(f"not one of {', '.join(choices)}: {text!r}")
        return text.strip()

    return Kind("string", parse)


def setting(default: str, kind: Kind, meaning: str, *, required: bool = False) -> Any:
    """A field of a class of settings.

    :param default: as it would stand in airflow.cfg
    :param meaning: for users, one sentence without its full stop
    :param required: the class itself has no default, because only its reader can make one
    """
    told = {"default": default, "kind": kind, "meaning": meaning}
    return field(metadata=told) if required else field(default=kind.parse(default), metadata=told)


class DefaultRoot(str):
    """The backup root of an installation that names none."""

    __slots__ = ()


def _for_copies(name: str) -> str:
    return f"what {name} says, for the sets at copy_roots; with all of copy_keep_* empty: the same as here"


@dataclass(frozen=True)
class Settings:
    """What the engine has to know, read and checked; each field's metadata tells users what it means."""

    backup_root: str | os.PathLike[str] = setting(
        "",
        TEXT,
        f"path or URL where task directories live; empty: {DEFAULT_ROOT} below AIRFLOW_HOME",
        required=True,
    )
    backup_directory: str = setting("vector_bak", TEXT, "directory made below a task directory, or below the root")
    tables: tuple[TableName, ...] = setting(
        "langchain_pg_collection,langchain_pg_embedding",
        NAMES,
        "[schema.]name list of the tables to back up, comma-separated; odd names in double quotes; taken letter for "
        "letter",
    )
    truncate_tables: tuple[TableName, ...] = setting(
        "langchain_pg_embedding",
        NAMES_OR_NONE,
        "[schema.]name list, comma-separated: those of them that a truncate may empty",
    )
    timestamp_format: str = setting(
        "%Y%m%d_%H%M%S",
        TEXT,
        "of file names, as strftime has it, in [core] default_timezone; must tell seconds apart",
    )
    jobs: int = setting("2", WHOLE_NUMBER, "connections that read at once")
    progress_rows: int = setting("50000", WHOLE_NUMBER, "rows between two lines of progress in the log")
    max_mb_per_second: float | None = setting(
        "0", LIMIT, "limit on what is read from the server, all connections together, in 10⁶ bytes a second; 0 for none"
    )
    lock_timeout: float = setting("10", NUMBER, "seconds to wait for another session's lock")
    include_children: bool = setting(
        "False", BOOLEAN, "whether a table is backed up together with the rows of the tables that inherit from it"
    )
    create_root: bool = setting(
        "False",
        BOOLEAN,
        "whether a root of sets or copies that is not there is made; it may be a volume that is not mounted, so "
        "otherwise that is an error; the default root is made anyhow",
    )
    back_up_views: bool = setting(
        "False",
        BOOLEAN,
        "whether tables may name views and foreign tables: what their owners wrote runs with the rights of the "
        "backup's role",
    )
    restore_memory_mb: int = setting(
        "1024", WHOLE_NUMBER, "mebibytes that an index build of a restore may take on the server"
    )
    drill_timeout: float = setting(
        "0", NUMBER, "seconds that a restore drill may take; 0: an hour, and a second for each mebibyte of rows"
    )
    drill_disk_mb: int = setting(
        "0", WHOLE_NUMBER, "mebibytes of disk that a restore drill may take; 0: 1,024, and five times the rows"
    )
    drill_memory_mb: int = setting(
        "4096", WHOLE_NUMBER, "mebibytes that each process of a drill's embedded server may map beside an index build"
    )
    storage_connection: str = setting(
        "",
        TEXT,
        "Airflow connection with the credentials of a backup_root in an object store; empty: what the environment and "
        "the machine's role give",
    )
    storage_encryption: str = setting(
        "",
        one_of("", "AES256", "aws:kms", "aws:kms:dsse"),
        "server-side encryption asked of S3: AES256, aws:kms or aws:kms:dsse; empty: the bucket's own",
    )
    storage_encryption_key: str = setting("", TEXT, "id of the key of aws:kms; empty: the account's own")
    storage_class: str = setting(
        "", TEXT, "storage class of data files in an object store, in the store's words; empty: the bucket's own"
    )
    object_lock: str = setting(
        "",
        one_of("", "governance", "compliance"),
        "hold by which S3 keeps each object of a set from being removed until its retention ends: governance or "
        "compliance; needs a bucket with Object Lock and a rule of keep_*; empty: none",
    )
    copy_object_lock: str = setting(
        "", one_of("", "governance", "compliance"), "the same for the sets at copy_roots, by copy_keep_*"
    )
    remove_versions: bool = setting(
        "False", BOOLEAN, "whether what is removed from a versioned bucket of S3 goes with all its versions"
    )
    copy_roots: tuple[str | os.PathLike[str], ...] = setting(
        "", LIST, "further roots, paths or URLs, that each good set is copied to, comma-separated"
    )
    copy_connections: tuple[str, ...] = setting(
        "",
        PLACES,
        "Airflow connections with the credentials of copy_roots, comma-separated, in their order; where one is left "
        "out: storage_connection for a store of the same kind as backup_root, else what the environment gives",
    )
    truncate_needs_copies: bool = setting(
        "True", BOOLEAN, "whether tables are emptied only once the set lies whole in each of copy_roots"
    )
    keep_last: int = setting("", COUNT, "retention: the newest so many good sets of a database and location stay")
    keep_within: str = setting("", TEXT, "retention: good sets stay for so long, e.g. 14d, 6w, 3m, 1y")
    keep_hourly: int = setting("", COUNT, "retention: the newest good set of each of so many hours stays")
    keep_daily: int = setting("", COUNT, "retention: the same by days")
    keep_weekly: int = setting("", COUNT, "retention: the same by weeks")
    keep_monthly: int = setting("", COUNT, "retention: the same by months")
    keep_yearly: int = setting(
        "", COUNT, "retention: the same by years; with all of these empty nothing is ever removed"
    )
    keep_at_least: int = setting(
        "1", WHOLE_NUMBER, "good sets of a database and location that stay whatever else is said"
    )
    mode: str = setting(
        "full",
        one_of("full", "incremental"),
        "of a backup whose conf does not say: full, or incremental: what changed since the last set, where that can be "
        "proven",
    )
    backup_before_restore: bool = setting(
        "False",
        BOOLEAN,
        "of a restore whose conf does not say: whether one that replaces or overwrites rows backs up the tables first",
    )
    full_every: int = setting("7", WHOLE_NUMBER, "increments on one full set, at most; the next one is full again")
    copy_keep_last: int = setting("", COUNT, _for_copies("keep_last"))
    copy_keep_within: str = setting("", TEXT, _for_copies("keep_within"))
    copy_keep_hourly: int = setting("", COUNT, _for_copies("keep_hourly"))
    copy_keep_daily: int = setting("", COUNT, _for_copies("keep_daily"))
    copy_keep_weekly: int = setting("", COUNT, _for_copies("keep_weekly"))
    copy_keep_monthly: int = setting("", COUNT, _for_copies("keep_monthly"))
    copy_keep_yearly: int = setting("", COUNT, _for_copies("keep_yearly"))
    copy_keep_at_least: int = setting("1", WHOLE_NUMBER, "what keep_at_least says, where a rule of copy_keep_* is set")
    readable_by_others: bool = setting(
        "False",
        BOOLEAN,
        "whether what is written to a disk may be read by every account of the machine, not by its owner and group "
        "alone",
    )

    @property
    def may_make_root(self) -> bool:
        """Whether a backup makes a root that is not there."""
        return self.create_root or isinstance(self.backup_root, DefaultRoot)

    def __post_init__(self) -> None:
        for name in ("jobs", "progress_rows", "lock_timeout", "restore_memory_mb", "drill_memory_mb", "full_every"):
            if getattr(self, name) <= 0:
                raise InvalidParams(f"{name}: must be more than 0, is {getattr(self, name)}")
        for name in ("drill_timeout", "drill_disk_mb"):
            if getattr(self, name) < 0:
                raise InvalidParams(f"{name}: must not be less than 0, is {getattr(self, name)}")
        modes.readable_by_others(self.readable_by_others)
        if self.max_mb_per_second is not None and self.max_mb_per_second <= 0:
            raise InvalidParams(f"max_mb_per_second: must be more than 0, is {self.max_mb_per_second}")
        for table in self.truncate_tables:
            if table not in self.tables:
                raise InvalidParams(
                    f"truncate_tables names {table.label}, which `tables` does not: "
                    "only what is backed up may be emptied"
                )


@dataclass(frozen=True)
class AirflowSettings:
    """What only the floor that knows Airflow asks for: connections, schedules, retries."""

    connection_id: str = setting("pgvector_default", TEXT, "Airflow connection backed up when conf names none")
    restore_connection_id: str = setting(
        "",
        TEXT,
        "Airflow connection of a restore whose conf names none; empty: pgvector_restore where there is such a "
        "connection, otherwise connection_id",
    )
    allowed_connections: tuple[str, ...] = setting(
        "pgvector*", LIST, "comma-separated globs of connection ids that conf may name"
    )
    allow_connection_uri: bool = setting(
        "False", BOOLEAN, "whether conf may hold a postgresql:// URI, which Airflow stores in clear"
    )
    allowed_uri_hosts: tuple[str, ...] = setting(
        "",
        LIST,
        "comma-separated globs of the hosts that a postgresql:// URI may name, a socket by its directory; empty: "
        "whatever host, and a socket of the worker only with allow_connection_uri",
    )
    download_needs: str = setting(
        "trigger",
        one_of("read", "trigger", "edit"),
        "what a user has to be allowed to do with the DAG pgvector_backup to download a set's files: read, trigger or "
        "edit",
    )
    schedule: str = setting(
        "@daily",
        TEXT,
        "of the DAG pgvector_backup: a preset or a cron expression, in [core] default_timezone; None for never",
    )
    verify_after: str = setting(
        "files",
        one_of("none", "files", "rows", "drill"),
        "depth of the verification that follows each backup of the DAG pgvector_backup: none, files, rows or drill",
    )
    verify_schedule: str = setting(
        "0 4 * * 0",
        TEXT,
        "of the DAG pgvector_verify, beside the runs that follow a backup; the default is Sundays at 04:00, when the "
        "backup of midnight is done; None for never",
    )
    verify_depth: str = setting(
        "rows", one_of("files", "rows", "drill"), "of a verify whose conf does not say: files, rows or drill"
    )
    metrics_token: str = setting("", TEXT, "bearer token for GET /metrics alone; empty: an Airflow user is needed")
    retries: int = setting("1", WHOLE_NUMBER, "how often a task is tried again, if a retry can help")
    retry_delay: float = setting("10", NUMBER, "seconds before that")
    on_failure: str = setting(
        "", TEXT, "whom to call when backups, restores or verifies begin to fail: notifiers, see docs/operators.md"
    )
    on_recovery: str = setting("", TEXT, "whom to call when they succeed again")
    execution_timeout: float = setting(
        "0", NUMBER, "seconds after which Airflow ends a task of these DAGs that is still at work; 0 for never"
    )


def reference() -> Iterator[Setting]:
    """Every key, as users know it."""
    for group in (Settings, AirflowSettings):
        for one in fields(group):
            told = one.metadata
            yield Setting(one.name, told["kind"].name, told["default"], told["meaning"])


def value_of(group: type[Any], key: str, given: Given) -> Any:
    """One key's value: what it was given, else its default.

    :param group: the class that tells of it
    :raises InvalidParams: naming the key and the text that cannot be used
    """
    (told,) = (one.metadata for one in fields(group) if one.name == key)
    text = given(key)
    try:
        return told["kind"].parse(told["default"] if text is None else text)
    except InvalidParams as fault:
        raise InvalidParams(f"[{SECTION}] {key}: {fault.english}") from None


def read_settings(
    given: Given,
    *,
    home: str,
    backup_root: str | None = None,
    tables: str | None = None,
    copy_roots: str | None = None,
    storage: Callable[[str], StorageOptions] | None = None,
) -> Settings:
    """Read how an installation backs up.

    :param home: AIRFLOW_HOME, below which sets are kept unless ``backup_root`` says otherwise
    :param backup_root: in place of the configured one
    :param tables: in place of the configured list; what it leaves out is not emptied either
    :param copy_roots: in place of the configured list
    :param storage: what the connection of that id says of an object store; asked when the store is needed
    :raises InvalidParams: naming the key whose value cannot be used
    """

    def chosen(key: str) -> str | None:
        overridden = {"backup_root": backup_root, "tables": tables, "copy_roots": copy_roots}.get(key)
        return overridden or given(key)

    values = {one.name: value_of(Settings, one.name, chosen) for one in fields(Settings)}
    root = values["backup_root"] or DefaultRoot(os.path.join(home, DEFAULT_ROOT))
    values["backup_root"] = root
    own, named, copies = values["storage_connection"].strip(), values["copy_connections"], values["copy_roots"]
    if len(named) > len(copies):
        raise InvalidParams(f"copy_connections: {len(named)} connections for {len(copies)} copy_roots")
    named = (*named, *[""] * (len(copies) - len(named)))
    values["copy_roots"] = tuple(
        _root(copy, connection_id or (own if kind_of(copy) == kind_of(root) else ""), values, storage)
        for copy, connection_id in zip(copies, named, strict=True)
    )
    values["backup_root"] = _root(root, own, values, storage)
    # What nobody wrote down is no contradiction to the tables listed.
    if tables or given("truncate_tables") is None:
        values["truncate_tables"] = tuple(name for name in values["truncate_tables"] if name in values["tables"])
    return Settings(**values)


def _root(
    root: str, connection_id: str, values: Mapping[str, Any], storage: Callable[[str], StorageOptions] | None
) -> str | RemoteRoot:
    """A root with all that has to be known to reach it."""
    if not is_object_url(root):
        return root
    # Each kind of store has classes and encryption of its own.
    like = values if kind_of(root) == kind_of(values["backup_root"]) else {}
    return RemoteRoot(
        root,
        connection_id or None,
        options=partial(storage, connection_id) if storage and connection_id else StorageOptions,
        encryption=like.get("storage_encryption") or None,
        encryption_key=like.get("storage_encryption_key") or None,
        storage_class=like.get("storage_class") or None,
        remove_versions=bool(values.get("remove_versions")) or None,
    )


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
