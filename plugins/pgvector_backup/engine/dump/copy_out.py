"""Rows to blocks to file: several connections read one snapshot, and their blocks are appended to the same files.

A table's heap is cut into ranges of pages; whichever connection is free takes the next range. What has no heap
to cut is one range. Each connection has a thread here; where there is much to read, all but the first one are in
processes of their own, for threads take turns at the interpreter, and a server whose reader is late stands still.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base import batch_scheduling as long_turns
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.base.throttle import Throttle
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.dump.reader import Reader
from pgvector_backup.engine.dump.readers import Readers
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.tables import Heap, Table
from pgvector_backup.engine.sets.blocks import BlockFile, FileFacts, Gatherer

_LEAST_RANGE_BYTES: Final = 8 << 20
_MOST_RANGE_BYTES: Final = 64 << 20
_SHARE: Final = 4
"""Output of a range: this part of what each connection has left to read, within those bounds.

Large at first, for a range begins with a round trip to the server and with an empty line; small at the end, so that the
last one holds nobody up. Source: guided self-scheduling, Polychronopoulos and Kuck, 1987.
"""

_WORTH_PROCESSES: Final = 512 << 20
"""Bytes below which the start of another interpreter, 0.2 s, costs more than it saves."""

_TID_RANGE_SCANS: Final = 140000
"""The first server version that reads a range of pages without reading the whole table."""

_SAMPLED_HEAPS: Final = 4
_SAMPLED_PAGES: Final = 8


@dataclass(frozen=True)
class Estimate:
    """What a table will come to; None where nothing can be said.

    :param bytes: before compression
    :param stored: on disk
    """

    rows: int | None
    bytes: int | None
    stored: int | None


@dataclass(frozen=True)
class PageRange:
    """Pages ``first`` up to but not including ``end`` of a heap; ``end`` None: all that follow.

    ``heap`` None: the whole of the table, which has nothing to cut.
    """

    heap: Heap | None
    first: int = 0
    end: int | None = None


def estimate(conn: Connection[Any], table: Table, kind: FileKind) -> Estimate:
    """Guess a table's rows and bytes from a few of its pages."""
    if not table.heaps or not _can_cut(conn):
        sample = _measure(conn, _query(table, kind.format, None, limit=100), kind)
        if table.planned_rows is None:
            return Estimate(None, None, None)
        return sample.times(table.planned_rows / max(sample.rows, 1))
    filled = sorted((heap for heap in table.heaps if heap.pages), key=lambda heap: -heap.pages)
    pages, total = 0, _Sample(0, 0, 0)
    for heap in filled[:_SAMPLED_HEAPS]:
        for page in sorted({heap.pages * part // _SAMPLED_PAGES for part in range(_SAMPLED_PAGES)}):
            total += _measure(conn, _query(table, kind.format, PageRange(heap, page, page + 1)), kind)
            pages += 1
    return total.times(sum(heap.pages for heap in filled) / max(pages, 1))


@dataclass(frozen=True)
class _Sample:
    rows: int
    bytes: int
    stored: int

    def __add__(self, other: _Sample) -> _Sample:
        return _Sample(self.rows + other.rows, self.bytes + other.bytes, self.stored + other.stored)

    def times(self, factor: float) -> Estimate:
        return Estimate(round(self.rows * factor), round(self.bytes * factor), round(self.stored * factor))


def header(conn: Connection[Any], table: Table, chosen: Format) -> bytes:
    """What comes before the first row; CSV's line of column names is quoted by the server itself."""
    if chosen.header is not None:
        return chosen.header
    with conn.cursor().copy(_query(table, chosen, None, limit=0, with_header=True)) as copy:
        return b"".join(bytes(part) for part in copy)


def cut(conn: Connection[Any], table: Table, expected: Estimate, *, jobs: int) -> Iterator[PageRange]:
    """Divide a table into ranges that cover every page once, in the order of the heap.

    The ranges come as they are asked for; the connection is not needed for that any more.

    :param jobs: how many connections will read them
    """
    if not table.heaps or not _can_cut(conn):
        return iter([PageRange(None)])
    return _cut_heaps(table.heaps, expected.bytes or 1, jobs)


def _cut_heaps(heaps: Sequence[Heap], expected_bytes: int, jobs: int) -> Iterator[PageRange]:
    left = sum(heap.pages for heap in heaps)
    pages_a_byte = left / max(expected_bytes, 1)
    least, most = _LEAST_RANGE_BYTES * pages_a_byte, _MOST_RANGE_BYTES * pages_a_byte
    for heap in heaps:
        first = 0
        while True:
            step = max(1, round(min(max(left / (_SHARE * jobs), least), most)))
            end = first + step
            if end >= heap.pages:
                break
            yield PageRange(heap, first, end)
            first, left = end, left - step
        # The last range has no end: a heap may have grown since its pages were counted.
        yield PageRange(heap, first, None)
        left -= heap.pages - first


@dataclass
class Stream:
    """One table on its way to its file.

    :param on_end: called once, when the file is finished or given up

    ``upcoming`` is the range that nobody has taken yet, None when all are; ``reading`` is how many connections are at
    one now. Ranges are cut as they are taken: a list of a terabyte's would be larger than all else in memory.
    """

    table: Table
    file: BlockFile
    ranges: Iterator[PageRange]
    expected_bytes: int | None
    progress: Progress
    on_end: Callable[[Stream], None]
    upcoming: PageRange | None = field(init=False)
    reading: int = 0
    failure: BackupError | None = None
    facts: FileFacts | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.upcoming = next(self.ranges, None)


def copy_out(
    readers: Readers, streams: Sequence[Stream], *, jobs: int, throttle: Throttle, finisher: Executor, cancel: Cancel
) -> None:
    """Read every stream's ranges over ``jobs`` connections; returns when the last row was read.

    A stream that fails is given up at once; the others go on. Each ends with ``facts`` or a ``failure``, once
    ``finisher`` has waited for the disk: nothing of that needs the snapshot any more.

    :raises Cancelled: when that was asked for
    """
    work = _Work(streams, finisher)
    apart = sum(stream.expected_bytes or 0 for stream in streams) >= _WORTH_PROCESSES
    with ThreadPoolExecutor(jobs, thread_name_prefix="copy", initializer=long_turns.take) as pool:
        # The first connection is at work while the other processes start.
        reading = [
            pool.submit(_read_all, readers, work, throttle, cancel, apart=apart and job > 0) for job in range(jobs)
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


def _read_all(readers: Readers, work: _Work, throttle: Throttle, cancel: Cancel, *, apart: bool) -> None:
    """One connection's part: take ranges until there are none; open another connection if this one breaks."""
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
                    query = _query(stream.table, readers.kind.format, pages)
                    _read(reader, query, stream, throttle=throttle, cancel=cancel)
            except _GivenUp:
                reader = None
            except BackupError as fault:
                reader, apart = None, False
                failure = fault
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


def _can_cut(conn: Connection[Any]) -> bool:
    return conn.info.server_version >= _TID_RANGE_SCANS


def _measure(conn: Connection[Any], query: sql.Composed, kind: FileKind) -> _Sample:
    sample = _Sample(0, 0, 0)
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        for block in Gatherer().blocks(kind.format.copied(copy), kind, fingerprint.best()):
            sample += _Sample(block.rows, block.unpacked, len(block.stored))
    return sample


def _query(
    table: Table, chosen: Format, pages: PageRange | None, *, limit: int | None = None, with_header: bool = False
) -> sql.Composed:
    """``COPY (SELECT …) TO STDOUT`` for some pages, or for the first rows."""
    source = table.source
    condition = sql.Composed([])
    if pages is not None and pages.heap is not None:
        source = sql.SQL("ONLY {}").format(pages.heap.identifier)
        condition = sql.SQL(" WHERE ctid >= '({},0)'").format(sql.SQL(str(int(pages.first))))
        if pages.end is not None:
            condition += sql.SQL(" AND ctid < '({},0)'").format(sql.SQL(str(int(pages.end))))
    if limit is not None:
        condition += sql.SQL(" LIMIT {}").format(limit)
    return sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT ({})").format(
        table.column_list, source, condition, sql.SQL("FORMAT csv, HEADER true" if with_header else chosen.options)
    )
