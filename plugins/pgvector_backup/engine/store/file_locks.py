"""Locks of files that anybody may hold who can read them: waited for with a limit, never for ever."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pgvector_backup.engine.base.cancel import pause
from pgvector_backup.engine.base.errors import StorageFault

_WAIT_SECONDS: Final = 30.0
"""Nobody of ours holds such a lock for longer than it takes to list a directory or to write a section of a log."""

_POLL_SECONDS: Final = 0.05


def lock(descriptor: int, path: Path, *, seconds: float | None = None) -> None:
    """Lock a file for oneself.

    :param seconds: to wait for whoever holds it
    :raises StorageFault: when it was not let go of
    :raises Cancelled: when the run is asked to stop meanwhile, see `pause`
    :raises OSError: where a file system knows no such lock
    """
    deadline = time.monotonic() + (_WAIT_SECONDS if seconds is None else seconds)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageFault(
                    f"{path}: another process holds a lock on it and does not let go; find it with lsof or "
                    "/proc/locks, end it, run again"
                ) from None
            pause(_POLL_SECONDS)
        else:
            return


@contextmanager
def alone(directory: Path) -> Iterator[None]:
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


def same_file(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to the file that is open; after a wait for its lock it may not."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def open_regular(path: Path, flags: int, mode: int = 0) -> int:
    """Open a file without waiting, should it be a pipe or a device that somebody has put there.

    :raises StorageFault: when it is no regular file
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError:
        if _is_regular(path):
            raise
        raise StorageFault(f"{path} is not a regular file; remove it", can_retry=False) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageFault(f"{path} is not a regular file; remove it", can_retry=False)
    return descriptor


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return True  # it is not there, or nobody may know: the error says it
