"""File to blocks to rows to table: one connection, one COPY, a fingerprint of what was read and of what was sent.

One connection, because a second gains nothing once the server has no text to parse: a binary COPY of 100,000 × 1,536
takes 4.2 s over one connection and 3.9 s over two. It also is what makes a restore one transaction, without staging
tables that a killed run would leave behind.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import Connection, Copy, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.codec.encoding import RowEncoder
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.codec.formats import BINARY, CSV, Format
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.postgres.session import on_own_path
from pgvector_backup.engine.sets.stored_file import Block

_log: Final = logging.getLogger(__name__)

_ENCODED_ROWS: Final = 16
"""Encoded and sent at once: few enough that the server is at work while the next ones are made."""

_MESSAGE_BYTES: Final = 1 << 16
"""Of one message to the server, which reads each to its end before it looks at the rows in it."""

_SAMPLED_ROWS: Final = 100
_CONVERTED: Final = sql.Identifier("pg_temp", "pgvector_backup_converted")

RowFilter = Callable[[Sequence[Field]], bool]
"""Whether a row is wanted."""

RowRepair = Callable[[int, "list[Field]"], "list[Field]"]
"""Puts the fields of a foreign tool's row right; told the row's first line in the file."""


@dataclass(frozen=True)
class Destination:
    """Where rows go.

    :param source: the table as it stands after FROM
    :param columns: of the file, in its order
    """

    table: sql.Composable
    source: sql.Composable
    columns: tuple[str, ...]

    @property
    def column_list(self) -> sql.Composable:
        """The columns for COPY and SELECT."""
        return sql.SQL(", ").join(sql.Identifier(name) for name in self.columns)


@dataclass
class Loaded:
    """What was read and sent: rows, and the sums of their fingerprint numbers.

    :param sent_as: the format in which rows were sent, and have to be read back to be compared
    :param parsed_here: whether text was parsed on this side
    :param proof: what ``sent_sum`` was made with
    """

    sent_as: Format
    parsed_here: bool
    proof: Algorithm
    rows_read: int = 0
    read_sum: int = 0
    rows_sent: int = 0
    sent_sum: int = 0


@dataclass
class Load:
    """One table's file on its way into a table.

    :param form: of the file
    :param encoder: makes binary rows of CSV; None: the server parses
    :param row_filter: rows that are wanted; None: all
    :param repair: puts rows of another tool right; None: they are as COPY wrote them
    :param algorithm: of the fingerprint of what is read
    :param proof: of the fingerprint of what is sent; the same as ``algorithm`` where rows are sent as they are
    """

    conn: Connection[Any]
    into: Destination
    form: Format
    blocks: Iterator[Block]
    encoder: RowEncoder | None
    row_filter: RowFilter | None
    repair: RowRepair | None
    algorithm: Algorithm
    proof: Algorithm
    progress: Progress
    cancel: Cancel
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _copy: Copy | None = field(default=None, init=False)

    def run(self) -> Loaded:
        """Send every row that is wanted; the server has taken them all when this returns."""
        first = next(self.blocks, None)
        if self.encoder is not None and first is not None and not self._agrees(first):
            _log.warning(
                "%s: the server reads the first rows otherwise, or may not be asked; it gets all of them as text",
                self.progress.label,
            )
            self.encoder = None
            self.proof = self.algorithm
        sent_as = BINARY if self.encoder is not None else self.form
        loaded = Loaded(sent_as, parsed_here=self.encoder is not None, proof=self.proof)
        self._form = sent_as
        self.progress.start()
        broken_off = False
        with self._stack:
            self._open()
            try:
                if first is not None:
                    self._send(first, loaded)
                    del first  # not to be held as long as the rest takes
                    for block in self.blocks:
                        self._send(block, loaded)
            except _BrokenOff:
                broken_off = True  # the COPY ends as if that were all, so that the server's own error comes out
            else:
                self._close()
        if broken_off:
            raise psycopg.OperationalError("the server has ended the COPY")
        return loaded

    def _send(self, block: Block, loaded: Loaded) -> None:
        self.cancel.check()
        if self.encoder is not None:
            rows = self._encoded(block, loaded)
        elif self.row_filter is None and self.repair is None:
            rows = self._as_they_are(block, loaded)
        else:
            rows = self._picked(block, loaded)
        if block.rows is not None and rows != block.rows:
            raise IntegrityFault(f"a block holds {rows:,} rows where its index lists {block.rows:,}")
        loaded.rows_read += rows
        self.progress.advance(rows, len(block.data))

    def _as_they_are(self, block: Block, loaded: Loaded) -> int:
        rows = total = 0
        number_of, wanted = self.algorithm.of_row, len(self.into.columns)
        for row, fields in self.form.rows(block.data):
            rows += 1
            total += number_of(row)
            _require(fields, wanted)
        loaded.read_sum += total
        loaded.sent_sum += total
        loaded.rows_sent += rows
        self._write(block.data)
        return rows

    def _picked(self, block: Block, loaded: Loaded) -> int:
        """Rows of which not all are wanted, or that have to be repaired; still for the server to parse."""
        rows, pending = 0, []
        line = block.first_line or 0
        for row, fields in self.form.rows(block.data):
            rows += 1
            _require(fields, len(self.into.columns))
            number = self.algorithm.of_row(row)
            loaded.read_sum += number
            outgoing = row
            if self.repair is not None:
                outgoing = CSV.row(self.repair(line, fields))
                line += row.count(b"\n")
                number = self.proof.of_row(outgoing)
            if self.row_filter is None or self.row_filter(fields):
                pending.append(outgoing)
                loaded.sent_sum += number
                loaded.rows_sent += 1
        self._write(b"".join(pending))
        return rows

    def _encoded(self, block: Block, loaded: Loaded) -> int:
        number_of, wanted = self.algorithm.of_row, len(self.into.columns)
        rows = read_sum = 0
        pending: list[tuple[bytes, list[Field]]] = []
        left: list[bytes] = []
        line = block.first_line or 0
        for row, fields in CSV.rows(block.data):
            rows += 1
            read_sum += number_of(row)
            _require(fields, wanted)
            if self.repair is not None:
                fields = self.repair(line, fields)  # noqa: PLW2901
                line += row.count(b"\n")
            if self.row_filter is None or self.row_filter(fields):
                pending.append((row, fields))
                if len(pending) == _ENCODED_ROWS:
                    left += self._send_encoded(pending, loaded)
                    pending.clear()
        if pending:
            left += self._send_encoded(pending, loaded)
        if left:
            for encoded in self._converted(left):
                loaded.sent_sum += self.proof.of_row(encoded)
                self._write(encoded)
        loaded.read_sum += read_sum
        return rows

    def _send_encoded(self, rows: Sequence[tuple[bytes, list[Field]]], loaded: Loaded) -> list[bytes]:
        """Send rows in the binary format; those that the server has to read come back, in CSV."""
        assert self.encoder is not None
        number_of = self.proof.of_row
        encoded = self.encoder.many([fields for _, fields in rows])
        ready = [row for row in encoded if row is not None]
        loaded.sent_sum += sum(map(number_of, ready))
        loaded.rows_sent += len(rows)
        self._write(b"".join(ready))
        if len(ready) == len(rows):
            return []
        return [
            row if self.repair is None else CSV.row(fields)
            for (row, fields), made in zip(rows, encoded, strict=True)
            if made is None
        ]

    # --- the COPY that is open ---

    def _open(self) -> None:
        self._stack.enter_context(on_own_path(self.conn))
        cursor = self._stack.enter_context(self.conn.cursor())
        self._copy = self._stack.enter_context(
            cursor.copy(
                sql.SQL("COPY {} ({}) FROM STDIN ({})").format(
                    self.into.table, self.into.column_list, sql.SQL(self._form.options)
                )
            )
        )
        if self._form.header:
            self._copy.write(self._form.header)

    def _write(self, data: bytes) -> None:
        assert self._copy is not None
        for at in range(0, len(data), _MESSAGE_BYTES):
            self._copy.write(memoryview(data)[at : at + _MESSAGE_BYTES])
        # A server that has something to say in the middle of a COPY has failed it, for notices are off. What is read
        # from an encrypted line may be the encryption's own.
        if not self.conn.pgconn.ssl_in_use and select.select([self.conn.fileno()], [], [], 0)[0]:
            raise _BrokenOff

    def _close(self) -> None:
        assert self._copy is not None
        if self._form.trailer:
            self._copy.write(self._form.trailer)
        self._stack.close()
        self._copy = None

    # --- what the server reads for us ---

    def _converted(self, rows: Sequence[bytes]) -> Iterator[bytes]:
        """Rows of CSV in the binary format, as the server itself makes it of them."""
        reopen = self._copy is not None
        if reopen:
            self._close()
        with self.conn.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
                    sql.Identifier("pgvector_backup_converted"), self.into.column_list, self.into.source
                )
            )
            with cursor.copy(sql.SQL("COPY {} FROM STDIN ({})").format(_CONVERTED, sql.SQL(CSV.options))) as copy:
                for row in rows:
                    copy.write(row)
            with cursor.copy(sql.SQL("COPY {} TO STDOUT ({})").format(_CONVERTED, sql.SQL(BINARY.options))) as copy:
                converted = [bytes(row) for row in BINARY.copied(copy)]
            cursor.execute(sql.SQL("DROP TABLE {}").format(_CONVERTED))
        if len(converted) != len(rows):
            raise IntegrityFault(f"the server reads {len(converted):,} rows where {len(rows):,} were sent")
        if reopen:
            self._open()
        yield from converted

    def _agrees(self, block: Block) -> bool:
        """Whether the server makes of the first rows what our encoders do; if not, it had better read them all."""
        assert self.encoder is not None
        if self.repair is not None:
            return True  # such rows are compared by what they mean, once they are in the table
        # Temporary tables are where the server reads for us; without them it had better read everything.
        may = self.conn.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
        if may != (True,):
            return False
        rows: list[tuple[bytes, list[Field]]] = []
        for row, fields in CSV.rows(block.data):
            _require(fields, len(self.into.columns))
            rows.append((row, fields))
            if len(rows) == _SAMPLED_ROWS:
                break
        made = self.encoder.many([fields for _, fields in rows])
        sample = [(row, encoded) for (row, _), encoded in zip(rows, made, strict=True) if encoded is not None]
        return not sample or list(self._converted([row for row, _ in sample])) == [encoded for _, encoded in sample]


class _BrokenOff(Exception):
    """The server has failed a COPY; nothing more needs to be sent."""


def _require(fields: Sequence[Field], wanted: int) -> None:
    if len(fields) != wanted and not (wanted == 0 and list(fields) == [None]):
        raise IntegrityFault(f"a row has {len(fields)} columns where its header names {wanted}")


def allow_workers(conn: Connection[Any], workers: int) -> None:
    """Let the server's parallel workers share in reading back, for as long as the transaction lasts."""
    conn.execute(
        "SELECT set_config(name, value, true) FROM (VALUES ('max_parallel_workers_per_gather', %s),"
        " ('min_parallel_table_scan_size', '0'), ('parallel_setup_cost', '0'), ('parallel_tuple_cost', '0'))"
        " AS wanted(name, value)",
        [str(workers)],
    )


def read_back(
    conn: Connection[Any],
    into: Destination,
    form: Format,
    algorithm: Algorithm,
    cancel: Cancel,
) -> tuple[int, int]:
    """What a table holds now: its rows, and the sum of their fingerprint numbers.

    In binary, vectors are asked for as the bytes that their type's send function gives, which are the ones that COPY
    would send for the vectors themselves. That is an expression, and so the server's workers evaluate it, each on its
    own processor, where COPY itself would leave it all to one.
    """
    columns = into.column_list
    if not form.is_text:
        sends = dict(conn.execute(_SEND_FUNCTIONS, [into.table.as_string(conn)]).fetchall())
        columns = sql.SQL(", ").join(
            sql.SQL("{}({})").format(sql.SQL(sends[name]), sql.Identifier(name))
            if name in sends
            else sql.Identifier(name)
            for name in into.columns
        )
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT ({})").format(columns, into.source, sql.SQL(form.options))
    return summed(conn, query, form, algorithm, cancel)


_SEND_FUNCTIONS: Final = """
SELECT a.attname, t.typsend::regproc::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vector'
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND t.typsend <> 0
  AND t.typtype = 'b' AND t.typelem = 0
"""
"""Of the columns of pgvector's types."""


def summed(
    conn: Connection[Any], query: sql.Composed, form: Format, algorithm: Algorithm, cancel: Cancel
) -> tuple[int, int]:
    """The rows that a ``COPY … TO STDOUT`` sends, and the sum of their fingerprint numbers."""
    rows = total = 0
    number_of = algorithm.of_row
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        for row in form.copied(copy):
            rows += 1
            total += number_of(row)
            if not rows & 0xFFF:
                cancel.check()
    return rows, total
