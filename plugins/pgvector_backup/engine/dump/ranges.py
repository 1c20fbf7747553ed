"""What of a table one statement reads: its pages cut into ranges, how much they hold, and the header before them.

A table's heap is cut into ranges of pages. What has no heap to cut is one range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.postgres.tables import Heap, Table
from pgvector_backup.engine.sets.blocks import Gatherer

_LEAST_RANGE_BYTES: Final = 8 << 20
_MOST_RANGE_BYTES: Final = 64 << 20
_SHARE: Final = 4
"""Output of a range: this part of what each connection has left to read, within those bounds.

Large at first, for a range begins with a round trip to the server and with an empty line; small at the end, so that the
last one holds nobody up. Source: guided self-scheduling, Polychronopoulos and Kuck, 1987.
"""

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
        sample = _measure(conn, query_of(table, kind.format, None, limit=100), kind)
        if table.planned_rows is None:
            return Estimate(None, None, None)
        return sample.times(table.planned_rows / max(sample.rows, 1))
    filled = sorted((heap for heap in table.heaps if heap.pages), key=lambda heap: -heap.pages)
    pages, total = 0, _Sample(0, 0, 0)
    for heap in filled[:_SAMPLED_HEAPS]:
        for page in sorted({heap.pages * part // _SAMPLED_PAGES for part in range(_SAMPLED_PAGES)}):
            total += _measure(conn, query_of(table, kind.format, PageRange(heap, page, page + 1)), kind)
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
    with conn.cursor().copy(query_of(table, chosen, None, limit=0, with_header=True)) as copy:
        return b"".join(bytes(part) for part in copy)


def cutter(conn: Connection[Any], table: Table, *, jobs: int) -> Callable[[Estimate], Iterator[PageRange]]:
    """What divides a table into ranges that cover every page once, in the order of the heap.

    The ranges come as they are asked for; the connection is not needed for that any more.

    :param jobs: how many connections will read them
    :return: given what the rows that are read will come to, the ranges
    """
    heaps = table.heaps if _can_cut(conn) else ()

    def cut(expected: Estimate) -> Iterator[PageRange]:
        return _cut_heaps(heaps, expected.bytes or 1, jobs) if heaps else iter([PageRange(None)])

    return cut


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


def _can_cut(conn: Connection[Any]) -> bool:
    return conn.info.server_version >= _TID_RANGE_SCANS


def _measure(conn: Connection[Any], query: sql.Composed, kind: FileKind) -> _Sample:
    sample = _Sample(0, 0, 0)
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        for block in Gatherer().blocks(kind.format.copied(copy), kind, fingerprint.best()):
            sample += _Sample(block.rows, block.unpacked, len(block.stored))
    return sample


def query_of(
    table: Table,
    chosen: Format,
    pages: PageRange | None,
    *,
    rows: sql.Composable | None = None,
    limit: int | None = None,
    with_header: bool = False,
) -> sql.Composed:
    """``COPY (SELECT …) TO STDOUT`` for some pages, or for the first rows.

    :param rows: the condition that they fulfil; None: all of them
    """
    source = table.source
    conditions: list[sql.Composable] = [] if rows is None else [rows]
    if pages is not None and pages.heap is not None:
        source = sql.SQL("ONLY {}").format(pages.heap.identifier)
        conditions.append(sql.SQL("ctid >= '({},0)'").format(sql.SQL(str(int(pages.first)))))
        if pages.end is not None:
            conditions.append(sql.SQL("ctid < '({},0)'").format(sql.SQL(str(int(pages.end)))))
    condition = sql.SQL(" AND ").join(conditions)
    if conditions:
        condition = sql.SQL(" WHERE ") + condition
    if limit is not None:
        condition += sql.SQL(" LIMIT {}").format(limit)
    return sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT ({})").format(
        table.column_list, source, condition, sql.SQL(chosen.file_options if with_header else chosen.options)
    )
