"""One table's file, read once from end to end and held against what its manifest and its block index say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.formats import CSV, Format
from pgvector_backup.engine.codec.rows import Field, csv_fields
from pgvector_backup.engine.codec.vectors import VectorType, vector_type
from pgvector_backup.engine.contract.verify_result import Inspection
from pgvector_backup.engine.sets.foreign_file import ForeignFile
from pgvector_backup.engine.sets.stored_file import Block, StoredFile
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location

_SIZES_SHOWN: Final = 10
"""Different dimensions of one column that are listed."""

_FOREIGN_VECTOR: Final = b"embedding"
"""The column that holds vectors in files that no manifest describes."""

See = Callable[["list[Field]"], None]
"""Given the fields of each row that is as it should be, in the file's order."""


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
    file = StoredFile(location, entry)
    listing = file.index(found.blame)
    reader = None
    if listing is not None:
        found.blocks, found.rows = listing.blocks, listing.rows
        reader = _Rows(entry, algorithm_name, found, see) if rows else None
    left = entry.raw_bytes
    for block in file.read(listing, cancel, found.blame, unpack=rows):
        if reader is not None:
            reader.check(block)
        progress.advance(block.rows or 0, block.unpacked)
        left -= block.unpacked
    found.bytes = file.bytes_read
    if file.intact is None:  # there was nothing to read
        return found
    progress.advance(0, left)  # header and trailer, and what was passed over
    if reader is not None:
        reader.finish()
    elif rows:
        found.notes.append(f"{entry.file}: its rows were not decoded, for nothing tells where they are")
    if listing is None and file.intact:
        found.notes.append(f"{entry.file}: the file itself is as it was written, only its index is damaged")
    return found


class _Rows:
    """Decodes the rows of one file and holds them against the table's description."""

    def __init__(self, entry: TableEntry, algorithm_name: str, found: Inspection, see: See | None) -> None:
        self._entry = entry
        self._found = found
        self._see = see
        self._columns = entry.stored_columns
        self._format = entry.file_kind.format
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

    def check(self, block: Block) -> None:
        """Decode one block."""
        try:
            self._check_rows(block)
        except IntegrityFault as fault:
            self._found.blame(f"{self._entry.file}: {block.where}: {fault.english}", of_block=True)

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

    def _check_rows(self, block: Block) -> None:
        of_row = None if self._algorithm is None else self._algorithm.of_row
        wanted = len(self._columns)
        seen = 0
        for number, (row, fields) in enumerate(self._format.rows(block.data), block.first_row):
            seen += 1
            if of_row is not None:
                self._sum += of_row(row)
            if len(fields) != wanted and not (wanted == 0 and fields == [None]):
                self._found.blame(f"{self._entry.file}: row {number:,} has {len(fields)} columns, the table {wanted}")
            elif self._vectors.check(number, fields, self._format) and self._see is not None:
                self._see(fields)
        self._rows += seen
        if seen != block.rows:
            raise IntegrityFault(f"it holds {seen:,} rows, and {block.rows:,} are listed")


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

    def check(self, number: int, fields: list[Field], form: Format) -> bool:
        """Look at one row's vectors; False when one of them is not as it should be."""
        fine = True
        for at, name, kind in self._columns:
            value = fields[at]
            if value is None:
                continue
            try:
                vector = form.vector(value, kind)
            except IntegrityFault as fault:
                self._found.blame(f"{self._found.file}: row {number:,}, column {name}: {fault.english}")
                fine = False
                continue
            figures = self._found.vectors[name]
            figures["count"] += 1
            known = self._dimensions[name]
            if vector.dimensions not in known and len(known) < _SIZES_SHOWN:
                known.add(vector.dimensions)
                figures["dimensions"] = sorted(known)
        return fine


def inspect_foreign(location: Location, name: str, *, rows: bool, cancel: Cancel, progress: Progress) -> Inspection:
    """Read a CSV file that no manifest tells of: what it holds can be decoded, and compared with nothing.

    :param rows: whether to; otherwise only its header is read
    """
    found = Inspection(name)
    found.notes.append(f"{name}: there is no manifest, so nothing to compare its size, checksum and rows with")
    lines = ForeignFile(location, name).lines(cancel)
    try:
        header = csv_fields(next(lines, b""))
        if header == [None]:
            raise IntegrityFault("it is empty, not even a header is there")
    except IntegrityFault as fault:
        found.blame(f"{name}: header: {fault.english}")
        return found
    if rows:
        _foreign_rows(lines, header, found, progress)
    return found


def _foreign_rows(lines: Iterator[bytes], header: list[Field], found: Inspection, progress: Progress) -> None:
    number = 0
    vectors: _VectorColumns | None = None
    at = header.index(_FOREIGN_VECTOR) if _FOREIGN_VECTOR in header else None
    for line in lines:
        number += 1
        progress.advance(1, len(line) + 1)
        try:
            fields = csv_fields(line)
            if len(fields) != len(header):
                raise IntegrityFault(f"it has {len(fields)} columns, the header {len(header)}")
        except IntegrityFault as fault:
            found.blame(f"{found.file}: row {number:,}: {fault.english}")
            continue
        if at is not None and vectors is None and fields[at] is not None:
            # Only the first value tells whether these are vectors at all.
            is_vector = (fields[at] or b"").startswith(b"[")
            vectors = _VectorColumns(
                [(at, _FOREIGN_VECTOR.decode(), VectorType("vector", None))] if is_vector else [], found
            )
        if vectors is not None:
            vectors.check(number, fields, CSV)
    found.rows = number
