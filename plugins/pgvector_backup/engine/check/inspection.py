"""One table's file, read once from end to end and held against what its manifest and its block index say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.compression import Compression, CompressionName
from pgvector_backup.engine.codec.formats import FORMATS, FormatName
from pgvector_backup.engine.codec.rows import Field, csv_fields, csv_rows, rows_of
from pgvector_backup.engine.codec.vectors import VectorType, parse, vector_type
from pgvector_backup.engine.contract.verify_result import Inspection
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.tables import Column
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import IndexedBlock
from pgvector_backup.engine.sets.manifest import TableEntry
from pgvector_backup.engine.store.location import Location

_READ_BYTES: Final = 1 << 20
_SIZES_SHOWN: Final = 10
"""Different dimensions of one column that are listed."""

_BARE_VECTOR: Final = b"embedding"
"""The column that holds vectors in files that no manifest describes."""

_BOM: Final = b"\xef\xbb\xbf"

See = Callable[[int, "list[Field]"], None]
"""Told of each row that is as it should be: its number, counted from 1, and its fields in the file's order."""


def columns_of(entry: TableEntry) -> tuple[Column, ...]:
    """The columns that a table's file holds, in its order."""
    return tuple(column for column in entry.columns if not column.generated)


def inspect(
    location: Location,
    entry: TableEntry,
    algorithm_name: str,
    *,
    rows: bool,
    cancel: Cancel,
    progress: Progress,
    see: See | None = None,
) -> Inspection:
    """Read a table's file and its index.

    :param algorithm_name: of the manifest's fingerprints
    :param rows: whether to decode every row as well
    :raises StorageFault: when it is there and cannot be read
    :raises InvalidParams: when rows are to be decoded and the package that unpacks them is missing
    """
    found = Inspection(entry.file)
    index = _index(location, entry, found)
    try:
        file = location.open(entry.file)
    except NotFound:
        found.blame(f"{entry.file}: the manifest lists it, and it is missing")
        return found
    except IntegrityFault as fault:
        found.blame(fault.message)
        return found
    sha256 = hashlib.sha256()
    with file, translated():
        if index is not None:
            reader = _Rows(entry, algorithm_name, found, see) if rows else None
            _read_blocks(
                file, index, entry, found, reader=reader, hashed=sha256.update, cancel=cancel, progress=progress
            )
        elif rows:
            found.notes.append(f"{entry.file}: its rows were not decoded, for nothing tells where they are")
        while data := file.read(_READ_BYTES):
            cancel.check()
            sha256.update(data)
            found.bytes += len(data)
    if found.bytes != entry.bytes:
        found.blame(f"{entry.file}: {found.bytes:,} bytes on disk, {entry.bytes:,} in the manifest")
    elif sha256.hexdigest() != entry.sha256:
        found.blame(f"{entry.file}: its SHA-256 is not the manifest's; the file was altered")
    elif index is None:
        found.notes.append(f"{entry.file}: the file itself is as it was written, only its index is damaged")
    return found


def read_rows(location: Location, entry: TableEntry, cancel: Cancel) -> Iterator[tuple[bytes, list[Field]]]:
    """The rows of a file that has been inspected, each as it stands there and as its fields.

    :raises IntegrityFault: when it has changed since
    """
    with location.open(entry.index) as index, translated():
        blocks = block_index.read(index.read())
    unpack = Compression(cast("CompressionName", entry.compression)).unpacker()
    with location.open(entry.file) as file, translated():
        for block in blocks:
            cancel.check()
            stored = file.read(block.length)
            if block.rows:
                yield from rows_of(unpack(stored, block.unpacked), cast("FormatName", entry.format))


def _index(location: Location, entry: TableEntry, found: Inspection) -> bytes | None:
    """The index's content, if it can be trusted. Its blocks are never held all at once: a terabyte has a million."""
    try:
        with location.open(entry.index) as file, translated():
            content = file.read()
    except NotFound:
        found.blame(f"{entry.index}: the manifest lists it, and it is missing")
        return None
    except IntegrityFault as fault:
        found.blame(fault.message)
        return None
    if hashlib.sha256(content).hexdigest() != entry.index_sha256:
        found.blame(f"{entry.index}: its SHA-256 is not the manifest's; the block index was altered")
        return None
    count = rows = stored = unpacked = 0
    try:
        for block in block_index.read(content):
            count += 1
            rows += block.rows
            stored += block.length
            unpacked += block.unpacked
    except IntegrityFault as fault:
        found.blame(f"{entry.index}: {fault.message}")
        return None
    found.blocks, found.rows = count, rows
    sums = (("rows", rows, entry.rows), ("bytes", stored, entry.bytes), ("bytes unpacked", unpacked, entry.raw_bytes))
    for what, listed, told in sums:
        if listed != told:
            found.blame(f"{entry.index}: it lists {listed:,} {what}, the manifest {told:,}")
    return content


def _read_blocks(
    file: BinaryIO,
    index: bytes,
    entry: TableEntry,
    found: Inspection,
    *,
    reader: _Rows | None,
    hashed: Callable[[bytes], object],
    cancel: Cancel,
    progress: Progress,
) -> None:
    before = 0
    for number, block in enumerate(block_index.read(index), 1):
        cancel.check()
        stored = file.read(block.length)
        hashed(stored)
        found.bytes += len(stored)
        where = f"block {number:,} of {found.blocks:,} (bytes {block.offset:,} to {block.offset + block.length:,}" + (
            f", rows {before + 1:,} to {before + block.rows:,})" if block.rows else ")"
        )
        if not block.is_intact(stored):
            found.damaged_blocks += 1
            short = "is cut short" if len(stored) < block.length else "is not what was written"
            found.blame(f"{entry.file}: {where} {short}")
        elif reader is not None:
            reader.block(block, stored, where, before, last=number == found.blocks, first=number == 1)
        progress.advance(block.rows, block.unpacked)
        before += block.rows
    if reader is not None:
        reader.finish()


class _Rows:
    """Decodes the blocks of one file and holds what is in them against the table's description."""

    def __init__(self, entry: TableEntry, algorithm_name: str, found: Inspection, see: See | None) -> None:
        self._entry = entry
        self._found = found
        self._see = see
        self._columns = columns_of(entry)
        self._format = cast("FormatName", entry.format)
        self._unpack = Compression(cast("CompressionName", entry.compression)).unpacker()
        self._algorithm = fingerprint.named(algorithm_name)
        self._algorithm_name = algorithm_name
        self._vectors = _VectorColumns(
            [
                (at, column.name, kind)
                for at, column in enumerate(self._columns)
                if (kind := vector_type(column.type, column.dimensions))
            ],
            found,
        )
        self._rows = self._sum = 0

    def block(self, block: IndexedBlock, stored: bytes, where: str, before: int, *, first: bool, last: bool) -> None:
        """Unpack and decode one block, whose first row is the file's row ``before`` + 1."""
        try:
            data = self._unpack(stored, block.unpacked)
            if block.rows:
                self._check_rows(block, data, before)
            elif first:
                self._check_header(data)
            elif not last or data != FORMATS[self._format].trailer:
                raise IntegrityFault("it holds no rows and is no trailer")
        except IntegrityFault as fault:
            self._found.damaged_blocks += 1
            self._found.blame(f"{self._entry.file}: {where}: {fault.message}")

    def finish(self) -> None:
        """Compare counts and fingerprint."""
        found, entry = self._found, self._entry
        found.rows = self._rows
        if found.damaged_blocks:
            found.fingerprint = "not compared, for not every block could be decoded"
            return
        if self._rows != entry.rows:
            found.blame(f"{entry.file}: {self._rows:,} rows decoded, {entry.rows:,} in the manifest")
        if self._algorithm is None:
            found.fingerprint = f"not compared: {self._algorithm_name} is not at hand; install xxhash"
            found.notes.append(f"{entry.file}: its fingerprint was {found.fingerprint}")
        elif fingerprint.of_sum(self._sum) == entry.fingerprint:
            found.fingerprint = "equal"
        else:
            found.fingerprint = "other"
            found.blame(f"{entry.file}: the fingerprint of its rows is not the manifest's")

    def _check_rows(self, block: IndexedBlock, data: bytes, before: int) -> None:
        of_row = None if self._algorithm is None else self._algorithm.of_row
        wanted = len(self._columns)
        seen = 0
        for row, fields in rows_of(data, self._format):
            seen += 1
            if of_row is not None:
                self._sum += of_row(row)
            if len(fields) != wanted and not (wanted == 0 and fields == [None]):
                self._found.blame(
                    f"{self._entry.file}: row {before + seen:,} has {len(fields)} columns, the table {wanted}"
                )
            elif self._vectors.check(before + seen, fields, self._format) and self._see is not None:
                self._see(before + seen, fields)
        self._rows += seen
        if seen != block.rows:
            raise IntegrityFault(f"it holds {seen:,} rows, and {block.rows:,} are listed")

    def _check_header(self, data: bytes) -> None:
        known = FORMATS[self._format].header
        if known is not None:
            if data != known:
                raise IntegrityFault("it is not the header of PostgreSQL's binary COPY format")
            return
        names = [] if data == b"\n" else csv_fields(data.removesuffix(b"\n"))
        wanted = [column.name.encode() for column in self._columns]
        if names != wanted or not data.endswith(b"\n"):
            raise IntegrityFault("its header does not name the table's columns")


class _VectorColumns:
    """The vectors of each row; what is seen of them goes into the inspection's figures.

    :param columns: place in the row, name, type
    """

    def __init__(self, columns: list[tuple[int, str, VectorType]], found: Inspection) -> None:
        self._columns = columns
        self._found = found
        self._dimensions: dict[str, set[int]] = {}
        for _, name, _ in columns:
            self._dimensions[name] = set()
            found.vectors[name] = {"count": 0, "dimensions": []}

    def check(self, number: int, fields: list[Field], file_format: FormatName) -> bool:
        """Look at one row's vectors; False when one of them is not as it should be."""
        fine = True
        for at, name, kind in self._columns:
            value = fields[at]
            if value is None:
                continue
            try:
                vector = parse(value, kind, file_format)
            except IntegrityFault as fault:
                self._found.blame(f"{self._found.file}: row {number:,}, column {name}: {fault.message}")
                fine = False
                continue
            figures = self._found.vectors[name]
            figures["count"] += 1
            known = self._dimensions[name]
            if vector.dimensions not in known and len(known) < _SIZES_SHOWN:
                known.add(vector.dimensions)
                figures["dimensions"] = sorted(known)
        return fine


def inspect_bare(location: Location, name: str, *, rows: bool, cancel: Cancel, progress: Progress) -> Inspection:
    """Read a CSV file that no manifest tells of: what it holds can be decoded, and compared with nothing.

    :param rows: whether to; otherwise only its header is read
    """
    found = Inspection(name)
    found.notes.append(f"{name}: there is no manifest, so nothing to compare its size, checksum and rows with")
    with location.open(name) as file, translated():
        lines = csv_rows(_chunks(file, found, cancel))
        try:
            header = csv_fields(_without_end(next(lines, b"")).removeprefix(_BOM))
            if header == [None]:
                raise IntegrityFault("it is empty, not even a header is there")
        except IntegrityFault as fault:
            found.blame(f"{name}: header: {fault.message}")
            return found
        if rows:
            _bare_rows(lines, header, found, progress)
    return found


def _bare_rows(lines: Iterator[bytes], header: list[Field], found: Inspection, progress: Progress) -> None:
    number = 0
    vectors: _VectorColumns | None = None
    at = header.index(_BARE_VECTOR) if _BARE_VECTOR in header else None
    for line in lines:
        number += 1
        progress.advance(1, len(line))
        try:
            fields = csv_fields(_without_end(line))
            if len(fields) != len(header):
                raise IntegrityFault(f"it has {len(fields)} columns, the header {len(header)}")
        except IntegrityFault as fault:
            found.blame(f"{found.file}: row {number:,}: {fault.message}")
            continue
        if at is not None and vectors is None and fields[at] is not None:
            # Only the first value tells whether these are vectors at all.
            is_vector = (fields[at] or b"").startswith(b"[")
            vectors = _VectorColumns(
                [(at, _BARE_VECTOR.decode(), VectorType("vector", None))] if is_vector else [], found
            )
        if vectors is not None:
            vectors.check(number, fields, "csv")
    found.rows = number


def _chunks(file: BinaryIO, found: Inspection, cancel: Cancel) -> Iterator[bytes]:
    while data := file.read(_READ_BYTES):
        cancel.check()
        found.bytes += len(data)
        yield data


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")
