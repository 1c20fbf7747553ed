"""A backup set as a restore reads it: which tables it holds, and the rows of each, block by block.

A set of our own tells of itself in its manifest. The CSV files of another tool tell only what their header lines say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, cast
from urllib.parse import unquote

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.compression import NAMES, Compression, CompressionName
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.codec.formats import FORMATS, FormatName
from pgvector_backup.engine.codec.rows import csv_fields, csv_rows
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import IndexedBlock
from pgvector_backup.engine.sets.catalog import FoundSet
from pgvector_backup.engine.sets.integrity import check_files, read_manifest
from pgvector_backup.engine.sets.manifest import Manifest, TableEntry
from pgvector_backup.engine.store.location import Location

_READ_BYTES: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class StoredTable:
    """One table of a set.

    :param label: what the set calls it
    :param name: where it was; of another tool's file the name in its file name
    :param columns: those that the file holds, in its order
    :param entry: what the manifest says; None without one
    """

    label: str
    name: TableName
    file: str
    bytes: int
    format: FormatName
    columns: tuple[str, ...]
    entry: TableEntry | None


@dataclass(frozen=True)
class Block:
    """Whole rows of a file, unpacked; ``first_line`` is the line of the file, from 1, on which they begin.

    :param rows: None where nothing has counted them yet
    """

    data: bytes
    rows: int | None
    first_line: int | None = None


@dataclass(frozen=True)
class StoredSet:
    """A set that lies in a location.

    :param algorithm: what the manifest's fingerprints are made with; None where this installation has no such
    """

    location: Location
    found: FoundSet
    manifest: Manifest | None
    tables: Mapping[str, StoredTable]
    algorithm: Algorithm | None

    def choose(self, labels: Sequence[str] | None) -> list[StoredTable]:
        """Those of the tables that are asked for; None: all.

        :raises NotFound: naming what the set holds instead
        """
        if labels is None:
            if not self.tables:
                raise NotFound(f"set {self.found.backup_id} holds no table")
            return list(self.tables.values())
        chosen = []
        for label in labels:
            table = self.tables.get(label) or self._by_schema(label)
            if table is None:
                there = ", ".join(self.tables) or "none"
                raise NotFound(f"tables: {label} is not in set {self.found.backup_id}, which holds {there}")
            if table not in chosen:
                chosen.append(table)
        return chosen

    def _by_schema(self, label: str) -> StoredTable | None:
        """A table that the set calls ``t`` asked for as ``public.t``."""
        for table in self.tables.values():
            if table.entry is not None and TableName(table.entry.schema, table.entry.table).label == label:
                return table
        return None

    def check(self, tables: Sequence[StoredTable], cancel: Cancel) -> None:
        """Hold the files of these tables against the manifest.

        :raises IntegrityFault: naming the first file that is missing or differs, and in what
        """
        if self.manifest is None:
            return
        entries = tuple(table.entry for table in tables if table.entry is not None)
        check_files(self.location, replace(self.manifest, tables=entries), cancel)

    def blocks(self, table: StoredTable, cancel: Cancel) -> Iterator[Block]:
        """A table's rows, about a mebibyte of them at a time, without the file's header and trailer.

        :raises IntegrityFault: where the file is not what its manifest and its index say
        """
        if table.entry is None:
            return _bare_blocks(self.location, table, cancel)
        return _indexed_blocks(self.location, table, table.entry, cancel)


def open_set(location: Location, found: FoundSet) -> StoredSet:
    """Learn what a set holds.

    :raises IntegrityFault: when its manifest is damaged, or the header of another tool's file cannot be read
    """
    if found.manifest_file is None:
        bare = {table.name: _bare(location, table.name, table.file, table.bytes) for table in found.tables}
        return StoredSet(location, found, None, {one.label: one for one in bare.values()}, fingerprint.best())
    manifest = read_manifest(location, found.manifest_file)
    if manifest.backup_id != found.backup_id:
        raise IntegrityFault(f"{found.manifest_file}: it says that it is of set {manifest.backup_id}")
    for entry in manifest.tables:
        if entry.format not in FORMATS:
            raise IntegrityFault(f"{found.manifest_file}: {entry.name}: unknown format {entry.format!r}")
        if entry.compression not in NAMES:
            raise IntegrityFault(f"{found.manifest_file}: {entry.name}: unknown compression {entry.compression!r}")
    tables = {entry.name: _told_by(entry) for entry in manifest.tables}
    return StoredSet(location, found, manifest, tables, fingerprint.named(manifest.fingerprint_algorithm))


def kept(location: Location, found: FoundSet) -> AbstractContextManager[None]:
    """Keep a set from being removed while it is read; another tool's files have nothing to hold on to."""
    return nullcontext() if found.manifest_file is None else location.kept(found.manifest_file)


def _told_by(entry: TableEntry) -> StoredTable:
    return StoredTable(
        label=entry.name,
        name=TableName(entry.schema, entry.table),
        file=entry.file,
        bytes=entry.bytes,
        format=cast("FormatName", entry.format),
        columns=tuple(column.name for column in entry.columns if not column.generated),
        entry=entry,
    )


def _bare(location: Location, label: str, file: str, size: int) -> StoredTable:
    # What a file name cannot hold is written %XX, by us at least.
    label = unquote(label)
    with location.open(file) as source, translated():
        header = next(csv_rows(_pieces(source, Cancel())), b"")
    try:
        names = csv_fields(_without_end(header.removeprefix(_BOM)))
        columns = tuple(name.decode() for name in names if name)
    except (IntegrityFault, UnicodeDecodeError):
        raise IntegrityFault(f"{file}: line 1: the header line cannot be read") from None
    if not columns or len(columns) < len(names) or len(set(columns)) < len(columns):
        raise IntegrityFault(f"{file}: line 1: a header line that names each column once is missing")
    return StoredTable(
        label=label,
        name=TableName.parse(label),
        file=file,
        bytes=size,
        format="csv",
        columns=columns,
        entry=None,
    )


def _indexed_blocks(location: Location, table: StoredTable, entry: TableEntry, cancel: Cancel) -> Iterator[Block]:
    unpack = Compression(cast("CompressionName", entry.compression)).unpacker()
    form = FORMATS[table.format]
    seen_header = False
    rows = raw_bytes = size = 0
    with location.open(entry.index) as index_file, translated():
        listed = block_index.read(index_file.read())
    with location.open(entry.file) as file, translated():
        for number, block in enumerate(listed):
            cancel.check()
            data = _read(file, entry.file, number, block, unpack)
            rows += block.rows
            raw_bytes += len(data)
            size += block.length
            if block.rows:
                yield Block(data, block.rows)
            elif not seen_header:
                seen_header = True
                _check_header(table, data)
            elif data != form.trailer:
                raise IntegrityFault(f"{entry.file}: block {number:,}: it holds no rows and is no trailer")
        if file.read(1) or (rows, raw_bytes, size) != (entry.rows, entry.raw_bytes, entry.bytes):
            raise IntegrityFault(
                f"{entry.index}: it lists {rows:,} rows and {size:,} bytes, and the manifest tells of {entry.rows:,} "
                f"rows and {entry.bytes:,} bytes"
            )


def _read(file: BinaryIO, name: str, number: int, block: IndexedBlock, unpack: object) -> bytes:
    stored = file.read(block.length)
    if not block.is_intact(stored):
        raise IntegrityFault(f"{name}: block {number:,}, at byte {block.offset:,}: it is not what was written")
    try:
        return cast("bytes", unpack(stored, block.unpacked))  # type: ignore[operator]
    except IntegrityFault as fault:
        raise IntegrityFault(f"{name}: block {number:,}, at byte {block.offset:,}: {fault.message}") from None


def _check_header(table: StoredTable, data: bytes) -> None:
    known = FORMATS[table.format].header
    if known is not None:
        if data != known:
            raise IntegrityFault(f"{table.file}: it does not begin as a file in PostgreSQL's binary COPY format does")
        return
    names = [] if data == b"\n" else csv_fields(_without_end(data))
    if names != [name.encode() for name in table.columns]:
        raise IntegrityFault(f"{table.file}: its header line does not name the columns that the manifest does")


def _bare_blocks(location: Location, table: StoredTable, cancel: Cancel) -> Iterator[Block]:
    """Rows with a plain line end each, whatever was there; the last line may have none."""
    with location.open(table.file) as file, translated():
        rows = csv_rows(_pieces(file, cancel))
        header = next(rows, b"")
        line = first = 1 + header.count(b"\n")
        pending: list[bytes] = []
        size = 0
        for row in rows:
            line += row.count(b"\n")
            pending.append(_without_end(row) + b"\n")
            size += len(row)
            if size >= _READ_BYTES:
                yield Block(b"".join(pending), len(pending), first)
                pending.clear()
                size, first = 0, line
        if pending:
            yield Block(b"".join(pending), len(pending), first)


def _pieces(file: BinaryIO, cancel: Cancel) -> Iterator[bytes]:
    while piece := file.read(_READ_BYTES):
        cancel.check()
        yield piece


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")
