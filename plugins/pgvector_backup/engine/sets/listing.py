"""Sets as a location's listing and their manifests tell them: names, sizes and times, and no data file opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Final

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.sets.found import FoundKeys, FoundSet, FoundTable
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import without_manifest
from pgvector_backup.engine.store.store import Entry

_LATEST_TIME: Final = 221_845_392_000
"""The year 9000, in seconds since 1970; a file's time may be set to later ones."""


def told_by(manifest: Manifest, location: Location, name: str) -> FoundSet:
    """A set as its manifest tells it.

    :param name: the manifest's file
    """
    return FoundSet(
        task_id=location.task_id,
        relative_path=location.relative_path,
        directory=location.directory,
        backup_id=manifest.backup_id,
        created_at=manifest.created_at,
        tables=tuple(
            FoundTable(
                name=table.name,
                file=table.file,
                bytes=table.bytes,
                raw_bytes=table.raw_bytes,
                rows=table.row_count,
                rows_written=table.rows,
                rows_deleted=0 if table.keys is None else table.keys.deleted,
                keys=None if table.keys is None else FoundKeys(table.keys.file, table.keys.bytes),
                format=table.format,
                compression=table.compression,
                sha256=table.sha256,
            )
            for table in manifest.tables
        ),
        manifest_file=name,
        run_id=manifest.run_id,
        failed_tables=manifest.failed_tables,
        source=manifest.source,
        chain=tuple(link.backup_id for link in manifest.chain),
        full_because=manifest.full_because,
        collections=manifest.collections,
        saved_before=manifest.saved_before,
        identity=identity_of(manifest),
    )


def unreadable(fault: BackupError, location: Location, entry: Entry, backup_id: str) -> FoundSet:
    """A set whose manifest cannot be read, or is none.

    :param entry: the manifest's
    """
    return FoundSet(
        task_id=location.task_id,
        relative_path=location.relative_path,
        directory=location.directory,
        backup_id=backup_id,
        created_at=_written(entry, backup_id),
        tables=(),
        manifest_file=entry.name,
        damaged=fault.message,
        unread=fault.message if fault.can_retry else None,
    )


def identity_of(manifest: Manifest) -> tuple[object, ...]:
    """What a set is of, database and tables: the same for each set of the same."""
    return (
        manifest.source.system_identifier,
        manifest.source.database_oid,
        manifest.source.database,
        *sorted({*(table.name for table in manifest.tables), *manifest.failed_tables}),
    )


def as_it_lies(told: FoundSet, entries: Mapping[str, Entry], verification: Mapping[str, Any] | None) -> FoundSet:
    """What a manifest tells, held against the files that are there."""
    damaged = None
    for table in told.tables:
        for one in (table, *(() if table.keys is None else (table.keys,))):
            entry = entries.get(one.file)
            if entry is None:
                damaged = damaged or f"{one.file} is missing"
            elif entry.bytes != one.bytes:
                damaged = damaged or f"{one.file}: {entry.bytes:,} bytes on disk, {one.bytes:,} in the manifest"
    return replace(told, damaged=damaged, verification=verification)


def with_bases(sets: list[FoundSet]) -> list[FoundSet]:
    """What is wrong with a set that others stand on is wrong with them too."""
    by_id = {one.backup_id: one for one in sets}
    return [one if one.damaged is not None else replace(one, damaged=_wrong_below(one, by_id)) for one in sets]


def _wrong_below(one: FoundSet, by_id: Mapping[str, FoundSet]) -> str | None:
    for backup_id in one.chain:
        base = by_id.get(backup_id)
        if base is None:
            return f"its base {backup_id} is missing"
        if (why := base.damaged or base.found_damaged) is not None:
            return f"its base {backup_id}: {why}"
    return None


def sets_of_others(location: Location, entries: Mapping[str, Entry], known: set[str]) -> list[FoundSet]:
    """Sets without a manifest: CSV files of the same names that another tool wrote."""
    tables: dict[str, list[FoundTable]] = {}
    for entry in entries.values():
        named = without_manifest(entry.name)
        if named is not None and named[1] not in known:
            tables.setdefault(named[1], []).append(FoundTable(name=named[0], file=entry.name, bytes=entry.bytes))
    found = []
    for backup_id, files in tables.items():
        created_at = _named(backup_id)
        if created_at is None:  # digits that are no date
            continue
        found.append(
            FoundSet(
                task_id=location.task_id,
                relative_path=location.relative_path,
                directory=location.directory,
                backup_id=backup_id,
                created_at=created_at,
                tables=tuple(sorted(files, key=lambda table: table.name)),
            )
        )
    return found


def _named(backup_id: str) -> str | None:
    """The time that an id of the usual form says; None: it is of another form, or no time."""
    try:
        return datetime.strptime(backup_id, "%Y%m%d_%H%M%S").isoformat()
    except ValueError:
        return None


def _written(entry: Entry, backup_id: str) -> str:
    """When a file was written; where that cannot be a time of anything here, what the set's name says."""
    if 0 < entry.modified < _LATEST_TIME:
        return datetime.fromtimestamp(entry.modified, timezone.utc).isoformat(timespec="seconds")
    return _named(backup_id) or datetime.fromtimestamp(0, timezone.utc).isoformat()
