"""A fingerprint of a table's rows that does not depend on their order."""

from __future__ import annotations

import hashlib
from typing import Final

ALGORITHM: Final = "sha256-sum128"
"""The first 16 bytes of each row's SHA-256, read as a little-endian number, summed modulo 2**128."""

_MODULUS: Final = 1 << 128


def of_row(row: bytes | bytearray | memoryview) -> int:
    """The number that one row adds; ``row`` is what COPY sends for it, line end included."""
    return int.from_bytes(hashlib.sha256(row).digest()[:16], "little")


def of_sum(total: int) -> str:
    """The fingerprint of the rows whose numbers make ``total``: 32 hexadecimal digits."""
    return f"{total % _MODULUS:032x}"
