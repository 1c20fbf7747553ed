"""What PostgreSQL's COPY formats are called, and the bytes that belong to a file of one as a whole."""

from __future__ import annotations

from typing import Final, Literal

FormatName = Literal["csv", "binary"]

BINARY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, no flags, no header extension."""

BINARY_TRAILER: Final = b"\xff\xff"
"""A field count of -1. No row is two bytes long that are both 255."""
