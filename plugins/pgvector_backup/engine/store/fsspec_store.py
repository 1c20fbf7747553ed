"""A store that fsspec reaches by URL, such as an SFTP server: files are staged on the worker's disk, then sent whole.

fsspec promises no conditional writes, so one run at a time makes sets in one place.
"""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import fsspec

from pgvector_backup.engine.base.errors import (
    BackupError,
    IntegrityFault,
    InvalidParams,
    NotFound,
    StorageFault,
    storage_translated,
)
from pgvector_backup.engine.store.disk_file import DiskFile
from pgvector_backup.engine.store.leases import RemoteLeases
from pgvector_backup.engine.store.remote import SMALL_BYTES, RemoteStore, Upload, Version
from pgvector_backup.engine.store.store import Entry, Writer
from pgvector_backup.engine.store.urls import without_login

if TYPE_CHECKING:
    from psycopg.abc import Buffer
    from typing_extensions import Buffer as AnyBuffer


class FsspecStore(RemoteStore):
    """A directory of one of fsspec's file systems.

    :param fs: the file system
    :param path: in there
    :param shown: see `Store`
    """

    def __init__(self, fs: Any, path: str, shown: str) -> None:
        self._fs = fs
        self._path = path
        self.shown = shown

    @classmethod
    def at(cls, url: str) -> FsspecStore:
        """The directory that a URL names.

        :raises InvalidParams: when there is no such protocol, or its package is not installed
        """
        shown = without_login(url).rstrip("/")
        with _translated(shown):
            try:
                fs, path = fsspec.core.url_to_fs(url)
            except (ValueError, ImportError) as fault:
                # Another try changes neither.
                raise InvalidParams(f"backup_root: {shown}: {fault}") from None
        return cls(fs, path, shown)

    def below(self, name: str) -> FsspecStore:
        """See `Store`."""
        return FsspecStore(self._fs, self._at(name), f"{self.shown}/{name}")

    def exists(self) -> bool:
        """See `Store`."""
        with _translated(self.shown):
            self._fs.invalidate_cache()
            return bool(self._fs.isdir(self._path))

    def make(self) -> None:
        """See `Store`."""
        with _translated(self.shown):
            self._fs.makedirs(self._path, exist_ok=True)

    def entries(self) -> list[Entry]:
        """See `Store`."""
        return [
            Entry(posixpath.basename(one["name"]), one["size"] or 0, _seconds(one))
            for one in self._listed()
            if one["type"] == "file"
        ]

    def directories(self) -> list[str]:
        """See `Store`."""
        return [posixpath.basename(one["name"].rstrip("/")) for one in self._listed() if one["type"] == "directory"]

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        with _translated(self.shown):
            try:
                size = int(self._fs.info(self._at(name))["size"])
                file = self._fs.open(self._at(name), "rb")
            except FileNotFoundError:
                raise NotFound(f"{self.shown}/{name} does not exist") from None
        return io.BufferedReader(_Reader(file, f"{self.shown}/{name}", size))

    def put(self, name: str, content: bytes) -> None:
        """See `Store`."""
        with _translated(self.shown):
            self._fs.pipe_file(self._at(name), content)

    def writer(self, name: str, *, expected: int | None = None) -> StagedUpload:
        """See `Store`."""
        return StagedUpload(self._fs, self._at(name), f"{self.shown}/{name}")

    def delete(self, name: str) -> None:
        """See `Store`."""
        with _translated(self.shown), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def require_space(self, needed: int) -> None:
        """See `Store`; what has to suffice is the worker's temporary directory."""
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if needed > free:
            raise StorageFault(
                f"{tempfile.gettempdir()}: the backup needs about {needed:,} bytes on its way to {self.shown} and "
                f"{free:,} are free; free some, or set TMPDIR"
            )

    def free_bytes(self) -> None:
        """See `Store`; fsspec does not tell."""

    def require_writable(self) -> None:
        """See `Store`."""
        self.directories()

    def leases(self) -> RemoteLeases:
        """See `Store`."""
        return RemoteLeases(self)

    def is_conditional(self) -> bool:
        """See `RemoteStore`; what fsspec calls an exclusive creation is a look and then a write."""
        return False

    def entry(self, name: str) -> Entry | None:
        """See `RemoteStore`."""
        with _translated(self.shown):
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(self._at(name))
            except FileNotFoundError:
                return None
            return Entry(name, info["size"] or 0, _seconds(info))

    def read(self, name: str, *, limit: int = SMALL_BYTES) -> tuple[bytes, Version]:
        """See `RemoteStore`."""
        with _translated(self.shown):
            try:
                size = self._fs.info(self._at(name))["size"] or 0
                if size > limit:
                    raise IntegrityFault(f"{self.shown}/{name}: {size:,} bytes are too many for what it is")
                return self._fs.cat_file(self._at(name)), ""
            except FileNotFoundError:
                raise NotFound(f"{self.shown}/{name} does not exist") from None

    def create(self, name: str, content: bytes) -> Version | None:
        """See `RemoteStore`."""
        if self.entry(name) is not None:
            return None
        self.put(name, content)
        return ""

    def replace(self, name: str, content: bytes, version: Version) -> Version | None:
        """See `RemoteStore`."""
        self.put(name, content)
        return ""

    def unfinished(self) -> list[Upload]:
        """See `RemoteStore`; what is sent whole leaves none."""
        return []

    def abort(self, upload: Upload) -> None:
        """See `RemoteStore`."""

    def _listed(self) -> list[Mapping[str, Any]]:
        with _translated(self.shown):
            self._fs.invalidate_cache()
            try:
                return [one for one in self._fs.ls(self._path, detail=True) if isinstance(one, Mapping)]
            except FileNotFoundError:
                return []

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name)


class StagedUpload(Writer):
    """A file that grows in a temporary directory of the worker and is sent when it is published."""

    def __init__(self, fs: Any, target: str, shown: str) -> None:
        self.name = posixpath.basename(target)
        self._fs = fs
        self._target = target
        self._shown = shown
        self._sent = False
        with storage_translated():
            self._spool = Path(tempfile.mkdtemp(prefix="pgvector_backup-"))
            self._path = self._spool / "file"
            self._file = DiskFile(self._path)

    def write(self, data: Buffer) -> None:
        """See `Writer`."""
        with storage_translated():
            self._file.write(data)

    def sync(self) -> None:
        """See `Writer`; what is handed over lies on the worker's disk until it is published."""
        with storage_translated():
            self._file.sync()

    @property
    def sha256(self) -> str:
        """See `Writer`."""
        return self._file.sha256

    def publish(self) -> None:
        """See `Writer`."""
        if self.published:
            return
        self._sent = True
        with _translated(self._shown):
            self._fs.put_file(os.fspath(self._path), self._target)
            self._fs.invalidate_cache()
            arrived, sent = self._fs.size(self._target), self._path.stat().st_size
        if arrived != sent:
            raise StorageFault(f"{self._shown}: {arrived} of {sent} bytes arrived")
        self.published = True
        shutil.rmtree(self._spool, ignore_errors=True)

    def discard(self) -> None:
        """See `Writer`."""
        self._file.close()
        shutil.rmtree(self._spool, ignore_errors=True)
        if self._sent:
            with _translated(self._shown), suppress(FileNotFoundError):
                self._fs.rm_file(self._target)


class _Reader(io.RawIOBase):
    """A file of fsspec's whose errors are the storage's, in the middle of a read too."""

    def __init__(self, file: Any, shown: str, size: int) -> None:
        super().__init__()
        self._file = file
        self._shown = shown
        self._size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: AnyBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with _translated(self._shown):
            data = self._file.read(len(view))
            if not data and len(view) and self._file.tell() < self._size:
                raise StorageFault(f"{self._shown}: it ended at byte {self._file.tell():,} of {self._size:,}")
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with _translated(self._shown):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            with _translated(self._shown):
                self._file.close()


def _seconds(listed: Mapping[str, Any]) -> float:
    """When a file was written, if its store's listing says so: the key's name is each store's own."""
    for key in ("mtime", "LastModified", "last_modified", "modified", "updated", "created"):
        value = listed.get(key)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Each store has errors of its own; all of them are the storage's."""
    try:
        yield
    except BackupError:
        raise
    except Exception as fault:
        raise StorageFault(f"{where}: {type(fault).__name__}: {fault}") from fault
