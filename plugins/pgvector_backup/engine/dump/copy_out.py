"""Rows to blocks to file: several connections read one snapshot, and their blocks are appended to the same files.

Whichever connection is free takes the next range of a table's pages, see `ranges`. Each connection has a thread here;
where there is much to read, all but the first one are in processes of their own, for threads take turns at the
interpreter, and a server whose reader is late stands still.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Final

from psycopg import sql

from pgvector_backup.engine.base import batch_scheduling as long_turns
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.base.throttle import Throttle
from pgvector_backup.engine.dump import no_text
from pgvector_backup.engine.dump.ranges import PageRange, query_of
from pgvector_backup.engine.dump.reader import Reader
from pgvector_backup.engine.dump.readers import Readers
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.sets.blocks import BlockFile, FileFacts

_WORTH_PROCESSES: Final = 512 << 20
"""Bytes below which the start of another interpreter, 0.2 s, costs more than it saves."""


@dataclass
class Stream:
    """One table on its way to its file.

    :param on_end: called once, when the file is finished or given up
    :param rows: the condition of the rows that it takes; None: all

    ``upcoming`` is the range that nobody has taken yet, None when all are; ``reading`` is how many connections are at
    one now. Ranges are cut as they are taken: a list of a terabyte's would be larger than all else in memory.
    """

    table: Table
    file: BlockFile
    ranges: Iterator[PageRange]
    expected_bytes: int | None
    progress: Progress
    on_end: Callable[[Stream], None]
    rows: sql.Composable | None = None
    upcoming: PageRange | None = field(init=False)
    reading: int = 0
    failure: BackupError | None = None
    facts: FileFacts | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.upcoming = next(self.ranges, None)


def copy_out(
    readers: Readers,
    streams: Sequence[Stream],
    *,
    jobs: int,
    throttle: Throttle,
    finisher: Executor,
    cancel: Cancel,
    first: Callable[[], None],
) -> None:
    """Read every stream's ranges over ``jobs`` connections; returns when the last row was read.

    A stream that fails is given up at once; the others go on. Each ends with ``facts`` or a ``failure``, once
    ``finisher`` has waited for the disk: nothing of that needs the snapshot any more.

    :param first: what one of the connections' threads does before it reads; it may use a connection meanwhile
    :raises Cancelled: when that was asked for
    """
    work = _Work(streams, finisher)
    apart = sum(stream.expected_bytes or 0 for stream in streams) >= _WORTH_PROCESSES
    with ThreadPoolExecutor(jobs, thread_name_prefix="copy", initializer=long_turns.take) as pool:
        # The first connection is at work while the other processes start.
        reading = [
            pool.submit(
                _read_all, readers, work, throttle, cancel, apart=apart and job > 0, first=None if job else first
            )
            for job in range(jobs)
        ]
        try:
            wait(reading)
        except BaseException:
            # Out of a signal handler, such as a time limit's: the readers must end before their files are closed.
            cancel.ask()
            raise
    for reader in reading:
        reader.result()
    cancel.check()


class _Work:
    """Hands out ranges, the streams in turn, and ends a stream when the last connection leaves it."""

    def __init__(self, streams: Sequence[Stream], finisher: Executor) -> None:
        self._streams = streams
        self._finisher = finisher
        self._lock = threading.Lock()

    def take(self) -> tuple[Stream, PageRange] | None:
        """The next range, of the first stream that has one; None when all are taken."""
        with self._lock:
            for stream in self._streams:
                if stream.upcoming is not None and stream.failure is None:
                    stream.reading += 1
                    taken, stream.upcoming = stream.upcoming, next(stream.ranges, None)
                    return stream, taken
        return None

    def done(self, stream: Stream, failure: BackupError | None = None) -> None:
        """A connection has left a range; the last one to leave the stream ends it."""
        with self._lock:
            stream.reading -= 1
            stream.failure = stream.failure or failure
            last = stream.reading == 0 and (stream.failure is not None or stream.upcoming is None)
        if last:
            self._finisher.submit(_end, stream)


def _end(stream: Stream) -> None:
    if stream.failure is None:
        try:
            with translated():
                stream.facts = stream.file.finish()
        except BackupError as fault:
            stream.failure = fault
    stream.seconds = stream.progress.seconds
    stream.on_end(stream)


def _read_all(
    readers: Readers,
    work: _Work,
    throttle: Throttle,
    cancel: Cancel,
    *,
    apart: bool,
    first: Callable[[], None] | None,
) -> None:
    """One connection's part: take ranges until there are none; open another connection if this one breaks."""
    if first is not None:
        first()
    with ExitStack() as held:
        reader: Reader | None = None
        while (taken := work.take()) is not None:
            stream, pages = taken
            failure: BackupError | None = None
            try:
                cancel.check()
                stream.progress.start()
                if reader is None:
                    reader = held.enter_context(readers.opened(apart=apart))
                with translated(table=stream.table.name.label):
                    query = query_of(stream.table, readers.kind.format, pages, rows=stream.rows)
                    _read(reader, query, stream, throttle=throttle, cancel=cancel)
            except _GivenUp:
                reader = None
            except BackupError as fault:
                reader, apart = None, False
                failure = no_text.named(readers.snapshot, stream.table, fault, cancel)
            except BaseException as fault:
                failure = DatabaseFault(f"{stream.table.name.label}: {fault!r}", can_retry=False)
                raise
            finally:
                work.done(stream, failure)
            if reader is None:
                # A transaction in which a COPY did not end cannot go on: the next range gets a new one.
                held.close()


class _GivenUp(Exception):
    """Another connection has failed in this stream: what is left of it is of no use."""


def _read(reader: Reader, query: sql.Composed, stream: Stream, *, throttle: Throttle, cancel: Cancel) -> None:
    with closing(reader.blocks(query)) as blocks:
        for block in blocks:
            throttle.spend(block.unpacked)
            cancel.check()
            if stream.failure is not None:
                raise _GivenUp
            stream.file.append(block)
            stream.progress.advance(block.rows, block.unpacked)
