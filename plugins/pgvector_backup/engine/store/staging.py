"""A set in the making: claimed by an id, staged as ``.tmp`` files, committed by renames, or swept.

The manifest's rename is the commit point. The claim is the manifest's own ``.tmp``, held by a lock that dies with its
process, so that whoever comes later can tell a running backup from a killed one.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import string
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from pgvector_backup.engine.base.errors import IntegrityFault, StorageFault, storage_translated
from pgvector_backup.engine.store import modes
from pgvector_backup.engine.store.disk_file import DiskFile
from pgvector_backup.engine.store.file_locks import lock, open_regular
from pgvector_backup.engine.store.naming import (
    STAGED,
    check_bare,
    claimed_id,
    is_staged,
    manifest_name,
    of_set,
    script_name,
)
from pgvector_backup.engine.store.store import AdoptedFile, Claim, Writer

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_CLAIM_BYTES: Final = 16 << 20
"""Of a claim that is read: a whole manifest, and no more of what somebody may have put in its place."""

_OWN_LETTERS: Final = 8
"""Of a staged file that belongs to no set."""


class LocalClaim(Claim):
    """A claim in a directory; see `Claim`."""

    def __init__(self, directory: Path, backup_id: str, descriptor: int) -> None:
        self.backup_id = backup_id
        self._directory = directory
        self._descriptor = descriptor
        self._staged: list[Writer] = []
        self._ended = False
        self._announced: bytes | None = None

    @classmethod
    def attempt(cls, directory: Path, backup_id: str, *, again: bool = False) -> LocalClaim | None:
        """Reserve one id; None when it is taken by a running backup or by any finished file.

        :param again: see `Leases.attempt`
        """
        path = directory / (manifest_name(backup_id) + STAGED)
        with _alone(directory):
            while True:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, modes.of_file())
                except FileExistsError:
                    return cls._taken_over(directory, backup_id) if again else None
                claim = cls(directory, backup_id, descriptor)
                try:
                    lock(descriptor, path)
                    if _same_file(descriptor, path):
                        others = [name for name in of_set(os.listdir(directory), backup_id) if name != path.name]
                        if not (manifest_name(backup_id) in others if again else others):
                            return claim
                        claim.discard()
                        return None
                except BaseException:
                    claim.discard()
                    raise
                # Swept between the open and the lock, by a run that took it for a dead one's: where a directory
                # cannot be locked.
                os.close(descriptor)

    @classmethod
    def _taken_over(cls, directory: Path, backup_id: str) -> LocalClaim | None:
        """The claim of a run that died; None where it lives, or nobody's claim is in its place."""
        path = directory / (manifest_name(backup_id) + STAGED)
        if os.path.lexists(directory / manifest_name(backup_id)):
            return None
        try:
            descriptor = open_regular(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not _same_file(descriptor, path):
            os.close(descriptor)
            return None
        claim = cls(directory, backup_id, descriptor)
        claim.resumed = True
        return claim

    def stage_file(self, name: str, *, expected: int | None = None) -> StagedFile:
        """See `Claim`; a disk takes any size as it comes."""
        with storage_translated():
            staged = StagedFile(self._directory, check_bare(name))
        self._staged.append(staged)
        return staged

    def adopt(self, name: str) -> None:
        """See `Claim`."""

        def delete(gone: str) -> None:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / gone)

        self._staged.append(AdoptedFile(check_bare(name), delete))

    def announce(self, manifest: bytes) -> None:
        """See `Claim`."""
        with storage_translated():
            self._tell(manifest)
            fsync_directory(self._directory)

    def _tell(self, manifest: bytes) -> None:
        if self._announced != manifest:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.ftruncate(self._descriptor, 0)
            _write_all(self._descriptor, manifest)
            os.fsync(self._descriptor)
            self._announced = manifest

    def commit(self, manifest: bytes) -> None:
        """Make the set exist: its files take their final names, then the manifest does.

        The manifest is on disk before the first rename, so that a sweep after a kill knows what it would
        have committed.
        """
        path = self._directory / manifest_name(self.backup_id)
        try:
            with storage_translated():
                self._tell(manifest)
                for staged in self._staged:
                    staged.publish()
                fsync_directory(self._directory)
                os.rename(f"{path}{STAGED}", path)
                fsync_directory(self._directory)
                os.close(self._descriptor)
            self._ended = True
        except BaseException:
            self._ended = False
            with suppress(OSError):
                os.unlink(path)
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of a set that was not committed; once only, for the id may be another run's by then.

        The claim goes last, for it tells others to keep away. What cannot be removed keeps it, so that the next
        sweep finds all of it.
        """
        if self._ended:
            return
        self._ended = True
        with suppress(OSError):
            for staged in self._staged:
                staged.discard()
            with suppress(FileNotFoundError):
                os.unlink(self._directory / (manifest_name(self.backup_id) + STAGED))
        with suppress(OSError):
            os.close(self._descriptor)

    def abandon(self) -> None:
        """See `Claim`; what is not published goes."""
        if self._ended:
            return
        self._ended = True
        with suppress(OSError):
            for staged in self._staged:
                if not staged.published:
                    staged.discard()
        with suppress(OSError):
            os.close(self._descriptor)

    def drop(self, *files: Writer) -> None:
        """Take files out of the set and off the disk, e.g. those of a table that failed."""
        for staged in files:
            self._staged.remove(staged)
            with suppress(OSError):  # left to the next sweep
                staged.discard()


class StagedFile(Writer):
    """A file that is being written, under ``name`` plus ``.tmp`` until the set is committed."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._final = directory / name
        self._tmp = directory / (name + STAGED)
        self._file = DiskFile(self._tmp)

    def write(self, data: Buffer) -> None:
        """Append; the caller sees to it that one thread does so at a time."""
        self._file.write(data)

    def sync(self) -> None:
        """Wait until every byte is on disk, and close."""
        self._file.sync()

    @property
    def sha256(self) -> str:
        """Of the file, once it is on disk."""
        return self._file.sha256

    def publish(self) -> None:
        """Take the final name. The directory's fsync, which makes it last, is the claim's to call."""
        if not self.published:
            os.rename(self._tmp, self._final)
            self.published = True

    def discard(self) -> None:
        """Remove the file under whichever name it has."""
        self._file.close()
        for path in (self._tmp, self._final):
            with suppress(FileNotFoundError):
                os.unlink(path)


def replace(directory: Path, name: str, content: bytes) -> None:
    """Write a small file whole or not at all, in place of an earlier one of that name."""
    for last in (False, False, True):
        # A name that no other writer has, and that a sweep knows for what it is, should this process be killed.
        own = "".join(secrets.choice(string.ascii_lowercase) for _ in range(_OWN_LETTERS))
        staged = directory / f"{name}.{own}{STAGED}"
        try:
            _write_synced(staged, content)
            os.rename(staged, directory / name)
        except BaseException as fault:
            with suppress(OSError):
                os.unlink(staged)
            # A backup that began here meanwhile has swept it: nobody's claim is on it.
            if last or not isinstance(fault, FileNotFoundError):
                raise
        else:
            fsync_directory(directory)
            return


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, modes.of_file())
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> list[str]:
    """Remove what killed runs have left: staged files, and finished ones that no manifest tells of.

    :return: the names removed
    """
    with _alone(directory):
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


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Nobody else claims an id here meanwhile, or sweeps.

    Otherwise what was listed under one claim could be removed under the next one of the same id. Some file systems
    lock no directories (NFS); there the chance of that remains, and whom it meets fails and can be tried again.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            lock(descriptor, directory)
        yield
    finally:
        with suppress(OSError):  # nothing was written to it
            os.close(descriptor)


def _unlinked(directory: Path, names: list[str]) -> list[str]:
    removed = []
    for name in names:
        with suppress(OSError):  # gone, or not ours to remove
            os.unlink(directory / name)
            removed.append(name)
    return removed


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_directory(path: Path) -> None:
    """Make the names in a directory last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


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
        yield claim if _same_file(claim.fileno(), path) else None


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
