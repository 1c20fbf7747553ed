"""A location that fsspec reaches by URL, such as a bucket.

Files are staged on the worker's own disk and uploaded when all of them are whole; an object appears under its name
only when its upload has ended, so names never show half a file. The manifest is uploaded last.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fsspec

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError, InvalidParams, NotFound, StorageFault, storage_translated
from pgvector_backup.engine.store.location import Entry, Location
from pgvector_backup.engine.store.naming import LOG_FILE, STAGED, check_bare, claimed_id, manifest_name, of_set
from pgvector_backup.engine.store.staging import Claim

_DEAD_AFTER: Final = timedelta(days=2)
"""Age at which a claim counts as left over: no lock tells whether the process that made it still lives."""


class ObjectLocation(Location):
    """A directory-like prefix of an object store."""

    def __init__(self, root: str, task_id: str | None, directory_name: str, *, create: bool = True) -> None:
        super().__init__(task_id, directory_name)
        shown = _without_login(root)
        with _translated(shown):
            self._fs, base = _file_system(root)
            parts = [part for part in (task_id, directory_name) if part is not None]
            self._path = posixpath.join(base, *parts)
            self.directory = "/".join([shown.rstrip("/"), *parts])
            if task_id is not None and not self._fs.isdir(posixpath.join(base, task_id)):
                raise NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id=task_id))
            if create:
                self._fs.makedirs(self._path, exist_ok=True)
            elif not self._fs.isdir(self._path):
                raise NotFound(f"no backups in {self.relative_path}: {self.directory} does not exist")

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

    def entries(self) -> list[Entry]:
        """See `Location`."""
        with _translated(self.directory):
            self._fs.invalidate_cache()
            return [
                Entry(posixpath.basename(one["name"]), one["size"], _seconds(one))
                for one in self._fs.ls(self._path, detail=True)
                if one["type"] == "file"
            ]

    def write(self, name: str, content: bytes) -> None:
        """See `Location`; an object appears whole by its nature."""
        check_bare(name)
        with _translated(self.directory):
            self._fs.pipe_file(self._at(name), content)

    def remove(self, name: str) -> None:
        """See `Location`."""
        check_bare(name)
        with _translated(self.directory), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    @contextmanager
    def kept(self, manifest: str) -> Iterator[None]:
        """See `Location`; a store has no locks: whoever removes a set that is being read breaks that reading."""
        yield

    @contextmanager
    def seized(self, manifest: str) -> Iterator[None]:
        """See `Location` and `kept`."""
        yield

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
        with storage_translated():
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


def subdirectories(root: str) -> list[str]:
    """Names of what lies directly below a root and holds more."""
    with _translated(_without_login(root)):
        fs, base = _file_system(root)
        try:
            fs.invalidate_cache()
            return [posixpath.basename(one["name"].rstrip("/")) for one in fs.ls(base) if one["type"] == "directory"]
        except FileNotFoundError:
            return []


def _file_system(root: str) -> tuple[Any, str]:
    try:
        fs, base = fsspec.core.url_to_fs(root)
    except (ValueError, ImportError) as fault:
        # No such protocol, or the package for it is not installed: another try changes neither.
        raise InvalidParams(f"backup_root: {_without_login(root)}: {fault}") from None
    return fs, base


def _seconds(listed: Mapping[str, Any]) -> float:
    """When an object was written, if its store's listing says so: the key's name is each store's own."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = listed.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0


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
