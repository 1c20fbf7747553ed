"""File to blocks to rows to table: one connection, one COPY, a fingerprint of what was read and of what was sent.

One connection, because a second gains nothing once the server has no text to parse: a binary COPY of 100,000 × 1,536
takes 4.2 s over one connection and 3.9 s over two. It also is what makes a restore one transaction, without staging
tables that a killed run would leave behind.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.codec.encoding import RowEncoder
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.codec.formats import BINARY, CSV, Format
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.load.large_rows import LARGE, LargeRows
from pgvector_backup.engine.load.open_copy import BrokenOff, Destination, OpenCopy
from pgvector_backup.engine.load.refusals import place_told
from pgvector_backup.engine.load.sent_places import SentPlaces
from pgvector_backup.engine.load.server_parser import ServerParser
from pgvector_backup.engine.sets.stored_file import Block

_log: Final = logging.getLogger(__name__)

_ENCODED_ROWS: Final = 16
"""Encoded and sent at once: few enough that the server is at work while the next ones are made."""

_SAMPLED_ROWS: Final = 100

RowFilter = Callable[[Sequence[Field]], bool]
"""Whether a row is wanted."""

RowRetelling = Callable[[bytes], bytes]
"""Tells a row in the binary format for this database."""

RowRepair = Callable[[int, "list[Field]"], "list[Field]"]
"""Puts the fields of a foreign tool's row right; told the row's first line in the file."""


@dataclass
class Loaded:
    """What was read and sent: rows, and the sums of their fingerprint numbers.

    :param large: those of the rows sent that are compared apart, and are not in ``sent_sum``

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
    large: LargeRows = field(default_factory=LargeRows)


@dataclass
class Load:
    """One table's file on its way into a table.

    :param file: its bare name
    :param form: of the file
    :param encoder: makes binary rows of CSV; None: the server parses
    :param row_filter: rows that are wanted; None: all
    :param repair: puts rows of another tool right; None: they are as COPY wrote them
    :param retell: tells binary rows for this database; None: they are the same in any
    :param algorithm: of the fingerprint of what is read
    :param proof: of the fingerprint of what is sent; the same as ``algorithm`` where rows are sent as they are
    """

    conn: Connection[Any]
    into: Destination
    file: str
    form: Format
    blocks: Iterator[Block]
    encoder: RowEncoder | None
    row_filter: RowFilter | None
    repair: RowRepair | None
    retell: RowRetelling | None
    algorithm: Algorithm
    proof: Algorithm
    progress: Progress
    cancel: Cancel
    _parser: ServerParser = field(init=False)
    _copy: OpenCopy | None = field(default=None, init=False)
    _sent: SentPlaces = field(default_factory=SentPlaces, init=False)
    _unit: str = field(default="line", init=False)
    # Of the file: the line in which the next row begins, the first one being the header's, or the next row's number.
    _at: int = field(default=2, init=False)

    def __post_init__(self) -> None:
        self._parser = ServerParser(self.conn, self.into, self.progress.label, self.file)
        if not self.form.is_text:
            self._unit, self._at = "row", 1

    def place_of(self, fault: psycopg.Error) -> tuple[str | None, str | None]:
        """Where in the file the row is at which the server has failed, and the column; None: it does not say."""
        number, column = place_told(fault)
        if number is None:
            return None, None
        place = self._sent.of(number)
        return (f"row {number:,} of those sent" if place is None else f"{self._unit} {place:,}"), column

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
        self.progress.start()
        broken_off = False
        with OpenCopy(self.conn, self.into, sent_as) as self._copy:
            try:
                if first is not None:
                    self._send(first, loaded)
                    del first  # not to be held as long as the rest takes
                    for block in self.blocks:
                        self._send(block, loaded)
                        del block  # nor this one, as long as the next is read
            except BrokenOff:
                broken_off = True  # the COPY ends as if that were all, so that the server's own error comes out
            else:
                self._copy.close()
        if broken_off:
            raise psycopg.OperationalError("the server has ended the COPY")
        return loaded

    def _send(self, block: Block, loaded: Loaded) -> None:
        self.cancel.check()
        if self.encoder is not None:
            rows = self._encoded(block, loaded)
        elif self.row_filter is None and self.repair is None and self.retell is None:
            rows = self._as_they_are(block, loaded)
        else:
            rows = self._picked(block, loaded)
        if block.rows is not None and rows != block.rows:
            raise IntegrityFault(f"a block holds {rows:,} rows where its index lists {block.rows:,}")
        loaded.rows_read += rows
        self.progress.advance(rows, len(block.data))

    def _as_they_are(self, block: Block, loaded: Loaded) -> int:
        rows = total = apart = 0
        number_of, wanted = self.algorithm.of_row, len(self.into.columns)
        for row, fields in self.form.rows(block.data):
            rows += 1
            number = number_of(row)
            total += number
            _require(fields, wanted)
            if len(row) > LARGE and loaded.large.take(fields):
                apart += number
        loaded.read_sum += total
        loaded.sent_sum += total - apart
        loaded.rows_sent += rows
        self._sent.sent(self._taken(block.data.count(b"\n") if self.form.is_text else rows))
        self._write(block.data)
        return rows

    def _picked(self, block: Block, loaded: Loaded) -> int:
        """Rows of which not all are wanted, or that are not sent as they are; still for the server to parse."""
        rows, pending, places = 0, [], array("q")
        if block.first_line is not None:
            self._at = block.first_line
        for row, fields in self.form.rows(block.data):
            rows += 1
            _require(fields, len(self.into.columns))
            taken = self._taken(_breaks(row) if self.form.is_text else 1)
            number = self.algorithm.of_row(row)
            loaded.read_sum += number
            outgoing = row
            if self.repair is not None:
                outgoing = CSV.row(self.repair(taken.start, fields))
                number = self.proof.of_row(outgoing)
            elif self.retell is not None and (outgoing := self.retell(row)) is not row:
                number = self.proof.of_row(outgoing)
            if self.row_filter is None or self.row_filter(fields):
                pending.append(outgoing)
                # What is put right may have other lines than the file: then the row's first one counts.
                places.extend(taken if outgoing is row else _first_of(taken, outgoing, self.form))
                loaded.rows_sent += 1
                if not self._is_apart(outgoing, self.form, loaded):
                    loaded.sent_sum += number
        self._sent.sent(places)
        self._write(b"".join(pending))
        return rows

    def _taken(self, units: int) -> range:
        """The lines, or the rows, of the file that come next."""
        taken = range(self._at, self._at + units)
        self._at = taken.stop
        return taken

    def _encoded(self, block: Block, loaded: Loaded) -> int:
        number_of, wanted = self.algorithm.of_row, len(self.into.columns)
        rows = read_sum = 0
        pending: list[tuple[bytes, list[Field], int]] = []
        left: list[bytes] = []
        lines: list[int] = []  # of the file, in which those begin that the server has to read
        if block.first_line is not None:
            self._at = block.first_line
        for row, fields in CSV.rows(block.data):
            rows += 1
            read_sum += number_of(row)
            _require(fields, wanted)
            started = self._taken(_breaks(row)).start
            if self.repair is not None:
                fields = self.repair(started, fields)  # noqa: PLW2901
            if self.row_filter is None or self.row_filter(fields):
                if len(row) > LARGE and self.repair is None and self._send_in_parts(fields, started, loaded):
                    continue
                pending.append((row, fields, started))
                if len(pending) == _ENCODED_ROWS:
                    self._send_encoded(pending, loaded, left, lines)
                    pending.clear()
        if pending:
            self._send_encoded(pending, loaded, left, lines)
        if left:
            for encoded, line in zip(self._converted(left, lines), lines, strict=True):
                if not self._is_apart(encoded, BINARY, loaded):
                    loaded.sent_sum += self.proof.of_row(encoded)
                self._sent.sent([line])
                self._write(encoded)
        loaded.read_sum += read_sum
        return rows

    def _send_encoded(
        self, rows: Sequence[tuple[bytes, list[Field], int]], loaded: Loaded, left: list[bytes], lines: list[int]
    ) -> None:
        """Send rows in the binary format; those that the server has to read join those left, in CSV."""
        assert self.encoder is not None
        number_of = self.proof.of_row
        encoded = self.encoder.many([fields for _, fields, _ in rows])
        ready = [row for row in encoded if row is not None]
        loaded.sent_sum += sum(map(number_of, ready))
        loaded.rows_sent += len(rows)
        self._sent.sent(line for (_, _, line), made in zip(rows, encoded, strict=True) if made is not None)
        self._write(b"".join(ready))
        if len(ready) == len(rows):
            return
        for (row, fields, line), made in zip(rows, encoded, strict=True):
            if made is None:
                left.append(row if self.repair is None else CSV.row(fields))
                lines.append(line)

    def _send_in_parts(self, fields: Sequence[Field], line: int, loaded: Loaded) -> bool:
        """Send a row without putting its large fields together; False when it is left to the others' way."""
        assert self.encoder is not None
        values = self.encoder.parts(fields)
        if values is None or not loaded.large.take_parts(values):
            return False
        loaded.rows_sent += 1
        self._sent.sent([line])
        self._write(self.encoder.count)
        for parts in values:
            self._write(self.encoder.length(parts))
            for part in parts or ():
                self._write(part)
        return True

    def _is_apart(self, row: bytes, form: Format, loaded: Loaded) -> bool:
        """Whether a row that is sent is compared apart; it is counted then."""
        if len(row) <= LARGE or self.repair is not None:
            return False
        return any(loaded.large.take(fields) for _, fields in form.rows(row))

    def _write(self, data: bytes) -> None:
        assert self._copy is not None
        self._copy.write(data)

    # --- what the server reads for us ---

    def _converted(self, rows: Sequence[bytes], lines: Sequence[int]) -> list[bytes]:
        """Rows of CSV in the binary format, as the server itself makes it of them; the COPY is interrupted for it."""
        if self._copy is not None:
            self._copy.close()
        converted = self._parser.binary(rows, lines)
        if self._copy is not None:
            self._copy.open()
            self._sent.begin()
        return converted

    def _agrees(self, block: Block) -> bool:
        """Whether the server makes of the first rows what our encoders do; if not, it had better read them all."""
        assert self.encoder is not None
        if self.repair is not None:
            return True  # such rows are compared by what they mean, once they are in the table
        if not self._parser.may_be_asked():
            return False
        rows: list[tuple[bytes, list[Field]]] = []
        for row, fields in CSV.rows(block.data):
            _require(fields, len(self.into.columns))
            if len(row) > LARGE:
                # A large document is read as any other; a short one in its place is not held several times.
                fields = self.encoder.shortened(fields)  # noqa: PLW2901
                row = CSV.row(fields)  # noqa: PLW2901
            rows.append((row, fields))
            if len(rows) == _SAMPLED_ROWS:
                break
        made = self.encoder.many([fields for _, fields in rows])
        sample, lines, line = [], [], self._at if block.first_line is None else block.first_line
        for (row, _), encoded in zip(rows, made, strict=True):
            if encoded is not None:
                sample.append((row, encoded))
                lines.append(line)
            line += _breaks(row)
        converted = self._converted([row for row, _ in sample], lines)
        return not sample or converted == [encoded for _, encoded in sample]


def _first_of(taken: range, outgoing: bytes, form: Format) -> list[int]:
    return [taken.start] * (_breaks(outgoing) if form.is_text else 1)


def _breaks(row: bytes) -> int:
    """Line breaks of a row; most have one, at their end, and to find it takes a tenth of what counting does."""
    return 1 if row.find(b"\n") == len(row) - 1 else row.count(b"\n")


def _require(fields: Sequence[Field], wanted: int) -> None:
    if len(fields) != wanted and not (wanted == 0 and list(fields) == [None]):
        raise IntegrityFault(f"a row has {len(fields)} columns where its header names {wanted}")
