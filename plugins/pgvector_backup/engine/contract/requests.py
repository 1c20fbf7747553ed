"""What a caller may ask for: the accepted keys, told once for every entrance.

The DAGs' Params, HTTP and the command line all take their keys, schemas and words from `BACKUP_KEYS`, `RESTORE_KEYS`
and `VERIFY_KEYS`, and all of them end in a request of this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from pgvector_backup.engine.base.errors import InvalidParams, MissingParams
from pgvector_backup.engine.codec.compression import DEFAULT_LEVEL, NAMES, Compression, CompressionName
from pgvector_backup.engine.codec.format_names import FormatName
from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.contract.keys import Key, check_all
from pgvector_backup.engine.store.naming import LATEST, TASK_ID_LENGTH, TASK_ID_PATTERN, check_task_id

OnConflict = Literal["error", "skip", "update"]
Depth = Literal["files", "rows", "drill"]

_TASK_ID: Final = Key(
    name="task_id",
    types=("string", "null"),
    default=None,
    title="Task directory",
    description="Back up into this task's directory below the backup root. It must exist. "
    "Letters, digits and underscores. Empty: the backup root itself.",
    pattern=TASK_ID_PATTERN,
    max_length=TASK_ID_LENGTH,
)
_DB_CONNECTION: Final = Key(
    name="db_connection",
    types=("string", "null"),
    default=None,
    title="Database connection",
    description="Airflow connection id of the database. Empty: the configured default.",
    pattern=r"^\S+$",
    max_length=2048,
)

BACKUP_KEYS: Final[tuple[Key, ...]] = (
    _TASK_ID,
    _DB_CONNECTION,
    Key(
        name="truncate_vector_tables",
        types=("boolean",),
        default=False,
        title="Empty the vector tables afterwards",
        description="Once the backup is proven, empty the tables listed in `truncate_tables`. "
        "Refused when a row was written that the backup does not hold. Switches the backup on.",
    ),
    Key(
        name="backup_vector_tables",
        types=("boolean",),
        default=True,
        title="Back up",
        description="Off, with truncate off as well: nothing is done.",
    ),
    Key(
        name="file_format",
        types=("string",),
        default="csv",
        title="File format",
        description="`csv` loads anywhere; `binary` is PostgreSQL's own binary COPY format, exact and several times "
        "as fast both ways.",
        choices=tuple(FORMATS),
    ),
    Key(
        name="compression",
        types=("string",),
        default="none",
        title="Compression",
        description="`zstd` or `gzip`: ordinary files that `zstd -d` and `gzip -d` open.",
        choices=NAMES,
    ),
    Key(
        name="compression_level",
        types=("integer",),
        default=DEFAULT_LEVEL,
        title="Compression level",
        description="zstd: 1 to 19; gzip: 1 to 9. Random digits hardly get smaller with more effort.",
    ),
)


@dataclass(frozen=True)
class BackupRequest:
    """A request that has passed every check that needs no disk and no server."""

    task_id: str | None = None
    db_connection: str | None = None
    truncate_vector_tables: bool = False
    backup_vector_tables: bool = True
    file_format: FormatName = "csv"
    compression: CompressionName = "none"
    compression_level: int = DEFAULT_LEVEL

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> BackupRequest:
        """Check a conf, key by key.

        :param conf: the accepted keys, each optional
        :raises InvalidParams: for an unknown key, a wrong type, a malformed ``task_id``
        """
        check_all(BACKUP_KEYS, conf)
        request = cls(**conf)
        if request.task_id is not None:
            check_task_id(request.task_id)
        Compression(request.compression, request.compression_level)  # refuses a level out of range
        return request

    @property
    def backup_wanted(self) -> bool:
        """A truncate without a backup of the same run is never carried out."""
        return self.backup_vector_tables or self.truncate_vector_tables


_PLACE_KEYS: Final = (
    Key(
        name="backup_path",
        types=("string", "null"),
        default=None,
        title="Backup path",
        description="Directory of the set, relative to the backup root, as the list of sets gives it, e.g. "
        "`task_20250721_213627/vector_bak` or `vector_bak`.",
        max_length=2048,
    ),
    Key(
        name="task_id",
        types=("string", "null"),
        default=None,
        title="Task directory",
        description="In place of the path: the task whose directory holds the set.",
        pattern=TASK_ID_PATTERN,
        max_length=TASK_ID_LENGTH,
    ),
    Key(
        name="timestamp",
        types=("string", "null"),
        default=None,
        title="Timestamp",
        description="Which set, e.g. `20250721_234914`; `latest`: the newest that is whole.",
        pattern=r"^[A-Za-z0-9_-]+$",
        max_length=TASK_ID_LENGTH,
    ),
)

RESTORE_KEYS: Final[tuple[Key, ...]] = (
    *_PLACE_KEYS,
    Key(
        name="tables",
        types=("array", "null"),
        default=None,
        title="Tables",
        description="Only these tables of the set, named as in its manifest. Empty: all of them.",
    ),
    _DB_CONNECTION,
    Key(
        name="truncate_before_restore",
        types=("boolean",),
        default=False,
        title="Empty the tables first",
        description="The rows that are there now are replaced by those of the set.",
    ),
    Key(
        name="on_conflict",
        types=("string",),
        default="error",
        title="Rows with a key that is there already",
        description="`error`: nothing is restored. `skip`: the row that is there stays. `update`: it is overwritten.",
        choices=("error", "skip", "update"),
    ),
    Key(
        name="collections",
        types=("array", "null"),
        default=None,
        title="Collections",
        description="Only these collections, by name, with their embeddings. Empty: all of them.",
    ),
    Key(
        name="rename_collection",
        types=("object", "null"),
        default=None,
        title="Rename collections",
        description='`{"old name": "new name"}`: restored under the new name as a copy beside the original.',
    ),
    Key(
        name="schema",
        types=("string", "null"),
        default=None,
        title="Schema",
        description="Restore into this schema in place of the one that was backed up.",
        max_length=63,
    ),
    Key(
        name="create_missing",
        types=("boolean",),
        default=True,
        title="Create what is missing",
        description="The extension, schema, tables, constraints and indexes that the set tells of.",
    ),
)


@dataclass(frozen=True)
class RestoreRequest:
    """A restore that has passed every check that needs no disk and no server.

    :param timestamp: a set's id, or `LATEST`
    :param tables: labels as in the manifest; None: all
    :param rename_collection: from old names to new ones
    """

    backup_path: str | None = None
    task_id: str | None = None
    timestamp: str = LATEST
    tables: tuple[str, ...] | None = None
    db_connection: str | None = None
    truncate_before_restore: bool = False
    on_conflict: OnConflict = "error"
    collections: tuple[str, ...] | None = None
    rename_collection: Mapping[str, str] = field(default_factory=dict)
    schema: str | None = None
    create_missing: bool = True

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> RestoreRequest:
        """Check a conf, key by key.

        :raises MissingParams: when it does not say which set
        :raises InvalidParams: for an unknown key, a wrong type, or keys that contradict each other
        """
        check_all(RESTORE_KEYS, conf)
        given = {name: value for name, value in conf.items() if value is not None}
        missing = [] if {"backup_path", "task_id"} & set(given) else ["backup_path"]
        missing += [] if "timestamp" in given else ["timestamp"]
        if missing:
            raise MissingParams(missing)
        _check_place(given)
        for name in ("tables", "collections"):
            if name in given:
                given[name] = tuple(dict.fromkeys(given[name]))
                if not given[name]:
                    raise InvalidParams(f"{name}: the list is empty, so nothing would be restored; leave the key out")
        request = cls(**given)
        if request.truncate_before_restore and request.on_conflict != "error":
            raise InvalidParams(
                f"on_conflict: {request.on_conflict!r} has no meaning with truncate_before_restore, which leaves no "
                "rows to meet; leave one of them out"
            )
        new_names = list(request.rename_collection.values())
        if len(set(new_names)) < len(new_names):
            raise InvalidParams("rename_collection: two collections would get the same name")
        if request.collections is not None:
            for old in request.rename_collection:
                if old not in request.collections:
                    raise InvalidParams(f"rename_collection: {old!r} is not among `collections`")
        return request


VERIFY_KEYS: Final[tuple[Key, ...]] = (
    *_PLACE_KEYS[:2],
    replace(
        _PLACE_KEYS[2],
        description="Which set, e.g. `20250721_234914`; empty or `latest`: the newest, damaged or not.",
    ),
    Key(
        name="depth",
        types=("string",),
        default="rows",
        title="Depth",
        description="`files`: manifest, sizes and checksums. `rows`: every row is decoded as well. `drill`: the set is "
        "restored into a scratch database as well, compared, searched, and dropped.",
        choices=("files", "rows", "drill"),
    ),
    Key(
        name="db_connection",
        types=("string", "null"),
        default=None,
        title="Database for the drill",
        description="Airflow connection id of a server on which a scratch database may be made. Empty: an embedded "
        "server on the worker.",
        pattern=r"^\S+$",
        max_length=2048,
    ),
)


@dataclass(frozen=True)
class VerifyRequest:
    """A verify that has passed every check that needs no disk and no server.

    Neither ``backup_path`` nor ``task_id``: every location. ``timestamp`` is a set's id, or `LATEST`.
    """

    backup_path: str | None = None
    task_id: str | None = None
    timestamp: str = LATEST
    depth: Depth = "rows"
    db_connection: str | None = None

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> VerifyRequest:
        """Check a conf, key by key; ``{}`` asks for the newest set of every location.

        :raises InvalidParams: for an unknown key, a wrong type, or a timestamp without a place
        """
        check_all(VERIFY_KEYS, conf)
        given = {name: value for name, value in conf.items() if value is not None}
        _check_place(given)
        request = cls(**given)
        if request.timestamp != LATEST and request.backup_path is None and request.task_id is None:
            raise InvalidParams("timestamp: say where that set is too, in backup_path or task_id")
        return request


def _check_place(given: Mapping[str, Any]) -> None:
    if "task_id" in given:
        check_task_id(given["task_id"])
        if "backup_path" in given:
            raise InvalidParams("backup_path, task_id: give one of them, not both")
    # `fullmatch` here too: what comes from HTTP or a command line has passed no schema.
    if not re.fullmatch(r"[A-Za-z0-9_-]+", given.get("timestamp", LATEST)):
        raise InvalidParams(
            f"timestamp: {given['timestamp']!r} is no set's id; as listed, e.g. 20250721_234914, or latest"
        )
