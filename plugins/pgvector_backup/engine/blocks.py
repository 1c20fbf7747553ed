"""A block: whole rows, about a mebibyte of them, that lie together in a file."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from psycopg.abc import Buffer

from pgvector_backup.engine import block_index, fingerprint
from pgvector_backup.engine.block_index import BlockIndexWriter
from pgvector_backup.engine.file_kind import FileKind
from pgvector_backup.engine.fingerprint import Algorithm
from pgvector_backup.engine.staging import StagedFile

BLOCK_BYTES: Final = 1 << 20
"""Size at which a block is closed. Larger ones cost memory (jobs × block) and no longer gain speed."""


@dataclass(frozen=True)
class Block:
    """Whole rows on their way to a file; ``row_sum`` is the sum of their fingerprint numbers."""

    data: Buffer
    rows: int
    row_sum: int


@dataclass(frozen=True)
class FileFacts:
    """What a manifest says of a finished file; ``bytes`` and ``sha256`` are of the file as it lies on disk.

    :param raw_bytes: bytes before compression
    :param index: bare name of its block index
    """

    name: str
    rows: int
    bytes: int
    raw_bytes: int
    sha256: str
    fingerprint: str
    index: str
    index_sha256: str


class Gatherer:
    """Gathers a connection's rows into blocks, in memory that is the same for each of them.

    Joining rows that were kept until then is slower: their memory goes back to the system, and comes anew, block by
    block.
    """

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(BLOCK_BYTES))

    def blocks(self, rows: Iterable[Buffer], algorithm: Algorithm) -> Iterator[Block]:
        """Blocks of at most `BLOCK_BYTES`, each good until the next is asked for. A larger row is one of its own."""
        memory, of_row = self._memory, algorithm.of_row
        size = count = row_sum = 0
        for row in rows:
            end = size + len(row)
            if end > BLOCK_BYTES:
                if count:
                    yield Block(memory[:size], count, row_sum)
                size = count = row_sum = 0
                end = len(row)
                if end > BLOCK_BYTES:
                    yield Block(row, 1, of_row(row))
                    continue
            memory[size:end] = row
            size = end
            count += 1
            row_sum += of_row(row)
        if count:
            yield Block(memory[:size], count, row_sum)


class BlockFile:
    """One table's file and its index, while several connections append their blocks.

    :param header: bytes before the first row
    """

    def __init__(
        self,
        staged: StagedFile,
        index: BlockIndexWriter,
        kind: FileKind,
        header: bytes,
    ) -> None:
        self.staged = staged
        self._index = index
        self._kind = kind
        self._lock = threading.Lock()
        self._bytes = self._raw_bytes = self._rows = self._row_sum = 0
        self._append_outside_rows(header)

    @property
    def parts(self) -> tuple[StagedFile, StagedFile]:
        """The file and its index."""
        return self.staged, self._index.staged

    def append(self, block: Block) -> None:
        """Add a block at the end, in whatever order the connections come."""
        stored = self._kind.pack(block.data)  # outside the lock: several threads at once
        checksum = block_index.of_block(stored)
        with self._lock:
            self.staged.write(stored)
            self._index.add(checksum, length=len(stored), unpacked=len(block.data), rows=block.rows)
            self._bytes += len(stored)
            self._raw_bytes += len(block.data)
            self._rows += block.rows
            self._row_sum += block.row_sum

    def _append_outside_rows(self, data: bytes) -> None:
        """What a file has before its first row or after its last."""
        if data:
            self.append(Block(data, 0, 0))

    def finish(self) -> FileFacts:
        """Add the trailer, wait for the disk and say what the file holds."""
        self._append_outside_rows(self._kind.format.trailer)
        self.staged.sync()
        return FileFacts(
            name=self.staged.name,
            rows=self._rows,
            bytes=self._bytes,
            raw_bytes=self._raw_bytes,
            sha256=self.staged.sha256,
            fingerprint=fingerprint.of_sum(self._row_sum),
            index=self._index.staged.name,
            index_sha256=self._index.finish(),
        )
