"""The story of a pin: a set is held, so that neither a policy nor anybody by hand removes it."""

from __future__ import annotations

from contextlib import nullcontext

from pgvector_backup.engine.base.errors import NotFound
from pgvector_backup.engine.sets.beside import Pin, write_pin
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.location import Location


def pin(location: Location, found: FoundSet, held: Pin) -> None:
    """Pin a set, in place of an earlier pin.

    :raises InvalidParams: without a reason, or with one that is too long
    :raises Conflict: while the set is being removed
    :raises NotFound: when it has been removed meanwhile
    """
    manifest = found.manifest_file
    with nullcontext() if manifest is None else location.shared_lock(manifest):
        # Looked at once nobody can remove it any more: a pin on what is gone would hold nothing.
        if manifest is not None and all(entry.name != manifest for entry in location.entries()):
            raise NotFound(f"set {found.backup_id} in {location.relative_path} has just been removed")
        write_pin(location, found.backup_id, held)
