"""A location: the one place that holds a task's backup sets, whatever store it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import BinaryIO, Final

from pgvector_backup.engine.base.errors import Conflict, InvalidParams
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.naming import LEASE, LOG_FILE, SAFE, check_bare, claimed_id, committed_id, of_set
from pgvector_backup.engine.store.store import Entry, Store

_LATEST_CLAIM: Final = 3600
"""Seconds that an id may lie after the clock before the search for a free one gives up."""


class Location:
    """The one place that holds a task's sets. To name it makes nothing; it is made by what writes to it first.

    :param directory: what users know it by: a path or URL
    :param task_id: whose it is; None for the root's own
    :param relative_path: the same below the backup root, e.g. ``task_1/vector_bak``
    """

    def __init__(self, store: Store, task_id: str | None, directory_name: str) -> None:
        self.store = store
        self.directory = store.shown
        self.task_id = task_id
        self.relative_path = directory_name if task_id is None else f"{task_id}/{directory_name}"
        self._leases = store.leases()

    def claim(self, now: datetime, timestamp_format: str) -> Claim:
        """Reserve the id of a new set: the time, or the next second that nobody has taken.

        :param now: with a time zone, the one that names are to be in
        :raises InvalidParams: when the format gives unsafe names, or the same one for two seconds
        :raises Conflict: see `Leases.attempt`
        """
        _check_format(now, timestamp_format)
        self.store.make()
        for later in range(_LATEST_CLAIM):
            backup_id = (now + timedelta(seconds=later)).strftime(timestamp_format)
            if claim := self._leases.attempt(backup_id):
                return claim
        raise Conflict(f"{self.directory}: no free backup id within an hour of {now.strftime(timestamp_format)}")

    def claim_again(self, backup_id: str) -> Claim | None:
        """Reserve one id for a copy of that set, with what an earlier try has left; None while somebody else is at it.

        Where the set itself is there, it is None too.
        """
        self.store.make()
        return self._leases.attempt(backup_id, again=True)

    def require_space(self, needed: int) -> None:
        """Refuse to begin what cannot end; what others may write meanwhile is not foreseen.

        :param needed: bytes
        :raises StorageFault: naming both figures
        """
        self.store.require_space(needed)

    def free_bytes(self) -> int | None:
        """Bytes that can still be stored; None where nobody can say."""
        return self.store.free_bytes()

    def sweep(self) -> list[str]:
        """Remove what killed runs have left here.

        :return: the names removed
        """
        return self._leases.sweep() if self.store.exists() else []

    def open(self, name: str) -> BinaryIO:
        """Open a set's file for reading.

        :raises NotFound: when it is not there
        :raises IntegrityFault: when it is no regular file, or its name would lead elsewhere
        """
        return self.store.open(check_bare(name))

    def entries(self) -> list[Entry]:
        """The files that lie here now, in no order; those of a set that is being committed are not among them.

        Neither are those whose names are no text (bytes that are no UTF-8, control characters): they are not ours.
        """
        found = [entry for entry in self.store.entries() if entry.name.isprintable()]
        names = {entry.name for entry in found}
        making = {claimed for name in names if (claimed := claimed_id(name)) is not None}
        making -= {committed for name in names if (committed := committed_id(name)) is not None}
        hidden = {name for backup_id in making for name in of_set(list(names), backup_id) if not claimed_id(name)}
        return [entry for entry in found if entry.name not in hidden and not LEASE.fullmatch(entry.name)]

    def write(self, name: str, content: bytes) -> None:
        """Write a small file that lies beside a set, whole or not at all; an earlier one of that name is replaced."""
        self.store.put(check_bare(name), content)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there counts as removed."""
        self.store.delete(check_bare(name))

    def require_lock(self) -> None:
        """See `Store.require_lock`."""
        self.store.require_lock()

    def hold(self, names: Sequence[str], hold: Hold) -> None:
        """Have the store hold files at least so long and so strictly.

        :raises StorageFault: when one of them is not held so afterwards
        """
        self.store.each(lambda name: self.store.hold(check_bare(name), hold), names)

    def held(self, names: Sequence[str]) -> Hold | None:
        """By what any of these files is held now, the longest of them; None: none of them is."""
        holds = [one for one in self.store.each(lambda name: self.store.held(check_bare(name)), names) if one]
        latest = datetime.max.replace(tzinfo=timezone.utc)
        return max(holds, key=lambda one: one.until or latest, default=None)

    def shared_lock(self, manifest: str) -> AbstractContextManager[None]:
        """Keep a set from being removed while it is read.

        :param manifest: name of its manifest
        :raises Conflict: while it is being removed
        """
        return self._leases.shared(check_bare(manifest))

    def exclusive_lock(self, manifest: str) -> AbstractContextManager[None]:
        """Have a set to oneself, to remove it.

        :raises Conflict: while somebody reads it
        """
        return self._leases.exclusive(check_bare(manifest))

    def retire(self, manifest: str) -> str:
        """See `Leases.retire`."""
        return self._leases.retire(check_bare(manifest))

    def let_go(self, claim: str) -> None:
        """See `Leases.let_go`."""
        self._leases.let_go(check_bare(claim))

    def append_log(self, section: str) -> None:
        """Add a run's section to the log file; sections stay whole, whoever else is adding theirs."""
        self.store.make()
        self._leases.append(LOG_FILE, section.encode())


def _check_format(now: datetime, timestamp_format: str) -> None:
    this = now.strftime(timestamp_format)
    # Within one minute: from :59 to :00 even minutes would tell them apart.
    first, second = (now.replace(second=second).strftime(timestamp_format) for second in (0, 1))
    if not SAFE.fullmatch(this) or first == second:
        raise InvalidParams(
            f"timestamp_format {timestamp_format!r} gives {this!r}: it must tell seconds apart, in letters, "
            "digits, - and _"
        )
