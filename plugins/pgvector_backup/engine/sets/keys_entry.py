"""What a manifest says of a table's keys file: which rows the table held, who wrote each, in which set's file it lies.

``{table}_{timestamp}.keys.csv``: one line a row, sorted by the bytes of the key; the key's columns, then ``xmin``, the
transaction that wrote the row, then ``origin``, the id of the set whose file holds it, then ``row_hash``, of one row in
a hundred a hash of the whole row. It is packed like the table's own file, and has an index of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.postgres.keys_query import keys_header
from pgvector_backup.engine.postgres.lineage import Lineage

SUFFIX: Final = "keys.csv"


@dataclass(frozen=True)
class KeysColumn:
    """A column of a keys file, as a reader of files asks for it."""

    name: str


@dataclass(frozen=True)
class Link:
    """A set that another one stands on.

    :param manifest_sha256: the checksum that its manifest states of itself: another set of that id is not meant
    """

    backup_id: str
    manifest_sha256: str


@dataclass(frozen=True)
class KeysEntry:
    """A keys file.

    :param rows: those of the table at the moment of the set
    :param deleted: rows of the base whose keys the table has no more
    :param lineage: what has to be the same for an increment to stand on the set
    """

    file: str
    compression: str
    rows: int
    bytes: int
    raw_bytes: int
    sha256: str
    index: str
    index_sha256: str
    deleted: int
    lineage: Lineage

    @cached_property
    def file_kind(self) -> FileKind:
        """It is CSV, whatever the table's own file is."""
        return FileKind.named("csv", self.compression)

    @property
    def stored_columns(self) -> tuple[KeysColumn, ...]:
        """Its columns, in their order."""
        return tuple(KeysColumn(name) for name in keys_header(self.lineage.key))
