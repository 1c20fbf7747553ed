"""Where the sets of one place lie besides, by one list of each other root: for lists of sets, which are long."""

from __future__ import annotations

from collections.abc import Mapping

from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.copies import Whereabouts, at_each_root
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.store.root import Root, place_of_copy


def copies_of_place(settings: Settings, place: FoundLocation, *, seconds: float = 3.0) -> dict[str, list[Whereabouts]]:
    """How each set of a place stands at each of ``copy_roots``, by its id, as names and sizes there show.

    :param seconds: a root that has not answered by then is unknown, and delays nobody
    """
    ours = [one for one in place.sets if one.manifest_file is not None]

    def look(root: Root) -> dict[str, Whereabouts]:
        there = place_of_copy(root, place.location.task_id, settings.backup_directory)
        entries = {entry.name: entry.bytes for entry in there.entries()}
        return {one.backup_id: _stands(one, str(root), entries) for one in ours}

    def unknown(root: Root, why: str) -> dict[str, Whereabouts]:
        return {one.backup_id: Whereabouts(str(root), "unknown", why) for one in ours}

    told = at_each_root(settings.copy_roots, look, unknown, seconds=seconds) if ours else []
    return {one.backup_id: [by_id[one.backup_id] for by_id in told] for one in ours}


def _stands(one: FoundSet, root: str, entries: Mapping[str, int]) -> Whereabouts:
    if one.manifest_file not in entries:
        return Whereabouts(root, "missing", f"{one.manifest_file} is missing")
    files = [(table.file, table.bytes) for table in one.tables]
    files += [(table.keys.file, table.keys.bytes) for table in one.tables if table.keys is not None]
    for name, wanted in files:
        size = entries.get(name)
        if size is None:
            return Whereabouts(root, "damaged", f"{name} is missing")
        if size != wanted and one.damaged is None:  # else it may be this one that has another size
            return Whereabouts(root, "damaged", f"{name}: {size:,} bytes instead of {wanted:,}")
    return Whereabouts(root, "whole", None)
