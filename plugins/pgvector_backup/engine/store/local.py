"""A store on this machine's disk, or on a file system mounted on it."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pgvector_backup.engine.base.errors import (
    Conflict,
    IntegrityFault,
    NotFound,
    StorageFault,
    storage_translated,
)
from pgvector_backup.engine.store import modes, staging
from pgvector_backup.engine.store.file_locks import lock, open_regular
from pgvector_backup.engine.store.local_claim import LocalClaim
from pgvector_backup.engine.store.naming import STAGED
from pgvector_backup.engine.store.staging import StagedFile
from pgvector_backup.engine.store.store import Entry, Leases, Store
from pgvector_backup.engine.store.sweep import sweep

if TYPE_CHECKING:
    from typing_extensions import Buffer


def missing_root(root: Path) -> StorageFault:
    """The error for a backup root that is not there."""
    return StorageFault(
        f"{root}: the backup root does not exist; mount its volume, make the directory, or have a backup make it with "
        "--create-root (create_root in [pgvector_backup])"
    )


class LocalStore(Store):
    """A directory.

    :param path: where it is, or would be
    :param base: the backup root, which nothing may lead out of
    """

    def __init__(self, path: Path, base: Path | None = None) -> None:
        self.path = path
        self.shown = str(path)
        self._base = base or path

    def below(self, name: str) -> LocalStore:
        """See `Store`."""
        return LocalStore(self.path / name, self._base)

    def exists(self) -> bool:
        """See `Store`."""
        with storage_translated():
            if not self.path.is_dir():
                return False
            self._require_inside()
            return True

    def make(self) -> None:
        """See `Store`."""
        with storage_translated():
            if self.path.parent == self._base:
                self._base.mkdir(mode=modes.of_directory(), parents=True, exist_ok=True)
            try:
                self.path.mkdir(mode=modes.of_directory())
            except FileExistsError:
                if not self.path.is_dir():
                    raise StorageFault(f"{self.path} is not a directory; move it away") from None
            else:
                staging.fsync_directory(self.path.parent)
            self._require_inside()

    def entries(self) -> list[Entry]:
        """See `Store`; only regular files, links are not followed."""
        found = []
        with storage_translated(), suppress(FileNotFoundError), os.scandir(self.path) as listing:
            for one in listing:
                with suppress(FileNotFoundError):  # removed since it was listed
                    if one.is_file(follow_symlinks=False):
                        about = one.stat(follow_symlinks=False)
                        found.append(Entry(one.name, about.st_size, about.st_mtime))
        return found

    def directories(self) -> list[str]:
        """See `Store`."""
        with storage_translated(), suppress(FileNotFoundError), os.scandir(self.path) as entries:
            return [entry.name for entry in entries if _is_directory(entry)]
        return []

    def open(self, name: str) -> BinaryIO:
        """See `Store`; a symbolic link is not followed, a pipe not waited for."""
        with storage_translated():
            try:
                kind = os.lstat(self.path / name).st_mode
                if not stat.S_ISREG(kind):
                    raise IntegrityFault(f"{self.path / name} is not a regular file")
                descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                raise NotFound(f"{self.path / name} does not exist") from None
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # put in its place since
                os.close(descriptor)
                raise IntegrityFault(f"{self.path / name} is not a regular file")
            return io.BufferedReader(_File(descriptor, self.path / name))

    def put(self, name: str, content: bytes) -> None:
        """See `Store`."""
        with storage_translated():
            staging.replace(self.path, name, content)

    def writer(self, name: str, *, expected: int | None = None) -> StagedFile:
        """See `Store`; who publishes it makes the directory's fsync, which makes the name last."""
        with storage_translated():
            return StagedFile(self.path, name)

    def delete(self, name: str) -> None:
        """See `Store`."""
        with storage_translated(), suppress(FileNotFoundError):
            os.unlink(self.path / name)
            staging.fsync_directory(self.path)

    def require_space(self, needed: int) -> None:
        """See `Store`."""
        free = self.free_bytes()
        if needed > free:
            raise StorageFault(
                f"{self.path}: the backup needs about {needed:,} bytes and {free:,} are free; "
                "free some, or move backup_root"
            )

    def free_bytes(self) -> int:
        """See `Store`; of the file system in which the directory is, or would be made."""
        with storage_translated():
            there = next(path for path in (self.path, *self.path.parents) if path.is_dir())
            return shutil.disk_usage(there).free

    def require_writable(self) -> None:
        """See `Store`."""
        there = self.path
        while not there.exists() and there != there.parent:
            there = there.parent
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise StorageFault(f"{there}: not a directory that this process may write to")

    def leases(self) -> LocalLeases:
        """See `Store`."""
        return LocalLeases(self)

    def _require_inside(self) -> None:
        if not self.path.resolve().is_relative_to(self._base.resolve()):
            raise NotFound(f"{self.path} leads outside the backup root {self._base}; replace the link")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or leads to one; of a link that leads in a circle, or where nobody may look, it is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class LocalLeases(Leases):
    """Locks of the operating system: they die with the process that holds them."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def attempt(self, backup_id: str, *, again: bool = False) -> LocalClaim | None:
        """See `Leases`."""
        with storage_translated():
            return LocalClaim.attempt(self._store.path, backup_id, again=again)

    def sweep(self) -> list[str]:
        """See `Leases`."""
        with storage_translated():
            return sweep(self._store.path)

    @contextmanager
    def shared(self, manifest: str) -> Iterator[None]:
        """See `Leases`."""
        with self._locked(manifest, fcntl.LOCK_SH, "it is being removed"):
            yield

    @contextmanager
    def exclusive(self, manifest: str) -> Iterator[None]:
        """See `Leases`."""
        with self._locked(
            manifest, fcntl.LOCK_EX, "a restore, a verify or a truncate is reading it; wait for it to end"
        ):
            yield

    def retire(self, manifest: str) -> str:
        """See `Leases`; the manifest, which lists the set's files, becomes a claim like that of a run which died."""
        claim = manifest + STAGED
        with storage_translated():
            os.rename(self._store.path / manifest, self._store.path / claim)
            staging.fsync_directory(self._store.path)
        return claim

    def let_go(self, claim: str) -> None:
        """See `Leases`; its lock ends with that of the manifest which it was."""

    def append(self, name: str, section: bytes) -> None:
        """See `Leases`."""
        path = self._store.path / name
        with storage_translated():
            descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, modes.of_file())
        with storage_translated(), os.fdopen(descriptor, "ab") as file:
            lock(descriptor, path)
            file.write(section)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self, manifest: str, kind: int, taken: str) -> Iterator[None]:
        with self._store.open(manifest) as file:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"set {manifest} is in use: {taken}") from None
            yield


class _File(io.FileIO):
    """A file whose errors are the storage's, in the middle of a read too."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor)
        self._path = path

    def readinto(self, buffer: Buffer, /) -> int:
        with self._translated():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._translated():
            return super().readall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with storage_translated():
            try:
                yield
            except OSError as fault:
                raise OSError(fault.errno, fault.strerror, os.fspath(self._path)) from fault
