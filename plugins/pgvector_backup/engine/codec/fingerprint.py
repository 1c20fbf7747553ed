"""A fingerprint of a table's rows that does not depend on their order.

Each row's bytes, as COPY sends them with the line end, are hashed to a number of 128 bits, and the numbers summed
modulo 2**128. A manifest names the algorithm that its fingerprints were made with. They tell of what went wrong by
accident; it is the files' SHA-256 that tells of what was done on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

try:
    import xxhash
except ImportError:  # not everybody has it; it is 15 times as fast
    xxhash = None  # type: ignore[assignment, unused-ignore]

_MODULUS: Final = 1 << 128


@dataclass(frozen=True)
class Algorithm:
    """A way to make fingerprints.

    :param name: how a manifest calls it
    :param of_row: the number that one row adds, 0 up to but not including 2**128
    """

    name: str
    of_row: Callable[[bytes | bytearray | memoryview], int]


def _sha256_of_row(row: bytes | bytearray | memoryview) -> int:
    return int.from_bytes(hashlib.sha256(row).digest()[:16], "little")


SHA256: Final = Algorithm("sha256-sum128", _sha256_of_row)
"""The first 16 bytes of each row's SHA-256, read as a little-endian number. Needs the standard library only."""

XXH3: Final = None if xxhash is None else Algorithm("xxh3-128-sum128", xxhash.xxh3_128_intdigest)
"""Each row's XXH3-128, the number of its canonical, big-endian form. None without the package xxhash."""

_AT_HAND: Final = {algorithm.name: algorithm for algorithm in (SHA256, XXH3) if algorithm is not None}


def best() -> Algorithm:
    """The one to make new fingerprints with."""
    return XXH3 or SHA256


def named(name: str) -> Algorithm | None:
    """The one to check a fingerprint with; None when this installation cannot compute it.

    What was made with one that is not at hand can still be compared: by computing both sides anew with `SHA256`.
    """
    return _AT_HAND.get(name)


def of_sum(total: int) -> str:
    """The fingerprint of the rows whose numbers make ``total``: 32 hexadecimal digits."""
    return f"{total % _MODULUS:032x}"
