"""The story of finding backup sets: what lies in each location, told from names, sizes and manifests alone.

No data file is opened. Manifests are read once: what they say is kept for as long as their size and time stay the same.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Final

from pgvector_backup.engine.base.errors import BackupError, NotFound, StorageFault
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets import choice
from pgvector_backup.engine.sets.beside import UNREADABLE_PIN, Pin, read_pin
from pgvector_backup.engine.sets.documents import read_outcome
from pgvector_backup.engine.sets.found import FoundKeys, FoundLocation, FoundSet, FoundTable
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import (
    LATEST,
    LOG_FILE,
    STAGED,
    committed_id,
    manifest_name,
    pin_name,
    verification_name,
    without_manifest,
)
from pgvector_backup.engine.store.root import locate, locate_all, locate_path, require_root
from pgvector_backup.engine.store.store import Entry

_log: Final = logging.getLogger(__name__)

_NAMED_AT_MOST: Final = 5
_LATEST_TIME: Final = 221_845_392_000
"""The year 9000, in seconds since 1970; a file's time may be set to later ones."""


class Catalog:
    """Finds the sets below one backup root; keep it, for it remembers what it has read. Any thread may call it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[tuple[str, Entry], FoundSet | BackupError] = {}
        self._verified: dict[tuple[str, Entry], Mapping[str, Any] | None] = {}
        self._pins: dict[tuple[str, Entry], Pin | None] = {}
        self._seen: dict[str, tuple[Mapping[str, Entry], FoundLocation]] = {}

    def locations(self) -> list[FoundLocation]:
        """Every location that holds sets: the root's own first, then the tasks' by name."""
        self._require_root()
        places = locate_all(self._settings.backup_root, self._settings.backup_directory)
        found = []
        for place in places:
            try:
                found.append(self.at(place))
            except StorageFault as fault:
                if place.task_id is None:
                    raise
                # One task's directory that cannot be read keeps nobody from the others.
                _log.warning("%s cannot be read, so its sets are not listed: %s", place.relative_path, fault.message)
        self._forget_what_is_gone(found)
        return [one for one in found if one.sets]

    def at(self, location: Location) -> FoundLocation:
        """What lies in one location; the same object as before when nothing there has changed."""
        entries = {entry.name: entry for entry in location.entries() if not entry.name.endswith(STAGED)}
        before, seen = self._seen.get(location.directory, ({}, None))
        if seen is not None and before == entries:
            return seen
        ids = {name: backup_id for name in entries if (backup_id := committed_id(name)) is not None}
        sets = location.store.each(lambda backup_id: self._set(location, backup_id, entries), list(ids.values()))
        sets = _with_bases(sets)
        sets += [
            replace(one, pin=self._pin(location, one.backup_id, entries.get(pin_name(one.backup_id))))
            for one in _sets_of_others(location, entries, known=set(ids.values()))
        ]
        sets.sort(key=lambda one: one.age, reverse=True)
        found = FoundLocation(location, tuple(sets), has_log=LOG_FILE in entries)
        if self._has_read_all(location, found, entries):
            self._seen[location.directory] = entries, found
        return found

    def _has_read_all(self, location: Location, found: FoundLocation, entries: Mapping[str, Entry]) -> bool:
        """Whether there is nothing that could not be read just now, and is to be tried again next time."""
        of_sets: list[tuple[Container[tuple[str, Entry]], str]] = []
        for one in found.sets:
            of_sets.append((self._pins, pin_name(one.backup_id)))
            if one.manifest_file is not None:
                of_sets += [(self._read, one.manifest_file), (self._verified, verification_name(one.backup_id))]
        return all(name not in entries or (location.directory, entries[name]) in read for read, name in of_sets)

    def place(self, backup_path: str | None, task_id: str | None) -> Location:
        """The one location that a request names: by path, or by task; neither: the root's own.

        :raises InvalidParams: for a path that no list has given
        :raises NotFound: when it is not there
        """
        self._require_root()
        root, directory = self._settings.backup_root, self._settings.backup_directory
        if backup_path is not None:
            return locate_path(root, backup_path, directory)
        return locate(root, task_id, directory, create=False)

    def _require_root(self) -> None:
        """A root that would be made may not be there yet; any other one that is not there has been lost sight of."""
        if not self._settings.may_make_root:
            require_root(self._settings.backup_root)

    def find(self, location: Location, timestamp: str, *, of: Source | None = None) -> FoundSet:
        """One set of a location.

        :param timestamp: a set's id, or `LATEST`: see `choice.latest`
        :param of: the database that `LATEST` is for
        :raises NotFound: saying what there is instead
        """
        sets = self.at(location).sets
        if timestamp == LATEST:
            return choice.latest(sets, location.relative_path, of=of)
        for one in sets:
            if one.backup_id == timestamp:
                return one
        there = ", ".join(one.backup_id for one in sets[:_NAMED_AT_MOST]) or "none"
        raise NotFound(f"no set {timestamp} in {location.relative_path}; the newest there: {there}")

    def _set(self, location: Location, backup_id: str, entries: Mapping[str, Entry]) -> FoundSet:
        entry = entries[manifest_name(backup_id)]
        key = (location.directory, entry)
        known = self._read.get(key) or _read(location, entry)
        if not (isinstance(known, BackupError) and known.can_retry):
            self._read[key] = known
        verification = self._verification(location, entries.get(verification_name(backup_id)))
        pin = self._pin(location, backup_id, entries.get(pin_name(backup_id)))
        if isinstance(known, BackupError):
            return FoundSet(
                task_id=location.task_id,
                relative_path=location.relative_path,
                directory=location.directory,
                backup_id=backup_id,
                created_at=_written(entry, backup_id),
                tables=(),
                manifest_file=entry.name,
                damaged=known.message,
                unread=known.message if known.can_retry else None,
                verification=verification,
                pin=pin,
            )
        told = entries.get(verification_name(backup_id))
        unread = told is not None and (location.directory, told) not in self._verified
        why = f"{verification_name(backup_id)} could not be read" if unread else None
        return replace(_as_it_lies(known, entries, verification), pin=pin, unread=why)

    def _verification(self, location: Location, entry: Entry | None) -> Mapping[str, Any] | None:
        if entry is None:
            return None
        key = (location.directory, entry)
        if key not in self._verified:
            try:
                self._verified[key] = read_outcome(location, entry.name)
            except BackupError:  # not now; perhaps next time
                return None
        return self._verified[key]

    def _pin(self, location: Location, backup_id: str, entry: Entry | None) -> Pin | None:
        if entry is None:
            return None
        key = (location.directory, entry)
        if key not in self._pins:
            try:
                self._pins[key] = read_pin(location, backup_id)
            except BackupError:  # not now, perhaps next time; until then it holds
                return UNREADABLE_PIN
        return self._pins[key]

    def _forget_what_is_gone(self, found: Iterable[FoundLocation]) -> None:
        there = {(one.directory, one.manifest_file) for place in found for one in place.sets}
        for key in [key for key in list(self._read) if (key[0], key[1].name) not in there]:
            self._read.pop(key, None)
        for directory in set(self._seen) - {place.location.directory for place in found}:
            self._seen.pop(directory, None)
        ids = {(one.directory, verification_name(one.backup_id)) for place in found for one in place.sets}
        for key in [key for key in list(self._verified) if (key[0], key[1].name) not in ids]:
            self._verified.pop(key, None)
        pinned = {(one.directory, pin_name(one.backup_id)) for place in found for one in place.sets}
        for key in [key for key in list(self._pins) if (key[0], key[1].name) not in pinned]:
            self._pins.pop(key, None)


def _read(location: Location, entry: Entry) -> FoundSet | BackupError:
    try:
        manifest = Manifest.read(location, entry.name)
        return _told_by(manifest, location, entry.name)
    except BackupError as fault:
        # It is remembered, and what its traceback holds would be too.
        return fault.with_traceback(None)


def _told_by(manifest: Manifest, location: Location, name: str) -> FoundSet:
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
        identity=identity_of(manifest),
    )


def identity_of(manifest: Manifest) -> tuple[object, ...]:
    """What a set is of, database and tables: the same for each set of the same."""
    return (
        manifest.source.system_identifier,
        manifest.source.database_oid,
        manifest.source.database,
        *sorted({*(table.name for table in manifest.tables), *manifest.failed_tables}),
    )


def _as_it_lies(told: FoundSet, entries: Mapping[str, Entry], verification: Mapping[str, Any] | None) -> FoundSet:
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


def _with_bases(sets: list[FoundSet]) -> list[FoundSet]:
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


def _sets_of_others(location: Location, entries: Mapping[str, Entry], known: set[str]) -> list[FoundSet]:
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
