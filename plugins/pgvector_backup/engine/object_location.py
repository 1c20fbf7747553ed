"""A location that fsspec reaches by URL, such as a bucket.

Files are staged on the worker's own disk and uploaded when all of them are whole; an object appears under its name
only when its upload has ended, so names never show half a file. The manifest is uploaded last.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fsspec

from pgvector_backup.engine import messages
from pgvector_backup.engine.errors import BackupError, InvalidParams, NotFound, StorageFault, translated
from pgvector_backup.engine.location import Location
from pgvector_backup.engine.naming import LOG_FILE, STAGED, check_bare, claimed_id, manifest_name, of_set
from pgvector_backup.engine.staging import Claim

_DEAD_AFTER: Final = timedelta(days=2)
"""Age at which a claim counts as left over: no lock tells whether the process that made it still lives."""


class ObjectLocation(Location):
    """A directory-like prefix of an object store."""

    def __init__(self, root: str, task_id: str | None, directory_name: str) -> None:
        shown = _without_login(root)
        with _translated(shown):
            try:
                self._fs, base = fsspec.core.url_to_fs(root)
            except (ValueError, ImportError) as fault:
                # No such protocol, or the package for it is not installed: another try changes neither.
                raise InvalidParams(f"backup_root: {shown}: {fault}") from None
            parts = [part for part in (task_id, directory_name) if part is not None]
            self._path = posixpath.join(base, *parts)
            self.directory = "/".join([shown.rstrip("/"), *parts])
            if task_id is not None and not self._fs.isdir(posixpath.join(base, task_id)):
                raise NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id=task_id))
            self._fs.makedirs(self._path, exist_ok=True)

    def require_space(self, needed: int) -> None:
        """See `Location`; what has to suffice is the worker's temporary directory."""
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if needed > free:
            raise StorageFault(
                f"{tempfile.gettempdir()}: the backup needs about {needed:,} bytes on its way to {self.directory} and "
                f"{free:,} are free; free some, or set TMPDIR"
            )

    def attempt(self, backup_id: str) -> Claim | None:
        """Reserve one id by an object that only one writer can create."""
        with _translated(self.directory):
            if of_set(self._names(), backup_id):
                return None
            try:
                self._fs.pipe_file(self._at(manifest_name(backup_id) + STAGED), b"", mode="create")
            except FileExistsError:
                return None
            return ObjectClaim(self._fs, self._path, backup_id)

    def sweep(self) -> list[str]:
        """See `Location`; a claim is taken for dead when it is two days old."""
        removed: list[str] = []
        with _translated(self.directory):
            names = self._names()
            for name in names:
                backup_id = claimed_id(name)
                if backup_id is None:
                    continue
                if datetime.now(timezone.utc) - _modified(self._fs, self._at(name)) < _DEAD_AFTER:
                    continue
                for orphan in [*(one for one in of_set(names, backup_id) if one != name), name]:
                    self._fs.rm_file(self._at(orphan))
                    removed.append(orphan)
        return removed

    def open(self, name: str) -> BinaryIO:
        """See `Location`."""
        check_bare(name)
        with _translated(self.directory):
            try:
                return cast("BinaryIO", self._fs.open(self._at(name), "rb"))
            except FileNotFoundError:
                raise NotFound(f"{self.directory}/{name} does not exist") from None

    def append_log(self, section: str) -> None:
        """See `Location`; stores cannot append, so the file is written anew."""
        with _translated(self.directory):
            path = self._at(LOG_FILE)
            before = self._fs.cat_file(path) if self._fs.exists(path) else b""
            self._fs.pipe_file(path, before + section.encode())

    def _names(self) -> list[str]:
        self._fs.invalidate_cache()
        return [posixpath.basename(path) for path in self._fs.ls(self._path, detail=False)]

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name)


class ObjectClaim(Claim):
    """A claim whose files are staged in a temporary directory of the worker."""

    def __init__(self, fs: Any, path: str, backup_id: str) -> None:
        with translated():
            spool = Path(tempfile.mkdtemp(prefix="pgvector_backup-"))
            staged = spool / (manifest_name(backup_id) + STAGED)
            super().__init__(spool, backup_id, _descriptor(staged))
        self._fs = fs
        self._path = path
        self._uploaded: list[str] = []

    def commit(self, manifest: bytes) -> None:
        """Upload the files, then the manifest; then give the claim back."""
        name = manifest_name(self.backup_id)
        try:
            with _translated(self._path):
                for staged in self._staged:
                    self._upload(staged.name, staged.path)
                self._uploaded.append(name)
                self._fs.pipe_file(posixpath.join(self._path, name), manifest)
        except BaseException:
            self.discard()
            raise
        self._uploaded.clear()
        self.discard()

    def discard(self) -> None:
        """Leave nothing of the set, neither here nor there, but what was committed."""
        for name in [*reversed(self._uploaded), manifest_name(self.backup_id) + STAGED]:
            with suppress(Exception):
                self._fs.rm_file(posixpath.join(self._path, name))
        self._uploaded.clear()
        super().discard()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _upload(self, name: str, source: Path) -> None:
        target = posixpath.join(self._path, name)
        self._uploaded.append(name)
        self._fs.put_file(str(source), target)
        arrived, sent = self._fs.size(target), source.stat().st_size
        if arrived != sent:
            raise StorageFault(f"{target}: {arrived} of {sent} bytes arrived")


def _descriptor(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _without_login(url: str) -> str:
    """The URL as it may be shown: a user and a password before the host are left out."""
    scheme, rest = url.split("://", 1)
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _modified(fs: Any, path: str) -> datetime:
    when = fs.modified(path)
    return cast("datetime", when if when.tzinfo else when.replace(tzinfo=timezone.utc))


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Each store has errors of its own; all of them are the storage's."""
    try:
        yield
    except BackupError:
        raise
    except Exception as fault:
        raise StorageFault(f"{where}: {type(fault).__name__}: {fault}") from fault
