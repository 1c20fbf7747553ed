"""A store that fsspec reaches by URL, such as an SFTP server: files are staged on the worker's disk, then sent whole.

fsspec promises no conditional writes, so one run at a time makes sets in one place.
"""

from __future__ import annotations

import io
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, BinaryIO

import fsspec

from pgvector_backup.engine.base.errors import (
    IntegrityFault,
    InvalidParams,
    NotFound,
    StorageFault,
)
from pgvector_backup.engine.store.fsspec_upload import StagedUpload, translated
from pgvector_backup.engine.store.leases import RemoteLeases
from pgvector_backup.engine.store.remote import SMALL_BYTES, RemoteStore, Upload, Version
from pgvector_backup.engine.store.store import Entry
from pgvector_backup.engine.store.urls import without_login

if TYPE_CHECKING:
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
        with translated(shown):
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
        with translated(self.shown):
            self._fs.invalidate_cache()
            return bool(self._fs.isdir(self._path))

    def make(self) -> None:
        """See `Store`."""
        with translated(self.shown):
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
        with translated(self.shown):
            try:
                size = int(self._fs.info(self._at(name))["size"])
                file = self._fs.open(self._at(name), "rb")
            except FileNotFoundError:
                raise NotFound(f"{self.shown}/{name} does not exist") from None
        return io.BufferedReader(_Reader(file, f"{self.shown}/{name}", size))

    def put(self, name: str, content: bytes) -> None:
        """See `Store`."""
        with translated(self.shown):
            self._fs.pipe_file(self._at(name), content)

    def writer(self, name: str, *, expected: int | None = None) -> StagedUpload:
        """See `Store`."""
        return StagedUpload(self._fs, self._at(name), f"{self.shown}/{name}")

    def delete(self, name: str) -> None:
        """See `Store`."""
        with translated(self.shown), suppress(FileNotFoundError):
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
        with translated(self.shown):
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(self._at(name))
            except FileNotFoundError:
                return None
            return Entry(name, info["size"] or 0, _seconds(info))

    def read(self, name: str, *, limit: int = SMALL_BYTES) -> tuple[bytes, Version]:
        """See `RemoteStore`."""
        with translated(self.shown):
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
        with translated(self.shown):
            self._fs.invalidate_cache()
            try:
                return [one for one in self._fs.ls(self._path, detail=True) if isinstance(one, Mapping)]
            except FileNotFoundError:
                return []

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name)


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
        with translated(self._shown):
            data = self._file.read(len(view))
            if not data and len(view) and self._file.tell() < self._size:
                raise StorageFault(f"{self._shown}: it ended at byte {self._file.tell():,} of {self._size:,}")
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with translated(self._shown):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            with translated(self._shown):
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
