"""What a drill may take of time and disk, and who ends it when it takes more."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault

_log: Final = logging.getLogger(__name__)

ROOM: Final = 2.5
"""Disk that rows take in a server, with indexes and write-ahead log, over their size in a file."""

_MEBIBYTE: Final = 1 << 20
_SPARE_BYTES: Final = 1 << 30
"""Disk that a drill of next to nothing may take all the same: a server of its own alone is 100 MB of it."""

_LEAST_SECONDS: Final = 3600
_LEAST_PACE: Final = 1 << 20
"""Bytes a second, below which a drill is taken to have got nowhere."""

_LOOK_SECONDS: Final = 0.5
_CANCEL_SECONDS: Final = 10.0
"""How long a server may go on after its query was cancelled."""


@dataclass(frozen=True)
class Limits:
    """What one drill may take.

    :param room: bytes of disk that it needs, more or less
    :param disk: bytes of disk beyond which it is ended
    :param seconds: time beyond which it is ended
    :param process_bytes: memory that each process of an embedded server may map
    """

    room: int
    disk: int
    seconds: float
    process_bytes: int

    @classmethod
    def of(cls, size: int, *, disk_mb: int, seconds: float, memory_mb: int) -> Limits:
        """The limits for a set.

        :param size: bytes of its rows before compression
        :param disk_mb: mebibytes of disk; 0: as much as rows of that size can need
        :param seconds: 0: as long as rows of that size can take
        :param memory_mb: mebibytes that each process may map
        """
        room = round(size * ROOM)
        return cls(
            room=room,
            disk=disk_mb * _MEBIBYTE or room * 2 + _SPARE_BYTES,
            seconds=seconds or _LEAST_SECONDS + size / _LEAST_PACE,
            process_bytes=memory_mb * _MEBIBYTE,
        )


@contextmanager
def watched(limits: Limits, cancel: Cancel, *, taken: Callable[[], int], end: Callable[[], None]) -> Iterator[None]:
    """End what happens in the block when it takes more than it may, or does not heed a cancel.

    :param taken: bytes of disk at this moment
    :param end: ends every query; called in a thread of its own
    :raises DatabaseFault: in place of whatever the block raises once it was ended
    """
    over = threading.Event()
    reason: list[str] = []

    def look() -> None:
        deadline = time.monotonic() + limits.seconds
        asked_at: float | None = None
        while not over.wait(_LOOK_SECONDS):
            if cancel.asked and asked_at is None:
                asked_at = time.monotonic()
            with suppress(Exception):  # what cannot be looked at now is looked at next time
                if time.monotonic() > deadline:
                    reason.append(f"it took longer than {limits.seconds:,.0f} s; set drill_timeout if it may")
                elif (bytes_taken := taken()) > limits.disk:
                    reason.append(
                        f"it took {bytes_taken:,} bytes of disk, and may take {limits.disk:,}; set drill_disk_mb if "
                        "that is what the set's definitions make of its rows"
                    )
                elif asked_at is not None and time.monotonic() > asked_at + _CANCEL_SECONDS:
                    reason.append("it was cancelled and did not end")
            if reason:
                _log.error("the drill is ended: %s", reason[0])
                with suppress(Exception):
                    end()
                return

    thread = threading.Thread(target=look, name="drill limits", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        if reason:
            cancel.check()
            raise DatabaseFault(f"the drill was ended: {reason[0]}", can_retry=False) from None
        raise
    finally:
        over.set()
        thread.join()


def bytes_below(directory: Path) -> int:
    """Bytes of disk that a directory's files take; what goes while it is looked at counts for nothing."""
    total = 0
    pending = [os.fspath(directory)]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
