"""From the sets that lie in a location to what a plan has to know of each."""

from __future__ import annotations

from datetime import datetime, timezone

from pgvector_backup.engine.sets.beside import read_emptied
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.retention import Candidate
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import emptied_name


def candidates(place: FoundLocation) -> list[Candidate]:
    """What a plan has to know of each set of ours."""
    sets = [one for one in place.sets if one.manifest_file is not None]
    beside = {entry.name for entry in place.location.entries()}
    sources = {one.identity for one in sets if one.identity is not None}
    # A set whose manifest cannot be read is of the one database that is backed up here, if there is only one.
    only = next(iter(sources)) if len(sources) == 1 else None
    return [_candidate(place.location, one, beside, only) for one in sets]


def _candidate(location: Location, one: FoundSet, beside: set[str], only: object) -> Candidate:
    labels = tuple(table.name for table in one.tables)
    return Candidate(
        location=one.relative_path,
        timestamp=one.backup_id,
        source=one.identity if one.identity is not None else only or f"unknown: {one.backup_id}",
        created_at=datetime.fromtimestamp(one.moment, timezone.utc),
        bytes=one.bytes,
        fault=one.fault or one.unread,
        unread=one.unread or "",
        rows={table.name: table.rows or 0 for table in one.tables},
        proven=one.proven,
        pin=one.pin,
        base=one.base_backup_id,
        relied_on=read_emptied(location, one.backup_id, labels) if emptied_name(one.backup_id) in beside else (),
    )
