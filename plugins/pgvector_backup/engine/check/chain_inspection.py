"""What an increment's table is beyond its own file: the keys, the files that it stands on, and the rows of them all."""

from __future__ import annotations

import logging
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.check.inspection import See, inspect
from pgvector_backup.engine.contract.verify_result import Inspection
from pgvector_backup.engine.sets.chain import TableChain
from pgvector_backup.engine.sets.keys_entry import KeysEntry
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.store.location import Location

_log: Final = logging.getLogger(__name__)


def look_at_keys(location: Location, keys: KeysEntry, found: Inspection, cancel: Cancel) -> None:
    """Hold a keys file and its index against the manifest."""
    file = StoredFile(location, keys)
    for _ in file.read(file.index(found.blame), cancel, found.blame, unpack=True):
        pass


def look_at_chain(
    chain: TableChain, algorithm_name: str, found: Inspection, *, rows: bool, cancel: Cancel, see: See | None = None
) -> None:
    """Look at all that a table of an increment consists of besides its own file and keys, and add what is wrong.

    :param algorithm_name: of the manifests' fingerprints
    :param found: what was found of the table's own file
    :param rows: whether to decode every row, and to hold the rows of the chain against the keys
    :param see: given the fields of each row of the table
    """
    for backup_id, entry in chain.parts[:-1]:
        cancel.check()
        progress = Progress(_log, f"{entry.name} of {backup_id}", entry.rows, max(entry.rows, 1))
        below = inspect(chain.location, entry, algorithm_name, rows=rows, cancel=cancel, progress=progress)
        if entry.keys is not None:
            look_at_keys(chain.location, entry.keys, below, cancel)
        for fault in below.all_faults:
            found.blame(fault)
        found.damaged_blocks += below.damaged_blocks
        found.notes += below.notes
    found.notes.append(
        f"{chain.entry.name}: stands on {', '.join(backup_id for backup_id, _ in chain.parts[:-1])}, which were looked "
        "at too"
    )
    if not rows or found.all_faults:
        return
    form = chain.entry.file_kind.format
    count = 0
    try:
        for block in chain.blocks(cancel):
            count += block.rows or 0
            if see is not None:
                for _, fields in form.rows(block.data):
                    see(fields)
    except IntegrityFault as fault:
        found.blame(fault.message)
    found.rows = count
