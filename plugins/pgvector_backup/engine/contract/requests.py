"""What a caller may ask for: requests that have passed every check that needs no disk and no server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pgvector_backup.engine.base.errors import InvalidParams, MissingParams
from pgvector_backup.engine.codec.compression import DEFAULT_LEVEL, Compression, CompressionName
from pgvector_backup.engine.codec.format_names import FormatName
from pgvector_backup.engine.contract.keys import check_all
from pgvector_backup.engine.contract.request_keys import (
    BACKUP_KEYS,
    COPY_KEYS,
    PIN_KEYS,
    PRUNE_KEYS,
    RESTORE_KEYS,
    VERIFY_KEYS,
)
from pgvector_backup.engine.store.naming import LATEST, check_task_id

OnConflict = Literal["error", "skip", "update"]
Depth = Literal["files", "rows", "drill"]
Mode = Literal["full", "incremental"]


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
    mode: Mode | None = None
    dry_run: bool = False

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


@dataclass(frozen=True)
class RestoreRequest:
    """A restore that has passed every check that needs no disk and no server.

    :param timestamp: a set's id, or `LATEST`
    :param from_copy: which of ``copy_roots`` it is read at; None: at the backup root
    :param tables: labels as in the manifest; None: all
    :param rename_collection: from old names to new ones; without ``collections``, these collections alone are restored
    :param into_other_database: whether rows may lie in the target, another database than the one that the set is of
    """

    backup_path: str | None = None
    task_id: str | None = None
    timestamp: str = LATEST
    from_copy: str | None = None
    tables: tuple[str, ...] | None = None
    db_connection: str | None = None
    truncate_before_restore: bool = False
    on_conflict: OnConflict = "error"
    collections: tuple[str, ...] | None = None
    rename_collection: Mapping[str, str] = field(default_factory=dict)
    schema: str | None = None
    create_missing: bool = True
    trust_definitions: bool = False
    into_other_database: bool = False
    backup_before_restore: bool = False
    dry_run: bool = False

    @property
    def replaces(self) -> bool:
        """Whether rows that are in the tables now may be lost by it."""
        return self.truncate_before_restore or self.on_conflict == "update"

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
        if request.collections is None and request.rename_collection:
            # A copy under another name is asked for, not the rest of the set as well.
            return replace(request, collections=tuple(request.rename_collection))
        if request.collections is not None:
            for old in request.rename_collection:
                if old not in request.collections:
                    raise InvalidParams(f"rename_collection: {old!r} is not among `collections`")
        return request


@dataclass(frozen=True)
class CopyRequest:
    """A request that has passed every check that needs no disk.

    :param timestamp: a set's id, or `LATEST`
    :param from_copy: the one of ``copy_roots`` that sets are brought from, to the backup root and the others; None:
        from the backup root
    :param all: every set of ours in the place named, or in every place
    :param quick: of what lies at the other root already, believe names and sizes
    """

    backup_path: str | None = None
    task_id: str | None = None
    timestamp: str = LATEST
    from_copy: str | None = None
    all: bool = False
    quick: bool = False

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> CopyRequest:
        """Check a conf, key by key.

        :raises InvalidParams: for an unknown key, a wrong type, a place named twice, a timestamp beside ``all``
        """
        check_all(COPY_KEYS, conf)
        given = {name: value for name, value in conf.items() if value is not None}
        _check_place(given)
        if given.get("all") and "timestamp" in given:
            raise InvalidParams("timestamp, all: give one of them, not both")
        return cls(**given)


@dataclass(frozen=True)
class VerifyRequest:
    """A verify that has passed every check that needs no disk and no server.

    Neither ``backup_path`` nor ``task_id``: every location. ``timestamp`` is a set's id, or `LATEST`; ``from_copy`` is
    the one of ``copy_roots`` where the sets are read, None: the backup root.
    """

    backup_path: str | None = None
    task_id: str | None = None
    timestamp: str = LATEST
    from_copy: str | None = None
    depth: Depth = "rows"
    db_connection: str | None = None

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> VerifyRequest:
        """Check a conf, key by key; ``{}`` asks for the newest set of each database in every location.

        :raises InvalidParams: for an unknown key, a wrong type, or a timestamp without a place
        """
        check_all(VERIFY_KEYS, conf)
        given = {name: value for name, value in conf.items() if value is not None}
        _check_place(given)
        request = cls(**given)
        if request.timestamp != LATEST and request.backup_path is None and request.task_id is None:
            raise InvalidParams("timestamp: say where that set is too, in backup_path or task_id")
        return request


@dataclass(frozen=True)
class PruneRequest:
    """A prune that has passed every check that needs no disk.

    Neither ``backup_path`` nor ``task_id``: every location.
    """

    backup_path: str | None = None
    task_id: str | None = None
    dry_run: bool = False
    force: bool = False
    consolidate: bool = False

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> PruneRequest:
        """Check a conf, key by key.

        :raises InvalidParams: for an unknown key, a wrong type, a malformed ``task_id``, a place named twice
        """
        check_all(PRUNE_KEYS, conf)
        given = {name: value for name, value in conf.items() if value is not None}
        _check_place(given)
        return cls(**given)


@dataclass(frozen=True)
class PinRequest:
    """What is said of a pin; the end is checked by whoever knows the time zone.

    :param until: a day or a moment, as ISO 8601 writes them; None: until it is lifted
    """

    reason: str
    until: str | None = None

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> PinRequest:
        """Check it, key by key.

        :raises MissingParams: without a reason
        :raises InvalidParams: for an unknown key or a wrong type
        """
        check_all(PIN_KEYS, conf)
        if not str(conf.get("reason") or "").strip():
            raise MissingParams(["reason"])
        return cls(**conf)


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
