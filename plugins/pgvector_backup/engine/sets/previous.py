"""The set before: how many rows the tables of a database held when they were last backed up to a location."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import committed_id

_log: Final = logging.getLogger(__name__)

_READ_AT_MOST: Final = 20
"""Manifests looked at: sets of many databases may share a location."""


@dataclass(frozen=True)
class Previous:
    """A set's id, and the rows of each of its tables by label."""

    backup_id: str
    rows: Mapping[str, int]


def previous(location: Location, source: Source) -> Previous | None:
    """The newest set of a database that lies in a location; None where there is none that can be read."""
    try:
        manifests = [entry for entry in location.entries() if committed_id(entry.name) is not None]
    except BackupError as fault:
        _log.warning("the sets before this one could not be looked at: %s", fault.english)
        return None
    manifests.sort(key=lambda entry: (entry.modified, entry.name), reverse=True)
    for entry in manifests[:_READ_AT_MOST]:
        try:
            manifest = Manifest.read(location, entry.name)
        except (BackupError, ValueError):
            continue  # a damaged one is told of where sets are listed
        there = manifest.source
        if (there.system_identifier, there.database) == (source.system_identifier, source.database):
            return Previous(manifest.backup_id, {table.name: table.row_count for table in manifest.tables})
    return None
