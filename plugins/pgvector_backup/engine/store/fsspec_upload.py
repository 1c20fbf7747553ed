"""A file that lies on the worker's disk until it is published, and is sent whole then; and what fsspec's errors are."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgvector_backup.engine.base.errors import BackupError, StorageFault, storage_translated
from pgvector_backup.engine.store.disk_file import DiskFile
from pgvector_backup.engine.store.writer import Writer

if TYPE_CHECKING:
    from psycopg.abc import Buffer


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
        with translated(self._shown):
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
            with translated(self._shown), suppress(FileNotFoundError):
                self._fs.rm_file(self._target)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Each store has errors of its own; all of them are the storage's."""
    try:
        yield
    except BackupError:
        raise
    except Exception as fault:
        raise StorageFault(f"{where}: {type(fault).__name__}: {fault}") from fault
