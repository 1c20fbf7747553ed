"""What killed runs have left in a directory, and its removal: a claim whose lock nobody holds is a dead run's."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from pgvector_backup.engine.base.errors import IntegrityFault, StorageFault
from pgvector_backup.engine.store.file_locks import alone, open_regular, same_file
from pgvector_backup.engine.store.naming import check_bare, claimed_id, is_staged, of_set, script_name

_CLAIM_BYTES: Final = 16 << 20
"""Of a claim that is read: a whole manifest, and no more of what somebody may have put in its place."""


def sweep(directory: Path) -> list[str]:
    """Remove what killed runs have left: staged files, and finished ones that no manifest tells of.

    :return: the names removed
    """
    with alone(directory):
        # Staged files are listed before the claims: a file's claim is always the older one, so a file of a running
        # backup cannot be listed and its claim be missed.
        staged = [name for name in sorted(os.listdir(directory)) if is_staged(name)]
        claims = {name: backup_id for name in os.listdir(directory) if (backup_id := claimed_id(name))}
        removed: list[str] = []
        living: list[str] = []
        for name, backup_id in claims.items():
            with _held(directory / name) as claim:
                if claim is None:
                    living.append(backup_id)
                else:
                    orphans = [*_committing(claim, backup_id), *of_set(staged, backup_id)]
                    # The claim goes last, for it tells others to keep away from the id.
                    removed += _unlinked(directory, [*(o for o in orphans if o != name), name])
        # A claim that has gone since is its owner's to remove; by now it may be another one's again.
        unclaimed = [name for name in staged if not claimed_id(name) and not any(of_set([name], b) for b in living)]
        return removed + _unlinked(directory, [name for name in unclaimed if name not in removed])


def _unlinked(directory: Path, names: list[str]) -> list[str]:
    removed = []
    for name in names:
        with suppress(OSError):  # gone, or not ours to remove
            os.unlink(directory / name)
            removed.append(name)
    return removed


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO | None]:
    """A claim whose owner is dead, locked against everybody else; None when the owner lives or has ended it."""
    with ExitStack() as held:
        try:
            # Whatever else has that name is nobody's claim: links are not followed, pipes not waited for.
            claim = held.enter_context(os.fdopen(open_regular(path, os.O_RDONLY), "rb"))
        except (OSError, StorageFault):
            yield None
            return
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield claim if same_file(claim.fileno(), path) else None


def _committing(claim: BinaryIO, backup_id: str) -> list[str]:
    """The files that a dead claim was committing: none unless its manifest had been written whole."""
    try:
        tables = json.loads(claim.read(_CLAIM_BYTES))["tables"]
        parts = [part for table in tables for part in (table, table.get("keys")) if part is not None]
        files = [part[kind] for part in parts for kind in ("file", "index")]
        files.append(script_name(backup_id))
        return [check_bare(name) for name in of_set(files, backup_id)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IntegrityFault):
        return []
