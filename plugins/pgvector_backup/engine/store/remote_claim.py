"""A set in the making in a store without locks: claimed by an object that is kept fresh, committed by its manifest.

Where the store writes conditionally the claim is made and renewed so, and a run whose claim was taken over cannot
commit. Elsewhere one run at a time is at work in a place; see `lease_objects`.
"""

from __future__ import annotations

import secrets
import string
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from pgvector_backup.engine.base.errors import BackupError, Conflict, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.store import liveness
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.lease_objects import TAKEN_OVER, Renewal, lives, take_over
from pgvector_backup.engine.store.naming import LEASE, STAGED, check_bare, manifest_name, of_set
from pgvector_backup.engine.store.remote import RemoteStore, Version
from pgvector_backup.engine.store.writer import AdoptedFile, Writer

_PUBLISHED_AT_ONCE: Final = 8


class RemoteClaim(Claim):
    """A claim by an object; see the module."""

    def __init__(self, store: RemoteStore, backup_id: str, renewal: Renewal, *names: str) -> None:
        self.backup_id = backup_id
        self._store = store
        self._renewal = renewal
        self._names = names
        self._staged: list[Writer] = []
        self._hold: Hold | None = None
        self._ended = False

    @classmethod
    def attempt(cls, store: RemoteStore, backup_id: str, *, again: bool = False) -> RemoteClaim | None:
        """Reserve one id; None when it is taken.

        :param again: see `Leases.attempt`
        """
        claim = (cls._conditionally if store.is_conditional() else cls._alone)(store, backup_id, again=again)
        if claim is not None and claim.resumed:
            with suppress(BackupError):  # they cost money, and nothing else
                for upload in store.unfinished():
                    if of_set([upload.name], backup_id):
                        store.abort(upload)
        return claim

    @classmethod
    def _conditionally(cls, store: RemoteStore, backup_id: str, *, again: bool) -> RemoteClaim | None:
        name, token = manifest_name(backup_id) + STAGED, secrets.token_hex(8)
        version = store.create(name, liveness.signature(token, 0))
        resumed = version is None
        if version is None and again:
            version = take_over(store, name, liveness.signature(token, 0))
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
        claim.resumed = resumed
        return claim._unless_taken({name}, again=again)

    @classmethod
    def _alone(cls, store: RemoteStore, backup_id: str, *, again: bool) -> RemoteClaim | None:
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
            for other in now.values():
                match = LEASE.fullmatch(other.name)
                if match and match["kind"] == "maker" and other.name != own and lives(store, other, now[own].modified):
                    raise Conflict(
                        f"{store.shown}: another backup is at work there, and this store cannot keep two apart "
                        "(it has no conditional writes); wait for the other one to end, then run again",
                        can_retry=True,
                    )
            there = of_set([one for one in now if not LEASE.fullmatch(one)], backup_id)
            claim.resumed = again and name in there
            if manifest_name(backup_id) in there if again else there:
                claim.discard()
                return None
            store.put(name, liveness.signature(token, 0))
        except BaseException:
            claim.discard()
            raise
        claim._names = (own, name)
        return claim

    def _unless_taken(self, own: set[str], *, again: bool) -> RemoteClaim | None:
        try:
            names = [entry.name for entry in self._store.entries()]
        except BaseException:
            self.discard()
            raise
        if manifest_name(self.backup_id) in names if again else set(of_set(names, self.backup_id)) - own:
            self.discard()
            return None
        return self

    def stage_file(self, name: str, *, expected: int | None = None) -> Writer:
        """See `Claim`."""
        staged = self._store.writer(check_bare(name), expected=expected)
        self._staged.append(staged)
        return staged

    def adopt(self, name: str) -> None:
        """See `Claim`."""
        self._staged.append(AdoptedFile(check_bare(name), self._store.delete))

    def announce(self, manifest: bytes) -> None:
        """See `Claim`; here a sweep goes by the names."""

    def hold(self, hold: Hold) -> None:
        """See `Claim`; files are held before the manifest names them, and it before the claim is given back."""
        self._store.require_lock()
        self._hold = hold

    def abandon(self) -> None:
        """See `Claim`."""
        if self._ended:
            return
        self._ended = True
        with suppress(BackupError):  # then the next sweep gives its upload up
            for staged in self._staged:
                if not staged.published:
                    staged.discard()
        if self._renewal.end():
            with suppress(BackupError):  # then it is dead when nobody has renewed it for long enough
                for own in self._names[:-1]:
                    self._store.delete(own)
                self._store.put(self._names[-1], TAKEN_OVER + b": null}")

    def commit(self, manifest: bytes) -> None:
        """See `Claim`; the claim is renewed between the files and the manifest, which a run taken for dead cannot."""
        name = manifest_name(self.backup_id)
        uncertain = False
        try:
            self._renewal.renew()
            with ThreadPoolExecutor(_PUBLISHED_AT_ONCE, thread_name_prefix="publish") as pool:
                for published in [pool.submit(self._publish, staged) for staged in self._staged]:
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
            if self._hold is not None:
                self._store.hold(name, self._hold)
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

    def _publish(self, staged: Writer) -> None:
        staged.publish()
        if self._hold is not None:
            self._store.hold(staged.name, self._hold)

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
        except (NotFound, StorageFault, IntegrityFault):
            return False
        return there == content

    def _uncommitted(self, name: str, manifest: bytes) -> bool:
        """Take the manifest back; whether it is known not to be there any more."""
        try:
            there, _ = self._store.read(name)
            if there == manifest:
                self._store.delete(name)
        except (NotFound, IntegrityFault):  # not there, or another one's
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
