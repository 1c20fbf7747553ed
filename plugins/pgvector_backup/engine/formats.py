"""How rows are written: PostgreSQL's CSV or its binary COPY format.

Source: the manual's page on COPY, "File Formats". In both the server sends one CopyData message a row; in binary the
first of them also carries the file's header, and a last one is the trailer alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from psycopg import Copy
from psycopg.abc import Buffer

from pgvector_backup.engine.copy_data import messages

FormatName = Literal["csv", "binary"]

_BINARY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, no flags, no header extension."""

_BINARY_TRAILER: Final = b"\xff\xff"
"""A field count of -1. No row is two bytes long that are both 255."""


@dataclass(frozen=True)
class Format:
    """One of PostgreSQL's COPY formats, as a whole file that several connections write.

    :param suffix: what file names end in
    :param options: of COPY, for rows alone
    :param header: bytes before the first row; None: the server writes them, from the names of the columns
    :param trailer: bytes after the last row
    """

    name: FormatName
    suffix: str
    options: str
    header: bytes | None
    trailer: bytes

    def rows(self, copy: Copy) -> Iterator[Buffer]:
        """The rows that a connection sends, without what belongs to a file as a whole."""
        return messages(copy) if self.name == "csv" else _binary_rows(copy)


CSV: Final = Format(name="csv", suffix="csv", options="FORMAT csv, HEADER false", header=None, trailer=b"")
BINARY: Final = Format(
    name="binary", suffix="pgcopy", options="FORMAT binary", header=_BINARY_HEADER, trailer=_BINARY_TRAILER
)

FORMATS: Final = {one.name: one for one in (CSV, BINARY)}


def _binary_rows(copy: Copy) -> Iterator[Buffer]:
    first = True
    for row in messages(copy):
        if first:
            first = False
            row = bytes(row)[len(_BINARY_HEADER) :]  # noqa: PLW2901
        if len(row) != len(_BINARY_TRAILER) or row != _BINARY_TRAILER:
            yield row
