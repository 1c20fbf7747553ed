"""A limit on how fast rows are read, out of kindness to the source."""

from __future__ import annotations

import threading
import time

from pgvector_backup.engine.base.cancel import Cancel


class Throttle:
    """Lets ``megabytes`` (10**6 bytes) a second through, all connections together; None lets everything through."""

    def __init__(self, megabytes: float | None, cancel: Cancel) -> None:
        self._seconds_a_byte = 0.0 if megabytes is None else 1 / (megabytes * 1_000_000)
        self._cancel = cancel
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, size: int) -> None:
        """Wait until ``size`` bytes more may pass.

        The wait falls between two reads of a connection: the server notices a full socket, and pauses.
        """
        if not self._seconds_a_byte:
            return
        with self._lock:
            now = time.monotonic()
            # Time not used is not saved up: the limit holds over every second.
            begin = max(self._free_at, now)
            self._free_at = begin + size * self._seconds_a_byte
        self._cancel.wait(begin - now)
