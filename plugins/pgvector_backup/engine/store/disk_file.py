"""A file that grows at its end and goes to disk past the page cache, its SHA-256 computed on the way.

Copying into the page cache is the dearest step of a backup: on a machine that is short of fresh pages it costs more
than all else that the client does, and it pushes out what the database has cached. So whole buffers are handed to the
disk as they are (``O_DIRECT``), by a thread of the file's own, while the next one is being filled. Where a file system
does not take that, they go through the cache as usual, and the kernel is told early to write them out.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pgvector_backup.engine.base import batch_scheduling as long_turns
from pgvector_backup.engine.store import modes, writeback

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_BUFFER_BYTES: Final = 2 << 20
"""Of each of a file's two buffers. A multiple of every disk's block; larger ones gain nothing."""

_DIRECT: Final = getattr(os, "O_DIRECT", 0)


class DiskFile:
    """A new file, open for writing; one thread at a time may call its methods, `close` excepted.

    :param path: where nothing must be yet
    :raises OSError: from every method; what the disk says of one write may be raised by a later one
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, modes.of_file())
        self._closing = threading.Lock()
        self._sha256 = hashlib.sha256()
        self._direct = False
        self._offset = 0
        # Anonymous memory begins at a page, as O_DIRECT wants it, and takes room only where it is touched.
        self._filling = mmap.mmap(-1, _BUFFER_BYTES)
        self._filled = 0
        self._spare: mmap.mmap | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._written: Future[None] | None = None

    def write(self, data: Buffer) -> None:
        """Append."""
        end = self._filled + len(data)
        if end < _BUFFER_BYTES:
            self._filling[self._filled : end] = data
            self._filled = end
            return
        view = memoryview(data)
        while view:
            taken = min(len(view), _BUFFER_BYTES - self._filled)
            self._filling[self._filled : self._filled + taken] = view[:taken]
            self._filled += taken
            view = view[taken:]
            if self._filled == _BUFFER_BYTES:
                self._hand_over()

    def sync(self) -> None:
        """Wait until every byte is on disk, and close."""
        self._wait()
        self._set_direct(False)  # what is left is no whole number of blocks
        self._put(self._filling, self._filled)
        os.fsync(self._descriptor)
        self.close()

    @property
    def sha256(self) -> str:
        """Of the file, once it is on disk."""
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Give up what is not written yet; any thread may call this, more than once."""
        with self._closing:
            if self._writer is not None:
                self._writer.shutdown()
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                del self._filling, self._spare  # a set may have many files
                os.close(descriptor)

    def _hand_over(self) -> None:
        self._wait()
        if self._writer is None:
            self._set_direct(True)
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="disk", initializer=long_turns.take)
            self._spare = mmap.mmap(-1, _BUFFER_BYTES)
        assert self._spare is not None
        self._written = self._writer.submit(self._put, self._filling, self._filled)
        self._filling, self._spare, self._filled = self._spare, self._filling, 0

    def _wait(self) -> None:
        """Until the spare buffer is free; after a failure that is never again."""
        if self._written is not None:
            self._written.result()
            self._written = None

    def _put(self, buffer: mmap.mmap, length: int) -> None:
        with memoryview(buffer) as whole, whole[:length] as part:
            self._sha256.update(part)
            self._write_all(part)
        if not self._direct:
            writeback.begin(self._descriptor, self._offset, length)
        self._offset += length

    def _write_all(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            try:
                with data[done:] as rest:
                    done += os.write(self._descriptor, rest)
            except OSError:
                if not self._direct:
                    raise
                # Refused only now, e.g. because the disk has larger blocks than a page: the other way will do, or
                # say what is the matter.
                self._set_direct(False)

    def _set_direct(self, wanted: bool) -> None:
        """Past the page cache or through it."""
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & ~_DIRECT
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | (_DIRECT if wanted else 0))
        except OSError:
            wanted = False  # a file system that has only the one way
        self._direct = wanted and bool(_DIRECT)
