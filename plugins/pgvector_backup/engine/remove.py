"""The story of a removal: a set stops being one, then its files go."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Final

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.sets.base_set import ReadChains, standing_on
from pgvector_backup.engine.sets.beside import read_pin
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import beside_manifest, of_set, of_table, pin_name

_log: Final = logging.getLogger(__name__)


def remove(location: Location, found: FoundSet, read: ReadChains | None = None) -> list[str]:
    """Remove a set and what lies beside it.

    The manifest goes first: whatever interrupts the rest, no set with missing files is left. Of another tool's set
    only the files that the catalog lists go.

    :param read: for several removals in one location: the same each time, so that each manifest is read once
    :return: the names removed
    :raises Conflict: while somebody reads the set, has pinned it, the store holds it, or another set stands on it;
        nothing is removed
    """
    names = files_of(location, found)
    if found.manifest_file is None:
        _check_not_pinned(location, found)
        _check_not_held(location, found, names)
        return _removed(location, names)
    with location.exclusive_lock(found.manifest_file):
        _check_not_pinned(location, found)
        standing = standing_on(location, found, read)
        if standing:
            raise Conflict(
                f"set {found.backup_id} is the base of {', '.join(standing)}, which could not be restored without it; "
                "remove those first, or consolidate them"
            )
        _check_not_held(location, found, names)
        # Until the last file is gone a claim lies there, by which the next sweep ends what a crash has interrupted.
        claim = location.retire(found.manifest_file)
        _removed(location, names[1:])
        location.remove(claim)
        _log.info("removed set %s from %s", found.backup_id, location.directory)
        return names


def _check_not_pinned(location: Location, found: FoundSet) -> None:
    pin = read_pin(location, found.backup_id)
    if pin is not None and pin.holds(datetime.now(timezone.utc)):
        raise Conflict(f"set {found.backup_id} is {pin.describe(timezone.utc)}; unpin it first")


def _check_not_held(location: Location, found: FoundSet, names: list[str]) -> None:
    """A versioned bucket would let them go out of sight, and keep every byte of them."""
    held = location.held(names)
    if held is not None and held.holds(datetime.now(timezone.utc)):
        raise Conflict(f"set {found.backup_id} is {held.describe()}; it can be removed after that")


def files_of(location: Location, found: FoundSet) -> list[str]:
    """The files that a removal of a set removes, in that order.

    They are those that its manifest names and what lies beside them; where it cannot be read, those that bear the
    set's id and no other set's.
    """
    if found.manifest_file is None:
        return [table.file for table in found.tables] + ([] if found.pin is None else [pin_name(found.backup_id)])
    names = sorted(entry.name for entry in location.entries())
    own = set(beside_manifest(found.backup_id))
    if found.tables:
        for table in found.tables:
            own.update(of_table(table.file, found.backup_id, names))
    else:
        own.update(of_set(names, found.backup_id))
    return [found.manifest_file, *(name for name in names if name in own and name != found.manifest_file)]


def _removed(location: Location, names: list[str]) -> list[str]:
    for name in names:
        location.remove(name)
        _log.info("removed %s from %s", name, location.directory)
    return names
