"""The story of finding backup sets: what lies in each location, told from names, sizes and manifests alone.

No data file is opened. Manifests are read once: what they say is kept for as long as their size and time stay the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pgvector_backup.engine.base.errors import BackupError, NotFound, StorageFault
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets import choice
from pgvector_backup.engine.sets.beside import UNREADABLE_PIN, Pin, read_pin
from pgvector_backup.engine.sets.documents import read_outcome
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.listing import as_it_lies, sets_of_others, told_by, unreadable, with_bases
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.remembered import Remembered
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import (
    LATEST,
    LOG_FILE,
    STAGED,
    committed_id,
    manifest_name,
    pin_name,
    verification_name,
)
from pgvector_backup.engine.store.root import locate, locate_all, locate_path, require_root
from pgvector_backup.engine.store.store import Entry

_log: Final = logging.getLogger(__name__)

_NAMED_AT_MOST: Final = 5


class Catalog:
    """Finds the sets below one backup root; keep it, for it remembers what it has read. Any thread may call it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: Remembered[FoundSet | BackupError] = Remembered()
        self._verified: Remembered[Mapping[str, Any] | None] = Remembered()
        self._pins: Remembered[Pin | None] = Remembered()
        self._seen: dict[str, tuple[Mapping[str, Entry], FoundLocation]] = {}

    def locations(self) -> list[FoundLocation]:
        """Every location that holds sets: the root's own first, then the tasks' by name."""
        self.require_root()
        places = locate_all(self._settings.backup_root, self._settings.backup_directory, unseen=True)

        def look(place: Location) -> FoundLocation | None:
            try:
                return self.at(place)
            except StorageFault as fault:
                if place.task_id is None:
                    raise
                # One task's directory that cannot be read keeps nobody from the others.
                _log.warning("%s cannot be read, so its sets are not listed: %s", place.relative_path, fault.message)
                return None

        found = [one for one in (places[0].store.each(look, places) if places else []) if one is not None]
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
        sets = with_bases(sets)
        sets += [
            replace(one, pin=self._pin(location, one.backup_id, entries.get(pin_name(one.backup_id))))
            for one in sets_of_others(location, entries, known=set(ids.values()))
        ]
        sets.sort(key=lambda one: one.age, reverse=True)
        found = FoundLocation(location, tuple(sets), has_log=LOG_FILE in entries)
        if self._has_read_all(location, found, entries):
            self._seen[location.directory] = entries, found
        return found

    def _has_read_all(self, location: Location, found: FoundLocation, entries: Mapping[str, Entry]) -> bool:
        """Whether there is nothing that could not be read just now, and is to be tried again next time."""
        of_sets: list[tuple[Remembered[Any], str]] = []
        for one in found.sets:
            of_sets.append((self._pins, pin_name(one.backup_id)))
            if one.manifest_file is not None:
                of_sets += [(self._read, one.manifest_file), (self._verified, verification_name(one.backup_id))]
        return all(name not in entries or read.knows(location.directory, entries[name]) for read, name in of_sets)

    def place(self, backup_path: str | None, task_id: str | None) -> Location:
        """The one location that a request names: by path, or by task; neither: the root's own.

        :raises InvalidParams: for a path that no list has given
        :raises NotFound: when it is not there
        """
        self.require_root()
        root, directory = self._settings.backup_root, self._settings.backup_directory
        if backup_path is not None:
            return locate_path(root, backup_path, directory)
        return locate(root, task_id, directory, create=False)

    def require_root(self) -> None:
        """Refuse a root that is not there. One that a backup would make may not be there yet.

        :raises StorageFault: with the remedy
        """
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
        try:
            known = self._read.get(location.directory, entry, lambda: _read(location, entry))
        except BackupError as fault:  # not now; perhaps next time
            known = fault
        verification = self._verification(location, entries.get(verification_name(backup_id)))
        pin = self._pin(location, backup_id, entries.get(pin_name(backup_id)))
        if isinstance(known, BackupError):
            return replace(unreadable(known, location, entry, backup_id), verification=verification, pin=pin)
        told = entries.get(verification_name(backup_id))
        unread = told is not None and not self._verified.knows(location.directory, told)
        why = f"{verification_name(backup_id)} could not be read" if unread else None
        return replace(as_it_lies(known, entries, verification), pin=pin, unread=why)

    def _verification(self, location: Location, entry: Entry | None) -> Mapping[str, Any] | None:
        if entry is None:
            return None
        try:
            return self._verified.get(location.directory, entry, lambda: read_outcome(location, entry.name))
        except BackupError:  # not now; perhaps next time
            return None

    def _pin(self, location: Location, backup_id: str, entry: Entry | None) -> Pin | None:
        if entry is None:
            return None
        try:
            return self._pins.get(location.directory, entry, lambda: read_pin(location, backup_id))
        except BackupError:  # not now, perhaps next time; until then it holds
            return UNREADABLE_PIN

    def _forget_what_is_gone(self, found: Iterable[FoundLocation]) -> None:
        sets = [one for place in found for one in place.sets]
        self._read.forget_all_but({(one.directory, one.manifest_file) for one in sets})
        self._verified.forget_all_but({(one.directory, verification_name(one.backup_id)) for one in sets})
        self._pins.forget_all_but({(one.directory, pin_name(one.backup_id)) for one in sets})
        for directory in set(self._seen) - {place.location.directory for place in found}:
            self._seen.pop(directory, None)


def _read(location: Location, entry: Entry) -> FoundSet | BackupError:
    """What a manifest says, or what is wrong with it.

    :raises BackupError: when it could not be read just now
    """
    try:
        manifest = Manifest.read(location, entry.name)
        return told_by(manifest, location, entry.name)
    except BackupError as fault:
        if fault.can_retry:
            raise
        # It is remembered, and what its traceback holds would be too.
        return fault.with_traceback(None)
