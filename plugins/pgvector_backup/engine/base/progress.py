"""How far the work is: a line in the log every so many rows, a report to whoever asked for one every second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

_log: Final = logging.getLogger(__name__)

_MEGABYTE: Final = 1_000_000

_EVERY_SECONDS: Final = 1.0

_LAST_WORD_SECONDS: Final = 5.0
"""How long the work waits, at its end, for a listener that does not answer."""

OnProgress = Callable[[Mapping[str, Any]], None]
"""Takes `report`'s mapping. Called from a thread of its own, one call at a time."""


class Progress:
    """Counts what the connections report and writes a line every ``every`` rows.

    :param label: the table's name
    :param expected_rows: an estimate, None when there is none
    :param every: rows between two lines
    :param expected_bytes: likewise
    """

    def __init__(
        self,
        log: logging.Logger,
        label: str,
        expected_rows: int | None,
        every: int,
        *,
        expected_bytes: int | None = None,
    ) -> None:
        self._log = log
        self.label = label
        self._expected = expected_rows
        self._expected_bytes = expected_bytes
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

    def to_json(self) -> dict[str, Any]:
        """How far this table is: rows, bytes before compression, what was expected of both."""
        with self._lock:
            return {
                "rows": self._rows,
                "bytes": self._bytes,
                "expected_rows": self._expected,
                "expected_bytes": self._expected_bytes,
                "share": _share(self._bytes, self._expected_bytes),
            }

    def _line(self) -> str:
        parts = [f"{self.label}: {self._rows:,} rows"]
        # An estimate that the rows have overtaken says nothing any more.
        share = self._rows / self._expected if self._expected and self._rows <= self._expected else None
        if share is not None:
            parts.append(f"{share:.0%} of about {self._expected:,}")
        parts.append(f"{self.rate:.1f} MB/s")
        if share is not None:
            parts.append(f"about {self.seconds * (1 - share) / share:.0f} s left")
        return ", ".join(parts)


def report(tables: Sequence[Progress]) -> dict[str, Any]:
    """How far all tables are together, as JSON.

    :return: ``rows``, ``bytes``, ``expected_rows``, ``expected_bytes``, ``share`` (0 to 1), ``seconds`` since the
        first row was asked for, ``seconds_left``, ``bytes_per_second``, and ``tables`` with the first five by
        label; None where nothing can be said
    """
    each = {table.label: table.to_json() for table in tables}
    total: dict[str, Any] = {name: sum(table[name] for table in each.values()) for name in ("rows", "bytes")}
    for name in ("expected_rows", "expected_bytes"):
        known = [table[name] for table in each.values() if table[name] is not None]
        total[name] = sum(known) if len(known) == len(each) else None
    share = _share(total["bytes"], total["expected_bytes"])
    seconds = max(table.seconds for table in tables)
    return {
        **total,
        "share": share,
        "seconds": round(seconds, 1),
        "seconds_left": round(seconds * (1 - share) / share, 1) if share else None,
        "bytes_per_second": round(total["bytes"] / max(seconds, 1e-6), 1),
        "tables": each,
    }


@contextmanager
def reporting(on_progress: OnProgress | None, *, every: float = _EVERY_SECONDS) -> Iterator[list[Progress]]:
    """Report about every second while the block lasts, and once more at its end, on what is put into the list.

    A report that cannot be delivered is the listener's loss: the work goes on, and no more are sent.
    """
    watched: list[Progress] = []
    if on_progress is None:
        yield watched
        return
    over = threading.Event()

    def tell() -> None:
        try:
            while True:
                ended = over.is_set()
                if tables := list(watched):
                    on_progress(report(tables))
                if ended:
                    return
                over.wait(every)
        except Exception as fault:
            _log.warning("progress is not reported any more: %s", type(fault).__name__)

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield watched
    finally:
        over.set()
        teller.join(_LAST_WORD_SECONDS)


def _share(done: int, expected: int | None) -> float | None:
    """From 0 to 1, where an estimate that has been overtaken stays."""
    return round(min(done / expected, 1.0), 4) if expected else None
