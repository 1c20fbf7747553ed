"""How rows are written: PostgreSQL's CSV or its binary COPY format.

Source: the manual's page on COPY, "File Formats".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FormatName = Literal["csv", "binary"]

BINARY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, no flags, no header extension."""

BINARY_TRAILER: Final = b"\xff\xff"
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


CSV: Final = Format(name="csv", suffix="csv", options="FORMAT csv, HEADER false", header=None, trailer=b"")
BINARY: Final = Format(
    name="binary", suffix="pgcopy", options="FORMAT binary", header=BINARY_HEADER, trailer=BINARY_TRAILER
)

FORMATS: Final = {one.name: one for one in (CSV, BINARY)}
