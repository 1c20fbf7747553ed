"""The index of a file's blocks, which lies beside it: what to read to get any part, and whether it is intact.

A magic of 8 bytes, then 16 bytes a block, little-endian, in the order of the file: bytes in the file, bytes unpacked,
rows, CRC-32 of the bytes in the file. Blocks follow one another without gaps, so an offset is the sum of the lengths
before it. A file's header and trailer are blocks of no rows. 1 TB of rows makes an index of 16 MB.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pgvector_backup.engine.errors import IntegrityFault
from pgvector_backup.engine.staging import StagedFile

SUFFIX: Final = ".idx"
_MAGIC: Final = b"PGVBIDX1"
_ENTRY: Final = struct.Struct("<IIII")
_BUFFERED: Final = 1 << 16


@dataclass(frozen=True)
class IndexedBlock:
    """Where a block lies: ``offset`` and ``length`` in the file, ``unpacked`` bytes and ``rows`` once unpacked."""

    offset: int
    length: int
    unpacked: int
    rows: int
    crc32: int

    def is_intact(self, stored: bytes) -> bool:
        """Whether these bytes of the file are the ones written."""
        return len(stored) == self.length and zlib.crc32(stored) == self.crc32


class BlockIndexWriter:
    """Writes an index as its file grows; memory does not grow with it."""

    def __init__(self, staged: StagedFile) -> None:
        self.staged = staged
        self.blocks = 0
        self._sha256 = hashlib.sha256()
        self._pending = bytearray(_MAGIC)

    def add(self, stored: bytes, *, unpacked: int, rows: int) -> None:
        """The next block of the file, as it was written."""
        self._pending += _ENTRY.pack(len(stored), unpacked, rows, zlib.crc32(stored))
        self.blocks += 1
        if len(self._pending) >= _BUFFERED:
            self._flush()

    def finish(self) -> str:
        """Wait for the disk.

        :return: SHA-256 of the index file
        """
        self._flush()
        self.staged.sync()
        return self._sha256.hexdigest()

    def _flush(self) -> None:
        self._sha256.update(self._pending)
        self.staged.write(bytes(self._pending))
        self._pending.clear()


def read(content: bytes) -> Iterator[IndexedBlock]:
    """The blocks that an index lists.

    :raises IntegrityFault: when it is not an index, or not a whole one
    """
    body = content[len(_MAGIC) :]
    if not content.startswith(_MAGIC) or len(body) % _ENTRY.size:
        raise IntegrityFault("the block index is damaged")
    offset = 0
    for length, unpacked, rows, crc32 in _ENTRY.iter_unpack(body):
        yield IndexedBlock(offset, length, unpacked, rows, crc32)
        offset += length
