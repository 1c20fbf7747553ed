"""What runs agree on in a store without locks, by leases that are objects; see `lease_objects` and `remote_claim`.

A reader's and a remover's lease are objects of their own beside the manifest, each written before the others are looked
for: of two that come at once at least one sees the other, on any store whose listing tells what was written before.
"""

from __future__ import annotations

import json
import logging
import random
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pgvector_backup.engine.base.cancel import pause
from pgvector_backup.engine.base.errors import BackupError, Conflict, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.store import liveness
from pgvector_backup.engine.store.lease_objects import TAKEN_OVER, Renewal, clock, lives, take_over
from pgvector_backup.engine.store.naming import (
    LEASE,
    STAGED,
    claimed_id,
    committed_id,
    is_ours,
    is_staged,
    manifest_name,
    of_set,
)
from pgvector_backup.engine.store.remote import RemoteStore
from pgvector_backup.engine.store.remote_claim import RemoteClaim
from pgvector_backup.engine.store.store import Entry, Leases

_log: Final = logging.getLogger(__name__)

_MANIFEST_BYTES: Final = 16 << 20
"""Of a manifest that is read; a longer one is none."""

_APPEND_FOR: Final = 60.0
"""Seconds that adding to the log is tried while others add to it too."""


class RemoteLeases(Leases):
    """See the module."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def attempt(self, backup_id: str, *, again: bool = False) -> RemoteClaim | None:
        """See `Leases`."""
        return RemoteClaim.attempt(self._store, backup_id, again=again)

    def sweep(self) -> list[str]:
        """See `Leases`; of a claim found dead the run that made it is locked out first."""
        # Uploads are listed before the claims: an upload's claim is always the older one.
        uploads = [upload for upload in self._store.unfinished() if is_ours(upload.name)]
        entries = {entry.name: entry for entry in self._store.entries()}
        if not uploads and not any(name.endswith(STAGED) for name in entries):
            return []
        now = clock(self._store)
        removed: list[str] = []
        leases = [_lease(entry) for entry in entries.values() if LEASE.fullmatch(entry.name)]
        claims = {name: backup_id for name in entries if (backup_id := claimed_id(name))}
        living = []
        for name, backup_id in claims.items():
            makers = [lease for lease, of, kind in leases if kind == "maker" and of == manifest_name(backup_id)]
            held = any(lives(self._store, lease, now) for lease in makers or [entries[name]])
            if held or (not makers and not self._taken_over(name)):
                living.append(backup_id)
            else:
                removed += self._removed_with(name, backup_id, list(entries))
        for lease, _, _ in leases:
            if lease.name not in removed and not lives(self._store, lease, now):
                removed += self._removed(lease.name)
        for name, entry in entries.items():
            # What is staged here without a claim: a clock that its run had no time to remove.
            if is_staged(name) and not claimed_id(name) and not LEASE.fullmatch(name) and name not in removed:
                removed += [] if lives(self._store, entry, now) else self._removed(name)
        for upload in uploads:
            if not any(of_set([upload.name], backup_id) for backup_id in living):
                try:
                    self._store.abort(upload)
                except StorageFault as fault:  # it costs money, and nothing else
                    _log.warning("an unfinished upload of %s cannot be given up: %s", upload.name, fault.message)
                else:
                    removed.append(upload.name)
        return removed

    @contextmanager
    def shared(self, manifest: str) -> Iterator[None]:
        """See `Leases`; who may only read here reads without a lease, and the log says so."""
        with self._held(manifest, "reader", ("remover",), "it is being removed", needed=False):
            yield

    @contextmanager
    def exclusive(self, manifest: str) -> Iterator[None]:
        """See `Leases`."""
        taken = "a restore, a verify or a truncate is reading it; wait for it to end"
        with self._held(manifest, "remover", ("reader", "remover"), taken):
            yield

    def retire(self, manifest: str) -> str:
        """See `Leases`; the claim is there before the manifest goes, and is dead when this process is."""
        claim = manifest + STAGED
        token = "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
        self._store.put(claim, liveness.signature(token, 0))
        self._store.delete(manifest)
        return claim

    def let_go(self, claim: str) -> None:
        """See `Leases`."""
        self._store.put(claim, TAKEN_OVER + b": null}")

    def append(self, name: str, section: bytes) -> None:
        """See `Leases`; stores cannot append, so the file is written anew, over the very content that was read."""
        until = time.monotonic() + _APPEND_FOR
        while not (self._append if self._store.is_conditional() else self._append_alone)(name, section):
            if time.monotonic() > until:
                raise StorageFault(f"{self._store.shown}/{name}: others have been writing it for a minute; run again")
            pause(random.uniform(0.01, 0.5))  # noqa: S311 (so that the others find a gap)

    def _append(self, name: str, section: bytes) -> bool:
        try:
            before, version = self._store.read(name)
        except NotFound:
            return self._store.create(name, section) is not None
        return self._store.replace(name, before + section, version) is not None

    def _append_alone(self, name: str, section: bytes) -> bool:
        try:
            with self._held(name, "writer", ("writer",), "it is being written", exists=False):
                before = b""
                with suppress(NotFound):
                    before, _ = self._store.read(name)
                self._store.put(name, before + section)
        except Conflict:
            return False
        return True

    @contextmanager
    def _held(
        self, of: str, kind: str, against: tuple[str, ...], taken: str, *, needed: bool = True, exists: bool = True
    ) -> Iterator[None]:
        """Hold a lease while the block runs.

        :param against: kinds of others' leases that it does not go together with
        :param needed: False: without the right to write, the block runs all the same
        :param exists: whether what it is of must be there
        """
        token = "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
        own = f"{of}.{token}.{kind}{STAGED}"
        if exists and self._store.entry(of) is None:
            raise NotFound(f"{self._store.shown}/{of} does not exist")

        def renew(beat: int) -> bool:
            self._store.put(own, liveness.signature(token, beat))
            return True

        try:
            renew(0)
        except StorageFault as fault:
            if needed:
                raise
            _log.warning("%s is read without a lease, so a removal would not wait for it: %s", of, fault.message)
            yield
            return
        renewal = Renewal(renew)
        try:
            if self._others(of, own, against):
                raise Conflict(f"set {of} is in use: {taken}")
            if exists and self._store.entry(of) is None:
                raise NotFound(f"{self._store.shown}/{of} does not exist")
            yield
        finally:
            renewal.end()
            with suppress(BackupError):  # left to the next sweep
                self._store.delete(own)

    def _others(self, of: str, own: str, kinds: tuple[str, ...]) -> bool:
        entries = {entry.name: entry for entry in self._store.entries()}
        if own not in entries:
            raise StorageFault(f"{self._store.shown}: the store does not list what was just written to it; run again")
        return any(
            match["kind"] in kinds and lives(self._store, entry, entries[own].modified)
            for entry in entries.values()
            if entry.name != own and (match := LEASE.fullmatch(entry.name)) and match["of"] == of
        )

    def _taken_over(self, claim: str) -> bool:
        """Lock out the run that made a claim; False: it has just shown itself alive."""
        if not self._store.is_conditional():
            return True
        # Its own words, so that of two that sweep at once one takes it over.
        taken_over = TAKEN_OVER + f': "{secrets.token_hex(8)}"}}'.encode()
        try:
            return take_over(self._store, claim, taken_over) is not None
        except IntegrityFault:  # nobody of us waits to commit by that
            return True

    def _removed_with(self, claim: str, backup_id: str, names: list[str]) -> list[str]:
        """Remove a dead claim and what it claims; of a set that was committed, the claim alone."""
        orphans = [name for name in of_set(names, backup_id) if name != claim]
        if self._is_committed(backup_id):
            orphans = [name for name in orphans if LEASE.fullmatch(name)]
        # Nothing of a set may be there without its claim: that goes last. The manifest, not whole, goes first.
        orphans.sort(key=lambda name: committed_id(name) is None)
        return [gone for name in [*orphans, claim] for gone in self._removed(name)]

    def _is_committed(self, backup_id: str) -> bool:
        try:
            content, _ = self._store.read(manifest_name(backup_id), limit=_MANIFEST_BYTES)
            return isinstance(json.loads(content), dict)
        except (NotFound, IntegrityFault, ValueError, RecursionError):
            return False

    def _removed(self, name: str) -> list[str]:
        self._store.delete(name)
        return [name]


def _lease(entry: Entry) -> tuple[Entry, str, str]:
    match = LEASE.fullmatch(entry.name)
    assert match is not None
    return entry, match["of"], match["kind"]
