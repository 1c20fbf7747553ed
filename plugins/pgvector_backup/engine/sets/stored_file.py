"""A table's file in a set: the only code that walks its blocks and holds them against index and manifest."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, NotFound, storage_translated
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import IndexedBlock
from pgvector_backup.engine.sets.documents import read_bounded
from pgvector_backup.engine.sets.keys_entry import KeysEntry
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location

_READ_BYTES: Final = 1 << 20
_AHEAD: Final = 4
"""Blocks that may wait for being hashed while others are worked on."""

OnFault = Callable[[str, bool], None]
"""Told what is wrong, and whether it is of one block, which is then passed over. Raises, or notes it."""


def refuse(fault: str, of_block: bool) -> None:
    """Read no further."""
    raise IntegrityFault(fault)


@dataclass(frozen=True)
class Block:
    """Whole rows of a file, unpacked.

    :param data: empty where nothing is unpacked
    :param rows: None where nothing has counted them yet
    :param first_row: the number of its first row in the file, from 1
    :param unpacked: bytes of its rows, unpacked or not
    :param first_line: the line of the file, from 1, on which its rows begin; of other tools' files alone
    :param where: which block of its file it is
    """

    data: bytes
    rows: int | None
    first_row: int = 1
    unpacked: int = 0
    first_line: int | None = None
    where: str = ""


@dataclass(frozen=True)
class Listing:
    """A block index that can be trusted. Its blocks are never held all at once: a terabyte has a million."""

    content: bytes
    blocks: int
    rows: int

    def __iter__(self) -> Iterator[IndexedBlock]:
        return block_index.read(self.content)


@dataclass
class StoredFile:
    """The file of one table, or of its keys, and its index.

    :param bytes_read: of the file
    :param intact: once it was read to its end for that: whether size and SHA-256 are the manifest's
    """

    location: Location
    entry: TableEntry | KeysEntry
    bytes_read: int = field(default=0, init=False)
    intact: bool | None = field(default=None, init=False)

    def check(self, cancel: Cancel) -> None:
        """Hold size and SHA-256 of the file and of its index against the manifest.

        :raises IntegrityFault: naming the first that is missing or differs, and in what
        """
        for _ in self._walk(None, cancel, refuse, digest=True):
            pass
        self.index()

    def glance(self, cancel: Cancel) -> None:
        """Hold against the manifest what shows without reading the rows: the file's size, its index, its header.

        Where the index has checksums that cannot be computed here, all of the file is read.

        :raises IntegrityFault: naming the first that is missing or differs, and in what
        """
        file = self._opened(refuse)
        assert file is not None
        with file, storage_translated():
            size = file.seek(0, os.SEEK_END)
        if size != self.entry.bytes:
            refuse(self._other_size(size), False)
        if not self._header()[0].is_proof:
            self.check(cancel)

    def index(self, on_fault: OnFault = refuse) -> Listing | None:
        """The index, held against the manifest; None when it cannot be trusted."""
        entry = self.entry
        try:
            content = read_bounded(self.location, entry.index, block_index.largest(entry.rows))
        except NotFound:
            on_fault(f"{entry.index}: the manifest lists it, and it is missing", False)
            return None
        except IntegrityFault as fault:
            on_fault(fault.message, False)
            return None
        if hashlib.sha256(content).hexdigest() != entry.index_sha256:
            on_fault(f"{entry.index}: its SHA-256 is not the manifest's; the block index was altered", False)
            return None
        count = rows = stored = unpacked = 0
        try:
            for block in block_index.read(content):
                count += 1
                rows += block.rows
                stored += block.length
                unpacked += block.unpacked
        except IntegrityFault as fault:
            on_fault(f"{entry.index}: {fault.english}", False)
            return None
        sums = (
            ("rows", rows, entry.rows),
            ("bytes", stored, entry.bytes),
            ("bytes unpacked", unpacked, entry.raw_bytes),
        )
        for what, listed, wanted in sums:
            if listed != wanted:
                on_fault(f"{entry.index}: it lists {listed:,} {what}, the manifest {wanted:,}", False)
        return Listing(content, count, rows)

    def header(self) -> bytes:
        """What the file has before its first row.

        :raises IntegrityFault: when that is not as its index says
        """
        return self._header()[1]

    def _header(self) -> tuple[IndexedBlock, bytes]:
        listing = self.index()
        first = next(iter(listing or ()), None)
        if listing is None or first is None or first.rows:
            raise IntegrityFault(f"{self.entry.file}: it has no header")
        with self.location.open(self.entry.file) as file, storage_translated():
            stored = file.read(first.length)
        try:
            return first, self._block(first, stored, 1, listing.blocks, unpack=True)
        except IntegrityFault as fault:
            raise IntegrityFault(f"{self.entry.file}: {_where(1, listing.blocks, first, 0)}{fault.english}") from None

    def blocks(self, cancel: Cancel, *, prove: bool = False) -> Iterator[Block]:
        """A table's rows, about a mebibyte of them at a time, without the file's header and trailer.

        :param prove: whether size and SHA-256 of the file are held against the manifest once the last one was given
        :raises IntegrityFault: where the file is not what its manifest and its index say
        """
        return self._walk(self.index(), cancel, refuse, unpack=True, digest=prove)

    def read(self, listing: Listing | None, cancel: Cancel, on_fault: OnFault, *, unpack: bool) -> Iterator[Block]:
        """The same, of a file of which everything is to be known: all of it is read, whatever is wrong with it.

        :param listing: what `index` gave
        :param unpack: whether blocks are unpacked, and headers and trailers looked at
        """
        return self._walk(listing, cancel, on_fault, unpack=unpack, digest=True)

    def _walk(
        self,
        listing: Listing | None,
        cancel: Cancel,
        on_fault: OnFault,
        *,
        unpack: bool = False,
        digest: bool,
    ) -> Iterator[Block]:
        entry = self.entry
        file = self._opened(on_fault)
        if file is None:
            return
        with file, storage_translated(), closing(_Digest()) as sha256:
            before = 0
            for number, listed in enumerate(listing or (), 1):
                assert listing is not None
                cancel.check()
                stored = self._take(file, listed.length)
                if digest:
                    sha256.update(stored)
                where = _where(number, listing.blocks, listed, before)
                try:
                    block = self._block(listed, stored, number, listing.blocks, unpack=unpack)
                except IntegrityFault as fault:
                    on_fault(f"{entry.file}: {where}{fault.english}", True)
                else:
                    del stored
                    if listed.rows:
                        yield Block(block, listed.rows, before + 1, listed.unpacked, where=where)
                    del block  # a large row is not to be held as long as the next one is read
                before += listed.rows
            if not digest:
                if file.read(1):
                    on_fault(f"{entry.file}: it goes on after the {entry.bytes:,} bytes of the manifest", False)
                return
            while rest := self._take(file, _READ_BYTES):
                cancel.check()
                sha256.update(rest)
            self.intact = (self.bytes_read, sha256.hexdigest()) == (entry.bytes, entry.sha256)
        if self.bytes_read != entry.bytes:
            on_fault(self._other_size(self.bytes_read), False)
        elif not self.intact:
            on_fault(f"{entry.file}: its SHA-256 is not the manifest's; the file was altered", False)

    def _opened(self, on_fault: OnFault) -> BinaryIO | None:
        try:
            return self.location.open(self.entry.file)
        except NotFound:
            on_fault(f"{self.entry.file}: the manifest lists it, and it is missing", False)
        except IntegrityFault as fault:
            on_fault(fault.message, False)
        return None

    def _other_size(self, size: int) -> str:
        return f"{self.entry.file}: {size:,} bytes on disk, {self.entry.bytes:,} in the manifest"

    def _take(self, file: BinaryIO, length: int) -> bytes:
        data = file.read(length)
        self.bytes_read += len(data)
        return data

    def _block(self, listed: IndexedBlock, stored: bytes, number: int, of: int, *, unpack: bool) -> bytes:
        if not listed.is_intact(stored):
            raise IntegrityFault(" is cut short" if len(stored) < listed.length else " is not what was written")
        if not unpack:
            return b""
        kind = self.entry.file_kind
        try:
            data = kind.unpack(stored, listed.unpacked)
            if number == 1:
                if listed.rows:
                    raise IntegrityFault("it holds rows where the header belongs")
                kind.format.check_header(data, [column.name for column in self.entry.stored_columns])
            elif not listed.rows and (number < of or data != kind.format.trailer):
                raise IntegrityFault("it holds no rows and is no trailer")
        except IntegrityFault as fault:
            raise IntegrityFault(f": {fault.english}") from None
        return data


class _Digest:
    """SHA-256, in a thread of its own: a block is hashed while its rows are on their way to where they go."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def update(self, data: bytes) -> None:
        """Go on with it; the data must not change."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        if len(self._waiting) == _AHEAD:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._sha256.update, data))

    def hexdigest(self) -> str:
        """Of all that it was given."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _where(number: int, of: int, block: IndexedBlock, before: int) -> str:
    rows = f", rows {before + 1:,} to {before + block.rows:,}" if block.rows else ""
    return f"block {number:,} of {of:,} (bytes {block.offset:,} to {block.offset + block.length:,}{rows})"
