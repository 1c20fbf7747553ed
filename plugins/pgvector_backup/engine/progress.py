"""How far one table is, told every so many rows."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

_MEGABYTE: Final = 1_000_000


class Progress:
    """Counts what the connections report and writes a line every ``every`` rows.

    :param label: the table's name
    :param expected_rows: an estimate, None when there is none
    :param every: rows between two lines
    """

    def __init__(self, log: logging.Logger, label: str, expected_rows: int | None, every: int) -> None:
        self._log = log
        self._label = label
        self._expected = expected_rows
        self._every = every
        self._lock = threading.Lock()
        self._rows = 0
        self._bytes = 0
        self._next = every
        self._started: float | None = None

    def start(self) -> None:
        """Begin to count time; the first call counts."""
        with self._lock:
            if self._started is None:
                self._started = time.monotonic()

    def advance(self, rows: int, size: int) -> None:
        """Report rows and bytes more."""
        with self._lock:
            self._rows += rows
            self._bytes += size
            if self._rows < self._next:
                return
            self._next = self._rows - self._rows % self._every + self._every
            line = self._line()
        self._log.info(line)

    @property
    def seconds(self) -> float:
        """Since the first row was asked for."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Megabytes (10**6) a second so far."""
        return self._bytes / _MEGABYTE / max(self.seconds, 1e-6)

    def _line(self) -> str:
        parts = [f"{self._label}: {self._rows:,} rows"]
        # An estimate that the rows have overtaken says nothing any more.
        share = self._rows / self._expected if self._expected and self._rows <= self._expected else None
        if share is not None:
            parts.append(f"{share:.0%} of about {self._expected:,}")
        parts.append(f"{self.rate:.1f} MB/s")
        if share is not None:
            parts.append(f"about {self.seconds * (1 - share) / share:.0f} s left")
        return ", ".join(parts)
