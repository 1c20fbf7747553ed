"""A CSV file of another tool, of which nothing tells but its own header line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, storage_translated
from pgvector_backup.engine.codec.rows import csv_fields, csv_rows
from pgvector_backup.engine.sets.stored_file import Block
from pgvector_backup.engine.store.location import Location

_READ_BYTES: Final = 1 << 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ForeignFile:
    """A CSV file that a location holds under a table's name."""

    location: Location
    name: str

    def columns(self) -> tuple[str, ...]:
        """What the header line names, in its order.

        :raises IntegrityFault: when there is none, or it does not name each column once
        """
        header = next(self.lines(Cancel()), b"")
        try:
            names = csv_fields(header)
            columns = tuple(name.decode() for name in names if name)
        except (IntegrityFault, UnicodeDecodeError):
            raise IntegrityFault(f"{self.name}: line 1: the header line cannot be read") from None
        if not columns or len(columns) < len(names) or len(set(columns)) < len(columns):
            raise IntegrityFault(f"{self.name}: line 1: a header line that names each column once is missing")
        return columns

    def lines(self, cancel: Cancel) -> Iterator[bytes]:
        """Header and rows, each without its line end, whichever it had."""
        with self.location.open(self.name) as file, storage_translated():
            mark = _BYTE_ORDER_MARK
            for line in csv_rows(_pieces(file, cancel)):
                yield line.removeprefix(mark).removesuffix(b"\n").removesuffix(b"\r")
                mark = b""

    def blocks(self, cancel: Cancel) -> Iterator[Block]:
        """The file's rows as CSV of ours, a plain line end each, whichever it had; the last line may have none."""
        lines = self.lines(cancel)
        header = next(lines, b"")
        line = first = 2 + header.count(b"\n")
        pending: list[bytes] = []
        size = 0
        for row in lines:
            line += 1 + row.count(b"\n")
            pending.append(row + b"\n")
            size += len(row)
            if size >= _READ_BYTES:
                yield Block(b"".join(pending), len(pending), first_line=first)
                pending.clear()
                size, first = 0, line
        if pending:
            yield Block(b"".join(pending), len(pending), first_line=first)


def _pieces(file: BinaryIO, cancel: Cancel) -> Iterator[bytes]:
    while piece := file.read(_READ_BYTES):
        cancel.check()
        yield piece
