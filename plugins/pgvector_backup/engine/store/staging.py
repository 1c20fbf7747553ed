"""Files in the making on a local disk: under a staged name until they are on disk, then renamed.

A killed process leaves a staged name, which `sweep` knows for what it is, and never a part of a file under a final one.
"""

from __future__ import annotations

import os
import secrets
import string
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pgvector_backup.engine.store import modes
from pgvector_backup.engine.store.disk_file import DiskFile
from pgvector_backup.engine.store.naming import STAGED
from pgvector_backup.engine.store.writer import Writer

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_OWN_LETTERS: Final = 8
"""Of a staged file that belongs to no set."""


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
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Hand all of it to the disk, which may take a part at a time."""
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
