"""A block: whole rows, about a mebibyte of them, that lie together in a file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from psycopg.abc import Buffer

from pgvector_backup.engine import fingerprint
from pgvector_backup.engine.staging import StagedFile

BLOCK_BYTES: Final = 1 << 20
"""Size at which a block is closed. Larger ones cost memory (jobs × block) and no longer gain speed."""


@dataclass(frozen=True)
class Block:
    """Whole rows on their way to a file; ``row_sum`` is the sum of their fingerprint numbers."""

    data: bytes
    rows: int
    row_sum: int


@dataclass(frozen=True)
class FileFacts:
    """What a manifest says of a finished file; ``bytes`` and ``sha256`` are of the file as it lies on disk."""

    name: str
    rows: int
    bytes: int
    sha256: str
    fingerprint: str


def gather(rows: Iterable[Buffer]) -> Iterator[Block]:
    """Join rows into blocks. A row larger than a block is a block of its own."""
    pending: list[Buffer] = []
    size = row_sum = 0
    for row in rows:
        pending.append(row)
        size += len(row)
        row_sum += fingerprint.of_row(row)
        if size >= BLOCK_BYTES:
            yield Block(b"".join(pending), len(pending), row_sum)
            pending.clear()
            size = row_sum = 0
    if pending:
        yield Block(b"".join(pending), len(pending), row_sum)


class BlockFile:
    """One table's file while several connections append their blocks to it.

    :param header: bytes before the first block, e.g. CSV's line of column names
    """

    def __init__(self, staged: StagedFile, header: bytes) -> None:
        self.staged = staged
        self._lock = threading.Lock()
        self._sha256 = hashlib.sha256(header)
        self._bytes = len(header)
        self._rows = 0
        self._row_sum = 0
        staged.write(header)

    def append(self, block: Block) -> None:
        """Add a block at the end, in whatever order the connections come."""
        with self._lock:
            self.staged.write(block.data)
            self._sha256.update(block.data)
            self._bytes += len(block.data)
            self._rows += block.rows
            self._row_sum += block.row_sum

    def finish(self) -> FileFacts:
        """Wait for the disk and say what the file holds."""
        self.staged.sync()
        return FileFacts(
            name=self.staged.name,
            rows=self._rows,
            bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
            fingerprint=fingerprint.of_sum(self._row_sum),
        )
