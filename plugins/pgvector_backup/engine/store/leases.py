"""Leases by objects, for stores that have no locks: whoever makes or reads a set keeps an object fresh.

A claim is the object ``manifest_ID.json.tmp``, made by a conditional write and renewed by one, so that a run whose
claim was taken over cannot commit. A reader's and a remover's lease are objects of their own beside the manifest, each
written before the others are looked for: of two that come at once at least one sees the other, on any store whose
listing tells what was written before. Where a store writes unconditionally, runs keep out of each other's way by such
leases too. What was not renewed for `DEAD_AFTER` seconds, by the store's own clock, is dead.
"""

from __future__ import annotations

import json
import logging
import random
import secrets
import string
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

from pgvector_backup.engine.base.errors import BackupError, Conflict, NotFound, StorageFault
from pgvector_backup.engine.store import liveness
from pgvector_backup.engine.store.naming import (
    LEASE,
    STAGED,
    claimed_id,
    committed_id,
    data_file_name,
    is_ours,
    is_staged,
    manifest_name,
    of_set,
)
from pgvector_backup.engine.store.remote import RemoteStore, Version
from pgvector_backup.engine.store.store import Claim, Entry, Leases, Writer

_log: Final = logging.getLogger(__name__)

BEAT: Final = 20.0
"""Seconds between two renewals of a lease."""

DEAD_AFTER: Final = 180.0
"""Seconds without a renewal after which a lease is nobody's."""

_TAKEN_OVER: Final = b'{"taken_over": true}'
_PUBLISHED_AT_ONCE: Final = 8
_APPEND_FOR: Final = 60.0
"""Seconds that adding to the log is tried while others add to it too."""


class Renewal:
    """Renews a lease every `BEAT` seconds in a thread of its own, until it is ended or lost."""

    def __init__(self, renew: Callable[[int], bool]) -> None:
        self._renew = renew
        self._ended = threading.Event()
        self._renewing = threading.Lock()
        self._beats = 0
        self._last = time.monotonic()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Renew it now.

        :raises StorageFault: when it has been taken over by a run that found it dead, or the store does not answer
        """
        with self._renewing:
            if not self._lost:
                self._beats += 1
                self._lost = not self._renew(self._beats)
            if self._lost:
                raise StorageFault(
                    "the store was out of reach for so long that another run took this one for dead and removed what "
                    "it had written; run again"
                )
            self._last = time.monotonic()

    def require_fresh(self) -> None:
        """Refuse to go on where the last renewal is so long ago that others may soon take the lease for dead."""
        if time.monotonic() - self._last > DEAD_AFTER / 2:
            self.renew()

    def end(self) -> bool:
        """Stop; nothing is renewed after this returns.

        :return: whether the lease is still one's own, as far as is known
        """
        self._ended.set()
        with self._renewing:
            own, self._lost = not self._lost, True
        return own

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.renew()
            except BackupError as fault:
                if self._lost:
                    return
                _log.warning("a lease could not be renewed, it is tried again: %s", fault.message)


class RemoteLeases(Leases):
    """See the module."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def attempt(self, backup_id: str) -> RemoteClaim | None:
        """See `Leases`."""
        return RemoteClaim.attempt(self._store, backup_id)

    def sweep(self) -> list[str]:
        """See `Leases`; of a claim found dead the run that made it is locked out first."""
        # Uploads are listed before the claims: an upload's claim is always the older one.
        uploads = [upload for upload in self._store.unfinished() if is_ours(upload.name)]
        entries = {entry.name: entry for entry in self._store.entries()}
        if not uploads and not any(name.endswith(STAGED) for name in entries):
            return []
        now = self._clock()
        removed: list[str] = []
        leases = [_lease(entry) for entry in entries.values() if LEASE.fullmatch(entry.name)]
        claims = {name: backup_id for name in entries if (backup_id := claimed_id(name))}
        living = []
        for name, backup_id in claims.items():
            makers = [lease for lease, of, kind in leases if kind == "maker" and of == manifest_name(backup_id)]
            held = any(self._lives(lease, now) for lease in makers or [entries[name]])
            if held or (not makers and not self._taken_over(name)):
                living.append(backup_id)
            else:
                removed += self._removed_with(name, backup_id, list(entries))
        for lease, _, _ in leases:
            if lease.name not in removed and not self._lives(lease, now):
                removed += self._removed(lease.name)
        for name, entry in entries.items():
            # What is staged here without a claim: a clock that its run had no time to remove.
            if is_staged(name) and not claimed_id(name) and not LEASE.fullmatch(name) and name not in removed:
                removed += [] if self._lives(entry, now) else self._removed(name)
        for upload in uploads:
            if not any(of_set([upload.name], backup_id) for backup_id in living):
                self._store.abort(upload)
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

    def append(self, name: str, section: bytes) -> None:
        """See `Leases`; stores cannot append, so the file is written anew, over the very content that was read."""
        until = time.monotonic() + _APPEND_FOR
        while not (self._append if self._store.is_conditional() else self._append_alone)(name, section):
            if time.monotonic() > until:
                raise StorageFault(f"{self._store.shown}/{name}: others have been writing it for a minute; run again")
            time.sleep(random.uniform(0.01, 0.5))  # noqa: S311 (so that the others find a gap)

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
            match["kind"] in kinds and self._lives(entry, entries[own].modified)
            for entry in entries.values()
            if entry.name != own and (match := LEASE.fullmatch(entry.name)) and match["of"] == of
        )

    def _lives(self, lease: Entry, now: float) -> bool:
        """Whether somebody still renews it, as far as can be told."""
        if now - lease.modified > DEAD_AFTER:
            return False
        try:
            content, _ = self._store.read(lease.name)
        except NotFound:
            return False
        return content != _TAKEN_OVER and not liveness.is_known_dead(content)

    def _clock(self) -> float:
        """The store's time: what it says of an object written just now."""
        token = secrets.token_hex(8)
        name = f"clock_0{token}.json{STAGED}"
        self._store.put(name, liveness.signature(token, 0))
        try:
            entry = self._store.entry(name)
            return time.time() if entry is None or not entry.modified else entry.modified
        finally:
            with suppress(BackupError):
                self._store.delete(name)

    def _taken_over(self, claim: str) -> bool:
        """Lock out the run that made a claim; False: it has just shown itself alive."""
        if not self._store.is_conditional():
            return True
        try:
            content, version = self._store.read(claim)
        except NotFound:
            return False
        entry = self._store.entry(claim)
        if entry is None or (content != _TAKEN_OVER and self._lives(entry, self._clock())):
            return False
        return self._store.replace(claim, _TAKEN_OVER, version) is not None

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
            content, _ = self._store.read(manifest_name(backup_id))
            return isinstance(json.loads(content), dict)
        except (NotFound, ValueError, RecursionError):
            return False

    def _removed(self, name: str) -> list[str]:
        self._store.delete(name)
        return [name]


def _lease(entry: Entry) -> tuple[Entry, str, str]:
    match = LEASE.fullmatch(entry.name)
    assert match is not None
    return entry, match["of"], match["kind"]


class RemoteClaim(Claim):
    """A claim by an object; see the module."""

    def __init__(self, store: RemoteStore, backup_id: str, renewal: Renewal, *names: str) -> None:
        self.backup_id = backup_id
        self._store = store
        self._renewal = renewal
        self._names = names
        self._staged: list[Writer] = []
        self._ended = False

    @classmethod
    def attempt(cls, store: RemoteStore, backup_id: str) -> RemoteClaim | None:
        """Reserve one id; None when it is taken."""
        return (cls._conditionally if store.is_conditional() else cls._alone)(store, backup_id)

    @classmethod
    def _conditionally(cls, store: RemoteStore, backup_id: str) -> RemoteClaim | None:
        name, token = manifest_name(backup_id) + STAGED, secrets.token_hex(8)
        version = store.create(name, liveness.signature(token, 0))
        if version is None:
            return None
        held: list[Version] = [version]

        def renew(beat: int) -> bool:
            content = liveness.signature(token, beat)
            renewed = store.replace(name, content, held[0])
            if renewed is None:
                # An answer that got lost on its way, and the same write tried again?
                with suppress(NotFound):
                    there, renewed = store.read(name)
                    renewed = renewed if there == content else None
            if renewed is not None:
                held[0] = renewed
            return renewed is not None

        claim = cls(store, backup_id, Renewal(renew), name)
        return claim._unless_taken({name})

    @classmethod
    def _alone(cls, store: RemoteStore, backup_id: str) -> RemoteClaim | None:
        """Where a claim may be written over by another run's: one run at a time."""
        name = manifest_name(backup_id) + STAGED
        token = "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
        own = f"{manifest_name(backup_id)}.{token}.maker{STAGED}"
        store.put(own, liveness.signature(token, 0))

        def renew(beat: int) -> bool:
            if store.entry(own) is None:
                return False
            store.put(own, liveness.signature(token, beat))
            return True

        claim = cls(store, backup_id, Renewal(renew), own)
        try:
            now = {entry.name: entry for entry in store.entries()}
            leases = RemoteLeases(store)
            for other in now.values():
                match = LEASE.fullmatch(other.name)
                if match and match["kind"] == "maker" and other.name != own and leases._lives(other, now[own].modified):
                    raise Conflict(
                        f"{store.shown}: another backup is at work there, and this store cannot keep two apart "
                        "(it has no conditional writes); wait for the other one to end, then run again"
                    )
            if of_set([one for one in now if not LEASE.fullmatch(one)], backup_id):
                claim.discard()
                return None
            store.put(name, liveness.signature(token, 0))
        except BaseException:
            claim.discard()
            raise
        claim._names = (own, name)
        return claim

    def _unless_taken(self, own: set[str]) -> RemoteClaim | None:
        try:
            names = [entry.name for entry in self._store.entries()]
        except BaseException:
            self.discard()
            raise
        if set(of_set(names, self.backup_id)) - own:
            self.discard()
            return None
        return self

    def stage(self, label: str, suffix: str, *, expected: int | None = None) -> Writer:
        """See `Claim`."""
        staged = self._store.writer(data_file_name(label, self.backup_id, suffix), expected=expected)
        self._staged.append(staged)
        return staged

    def commit(self, manifest: bytes) -> None:
        """See `Claim`; the claim is renewed between the files and the manifest, which a run taken for dead cannot."""
        name = manifest_name(self.backup_id)
        uncertain = False
        try:
            self._renewal.renew()
            with ThreadPoolExecutor(_PUBLISHED_AT_ONCE, thread_name_prefix="publish") as pool:
                for published in [pool.submit(staged.publish) for staged in self._staged]:
                    published.result()
            self._renewal.renew()
            uncertain = True
            try:
                created = self._store.create(name, manifest)
            except StorageFault:
                # Whether it arrived is not known; it is asked for before anything is given up.
                if not self._has(name, manifest):
                    raise
            else:
                if created is None and not self._has(name, manifest):
                    raise Conflict(f"{self._store.shown}/{name} is there already; run again")
            self._renewal.require_fresh()
        except BaseException:
            if not uncertain or self._uncommitted(name, manifest):
                self.discard()
            else:
                # The set may be there, and whole. The next sweep decides, by its manifest.
                self._ended = True
                self._renewal.end()
            raise
        self._ended = True
        self._give_back()

    def discard(self) -> None:
        """See `Claim`; what cannot be removed keeps the claim, so that the next sweep finds all of it."""
        if self._ended:
            return
        self._ended = True
        try:
            for staged in self._staged:
                staged.discard()
        except BackupError:
            self._renewal.end()
        else:
            self._give_back()

    def drop(self, *files: Writer) -> None:
        """See `Claim`."""
        for staged in files:
            self._staged.remove(staged)
            with suppress(BackupError):  # left to the next sweep
                staged.discard()

    def _has(self, name: str, content: bytes) -> bool:
        try:
            there, _ = self._store.read(name)
        except (NotFound, StorageFault):
            return False
        return there == content

    def _uncommitted(self, name: str, manifest: bytes) -> bool:
        """Take the manifest back; whether it is known not to be there any more."""
        try:
            there, _ = self._store.read(name)
            if there == manifest:
                self._store.delete(name)
        except NotFound:
            return True
        except StorageFault:
            return False
        return True

    def _give_back(self) -> None:
        """The claim goes last, for it tells others to keep away. One that was taken over is another run's by now."""
        if self._renewal.end():
            for name in reversed(self._names):
                with suppress(BackupError):  # left to the next sweep
                    self._store.delete(name)
