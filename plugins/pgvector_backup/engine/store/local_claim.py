"""A set in the making in a directory: claimed by an id, committed by renames.

The manifest's rename is the commit point. The claim is the manifest's own ``.tmp``, held by a lock that dies with its
process, so that whoever comes later can tell a running backup from a killed one.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from pgvector_backup.engine.base.errors import storage_translated
from pgvector_backup.engine.store import modes
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.file_locks import alone, lock, open_regular, same_file
from pgvector_backup.engine.store.naming import STAGED, check_bare, manifest_name, of_set
from pgvector_backup.engine.store.staging import StagedFile, fsync_directory, write_all
from pgvector_backup.engine.store.writer import AdoptedFile, Writer


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
        with alone(directory):
            while True:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, modes.of_file())
                except FileExistsError:
                    return cls._taken_over(directory, backup_id) if again else None
                claim = cls(directory, backup_id, descriptor)
                try:
                    lock(descriptor, path)
                    if same_file(descriptor, path):
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
        if not same_file(descriptor, path):
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
            write_all(self._descriptor, manifest)
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
