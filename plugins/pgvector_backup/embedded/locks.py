"""A directory that one process at a time may use."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


class DirectoryInUseError(Exception):
    """Another process holds the directory."""


def lock_directory(directory: Path, *, seconds: float) -> int:
    """Lock a directory; the keeper of a killed owner may need some seconds to let go of it.

    :return: a file descriptor; closing it ends the lock
    :raises DirectoryInUseError: nobody let go of it within ``seconds``
    """
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise DirectoryInUseError(f"{directory} is in use by another process") from None
            time.sleep(0.1)
        else:
            return lock
