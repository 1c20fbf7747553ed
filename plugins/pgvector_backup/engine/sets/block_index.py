"""The index of a file's blocks, which lies beside it: what to read to get any part, and whether it is intact.

A magic of 8 bytes, then 16 bytes a block, little-endian, in the order of the file: bytes in the file, bytes unpacked,
rows, a checksum of the bytes in the file. The magic tells which one: CRC-32 in ``PGVBIDX1``, the low half of XXH3-64 in
``PGVBIDX2``. Blocks follow one another without gaps, so an offset is the sum of the lengths before it. A file's header
and trailer are blocks of no rows. 1 TB of rows makes an index of 16 MB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from psycopg.abc import Buffer

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.store.writer import Writer

try:
    import xxhash
except ImportError:  # then CRC-32 it is, at a tenth of the speed
    xxhash = None  # type: ignore[assignment, unused-ignore]

SUFFIX: Final = ".idx"
_MAGIC_BYTES: Final = 8
_ENTRY: Final = struct.Struct("<IIII")
_BUFFERED: Final = 1 << 16

_MANY_ROWS: Final = 1 << 20
"""Bytes unpacked of a block of several rows, or of none; see `blocks.BLOCK_BYTES`."""

_ONE_ROW: Final = 1 << 30
"""Bytes unpacked of a block that is one row: the server sends no longer one."""

_LARGEST: Final = 256 << 20
"""Bytes of an index: that of 16 TB of rows."""


@dataclass(frozen=True)
class BlockChecksum:
    """A checksum of 32 bits; ``of_block`` None where its package is missing."""

    magic: bytes
    of_block: Callable[[Buffer], int] | None


def _xxh3(stored: Buffer) -> int:
    return xxhash.xxh3_64_intdigest(stored) & 0xFFFFFFFF


_CRC32: Final = BlockChecksum(b"PGVBIDX1", zlib.crc32)
_XXH3: Final = BlockChecksum(b"PGVBIDX2", None if xxhash is None else _xxh3)
_KNOWN: Final = {algorithm.magic: algorithm for algorithm in (_CRC32, _XXH3)}
_NEW: Final = _CRC32 if xxhash is None else _XXH3


def of_block(stored: Buffer) -> int:
    """A block's checksum for a new index; any thread may call it."""
    assert _NEW.of_block is not None
    return _NEW.of_block(stored)


@dataclass(frozen=True)
class IndexedBlock:
    """Where a block lies: ``offset`` and ``length`` in the file, ``unpacked`` bytes and ``rows`` once unpacked."""

    offset: int
    length: int
    unpacked: int
    rows: int
    checksum: int
    algorithm: BlockChecksum

    @property
    def is_proof(self) -> bool:
        """Whether `is_intact` compares more than the number of bytes."""
        return self.algorithm.of_block is not None

    def is_intact(self, stored: Buffer) -> bool:
        """Whether these bytes of the file are the ones written.

        Without the checksum's package no more than their number is compared; the file's SHA-256 says the rest.
        """
        of_block = self.algorithm.of_block
        return len(stored) == self.length and (of_block is None or of_block(stored) == self.checksum)


class BlockIndexWriter:
    """Writes an index as its file grows; memory does not grow with it."""

    def __init__(self, staged: Writer) -> None:
        self.staged = staged
        self.blocks = 0
        self._pending = bytearray(_NEW.magic)

    def add(self, checksum: int, *, length: int, unpacked: int, rows: int) -> None:
        """The next block of the file; ``checksum`` is what `of_block` gave for its bytes there."""
        self._pending += _ENTRY.pack(length, unpacked, rows, checksum)
        self.blocks += 1
        if len(self._pending) >= _BUFFERED:
            self._flush()

    def finish(self) -> str:
        """Wait for the disk.

        :return: SHA-256 of the index file
        """
        self._flush()
        self.staged.sync()
        return self.staged.sha256

    def _flush(self) -> None:
        self.staged.write(self._pending)
        self._pending.clear()


def largest(rows: int) -> int:
    """Bytes that the index of a file of so many rows may have: each block but header and trailer holds some."""
    return min(_MAGIC_BYTES + _ENTRY.size * (rows + 2), _LARGEST)


def read(content: bytes) -> Iterator[IndexedBlock]:
    """The blocks that an index lists.

    :raises IntegrityFault: when it is not an index, or not a whole one
    """
    body = memoryview(content)[_MAGIC_BYTES:]
    algorithm = _KNOWN.get(content[:_MAGIC_BYTES])
    if algorithm is None or len(body) % _ENTRY.size:
        raise IntegrityFault("the block index is damaged")
    offset = 0
    for length, unpacked, rows, checksum in _ENTRY.iter_unpack(body):
        # No compression makes anything longer by more than this, and nothing is unpacked before it is known how long
        # it may become.
        if unpacked > (_ONE_ROW if rows == 1 else _MANY_ROWS) or length > unpacked + unpacked // 64 + 1024:
            raise IntegrityFault(
                f"the block index lists a block of {length:,} bytes, {unpacked:,} unpacked, for {rows:,} rows, which "
                "none of ours is"
            )
        yield IndexedBlock(offset, length, unpacked, rows, checksum, algorithm)
        offset += length
