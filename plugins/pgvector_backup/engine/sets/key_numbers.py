"""Keys of rows by number: what two of them cannot share unless somebody knows a secret of this process."""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from typing import Final

_SECRET: Final = secrets.token_bytes(16)
"""Who may write rows chooses their keys: without it, two could be found that have the same number."""

_BITS: Final = 12
_BUCKET: Final = (1 << _BITS) - 1
_REST_BYTES: Final = 15
"""Of a number's 128 bits, what its bucket does not say."""


def number_of(key: bytes) -> int:
    """128 bits of a key, which are the same in this process alone."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=16, key=_SECRET).digest(), "little")


class KeyNumbers:
    """A set of such numbers that takes 15 bytes of memory for each, a sixth of what Python's own does."""

    def __init__(self) -> None:
        self._buckets: defaultdict[int, bytearray] = defaultdict(bytearray)

    def add(self, number: int) -> None:
        """Once for each number."""
        self._buckets[number & _BUCKET] += (number >> _BITS).to_bytes(_REST_BYTES, "little")

    def __contains__(self, number: int) -> bool:
        bucket = self._buckets.get(number & _BUCKET)
        if bucket is None:
            return False
        rest = (number >> _BITS).to_bytes(_REST_BYTES, "little")
        at = bucket.find(rest)
        while at > 0 and at % _REST_BYTES:  # across two of them
            at = bucket.find(rest, at + 1)
        return at >= 0
