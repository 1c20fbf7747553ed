"""The story of a search: in which sets a row lies, since when, until when, by its key; no server is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, InvalidParams
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.keys_file import KeyLine, find_line
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_set import shared_lock


@dataclass
class Version:
    """One state of a row: the sets that hold it so, the oldest first.

    :param xmin: the transaction that wrote it
    """

    xmin: str
    sets: list[FoundSet] = field(default_factory=list)
    gone_in: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The version as programs read it; ``until`` None: the newest set that tells of keys holds it still."""
        return {
            "xmin": self.xmin,
            "sets": [one.backup_id for one in self.sets],
            "since": self.sets[0].created_at,
            "until": self.gone_in,
            "last_seen": self.sets[-1].created_at,
        }


@dataclass(frozen=True)
class FindResult:
    """Where a key was found. Seconds.

    :param tables: by label, the versions of its row, the oldest first
    """

    backup_path: str
    key: tuple[str, ...]
    tables: dict[str, list[Version]]
    searched: int
    notes: tuple[str, ...]
    duration: float

    def to_json(self) -> dict[str, Any]:
        """The result as programs read it."""
        return {
            **messages.beside("response", messages.SEARCHED if self.tables else messages.NOT_FOUND_IN_SETS),
            "backup_path": self.backup_path,
            "key": self.key[0] if len(self.key) == 1 else list(self.key),
            "found": bool(self.tables),
            "sets_searched": self.searched,
            "tables": {label: [one.to_json() for one in versions] for label, versions in self.tables.items()},
            "notes": list(self.notes),
            "duration": round(self.duration, 3),
        }


def find_key(place: FoundLocation, key: Sequence[str], *, cancel: Cancel | None = None) -> FindResult:
    """Look for a key in every set of a location that has keys.

    :param key: the text of each of its columns, as COPY writes it
    :return: the result; sets that cannot be read, or have no keys, are in its notes
    :raises InvalidParams: for no key at all
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    if not key:
        raise InvalidParams("key: say which row")
    wanted = [text.encode() for text in key]
    tables: dict[str, list[Version]] = {}
    notes: list[str] = []
    searched = without = 0
    for one in sorted(place.sets, key=lambda found: found.age):
        cancel.check()
        if one.manifest_file is None or all(table.keys is None for table in one.tables):
            without += 1
            continue
        try:
            with shared_lock(place.location, one):
                manifest = Manifest.read(place.location, one.manifest_file)
                for entry in manifest.tables:
                    if entry.keys is not None and len(entry.keys.lineage.key) == len(wanted):
                        _note(tables, entry.name, one, find_line(place.location, entry.keys, wanted, cancel))
            searched += 1
        except BackupError as fault:
            cancel.check()
            notes.append(f"set {one.backup_id} could not be searched: {fault.english}")
    if without:
        notes.append(f"{without} sets have no keys, and were not searched; keys are written with mode incremental")
    return FindResult(
        place.location.relative_path, tuple(key), tables, searched, tuple(notes), time.monotonic() - started
    )


def _note(tables: dict[str, list[Version]], label: str, one: FoundSet, line: KeyLine | None) -> None:
    versions = tables.get(label, [])
    last = versions[-1] if versions else None
    if line is None:
        if last is not None and last.gone_in is None:
            last.gone_in = one.created_at
        return
    xmin = line.xmin.decode()
    if last is None or last.gone_in is not None or last.xmin != xmin:
        if last is not None and last.gone_in is None:
            last.gone_in = one.created_at
        last = Version(xmin)
        tables.setdefault(label, []).append(last)
    last.sets.append(one)
