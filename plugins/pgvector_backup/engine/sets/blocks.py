"""A block: whole rows, about a mebibyte of them, that lie together in a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from psycopg.abc import Buffer

from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import BlockIndexWriter
from pgvector_backup.engine.store.writer import Writer

BLOCK_BYTES: Final = 1 << 20
"""Size at which a block is closed. Larger ones cost memory (jobs × block) and no longer gain speed."""


@dataclass(frozen=True)
class Block:
    """Whole rows on their way to a file.

    :param stored: the bytes that the file gets, compressed if it is
    :param unpacked: bytes before compression
    :param row_sum: the sum of the rows' fingerprint numbers
    """

    stored: Buffer
    unpacked: int
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
    """Gathers a connection's rows into blocks, in memory that is used again and again.

    Joining rows that were kept until then is slower: their memory goes back to the system, and comes anew, block by
    block.

    :param memory: gives memory of `BLOCK_BYTES` to fill; None: it is the same for every block
    """

    def __init__(self, memory: Callable[[], memoryview] | None = None) -> None:
        self._take = memory or repeat(memoryview(bytearray(BLOCK_BYTES))).__next__

    def blocks(self, rows: Iterable[Buffer], kind: FileKind, algorithm: Algorithm) -> Generator[Block]:
        """Blocks of at most `BLOCK_BYTES` unpacked, each good until the next is asked for.

        A larger row is a block of its own, and not in the memory that was given.
        """
        memory, of_row = self._take(), algorithm.of_row
        size = count = row_sum = 0
        for row in rows:
            end = size + len(row)
            if end > BLOCK_BYTES:
                if count:
                    yield Block(kind.pack(memory[:size]), size, count, row_sum)
                    memory = self._take()
                size = count = row_sum = 0
                end = len(row)
                if end > BLOCK_BYTES:
                    yield Block(kind.pack(row), end, 1, of_row(row))
                    continue
            memory[size:end] = row
            size = end
            count += 1
            row_sum += of_row(row)
        if count:
            yield Block(kind.pack(memory[:size]), size, count, row_sum)


def blocks_of_lines(lines: Iterable[Buffer], kind: FileKind) -> Generator[Block]:
    """Blocks of rows that are short, and many, and whose fingerprint nobody asks for; else as a `Gatherer` does."""
    held, count = bytearray(), 0
    for line in lines:
        if count and len(held) + len(line) > BLOCK_BYTES:
            yield Block(kind.pack(held), len(held), count, 0)
            held, count = bytearray(), 0
        held += line
        count += 1
    if count:
        yield Block(kind.pack(held), len(held), count, 0)


class BlockFile:
    """One table's file and its index, while several connections append their blocks.

    :param header: bytes before the first row
    """

    def __init__(
        self,
        staged: Writer,
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
    def parts(self) -> tuple[Writer, Writer]:
        """The file and its index."""
        return self.staged, self._index.staged

    def append(self, block: Block) -> None:
        """Add a block at the end, in whatever order the connections come."""
        checksum = block_index.of_block(block.stored)  # outside the lock: several threads at once
        with self._lock:
            self.staged.write(block.stored)
            self._index.add(checksum, length=len(block.stored), unpacked=block.unpacked, rows=block.rows)
            self._bytes += len(block.stored)
            self._raw_bytes += block.unpacked
            self._rows += block.rows
            self._row_sum += block.row_sum

    def _append_outside_rows(self, data: bytes) -> None:
        """What a file has before its first row or after its last."""
        if data:
            self.append(Block(self._kind.pack(data), len(data), 0, 0))

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
