"""What a manifest says of one table: what it was, and the file that holds its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.postgres.own_types import OwnType
from pgvector_backup.engine.postgres.properties import Properties
from pgvector_backup.engine.postgres.sequences import SequenceState
from pgvector_backup.engine.postgres.tables import Column, Constraint, Index, Table
from pgvector_backup.engine.sets.blocks import FileFacts
from pgvector_backup.engine.sets.keys_entry import KeysEntry


@dataclass(frozen=True)
class TableEntry:
    """One table of a set and the file that holds its rows.

    :param name: how the configuration called it
    :param file: bare name of the file beside the manifest
    :param format: ``csv`` or ``binary``, PostgreSQL's COPY formats
    :param compression: ``none``, ``zstd`` or ``gzip``, a frame or member a block
    :param raw_bytes: bytes before compression
    :param index: bare name of the file's block index
    :param fingerprint: of its rows, in the manifest's ``fingerprint_algorithm``
    :param relations: oids of the relations that its rows were in: the table, or its partitions
    :param properties: what else the table was; None in sets of releases that did not record it
    :param sequences: those that its columns counted by
    :param types: those that its database had made for itself and its columns need, in the order of their making
    :param keys: the file that says which rows the table held; None where none was written
    :param late_transactions: 64-bit ids at or above the snapshot's ``xmin`` whose rows the file does hold;
        None when they were too many to list
    """

    name: str
    schema: str
    table: str
    kind: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    indexes: tuple[Index, ...]
    file: str
    format: str
    compression: str
    rows: int
    bytes: int
    raw_bytes: int
    sha256: str
    fingerprint: str
    index: str
    index_sha256: str
    relations: tuple[int, ...]
    late_transactions: tuple[int, ...] | None
    properties: Properties | None = None
    sequences: tuple[SequenceState, ...] = ()
    keys: KeysEntry | None = None
    types: tuple[OwnType, ...] = ()

    @cached_property
    def file_kind(self) -> FileKind:
        """Format and compression of its file."""
        return FileKind.named(self.format, self.compression)

    @property
    def row_count(self) -> int:
        """Rows of the table at the moment of the set; an increment's file holds fewer of them."""
        return self.rows if self.keys is None else self.keys.rows

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each of its files, by name: rows and their index, keys and theirs."""
        keys = {} if self.keys is None else {self.keys.file: self.keys.sha256, self.keys.index: self.keys.index_sha256}
        return {self.file: self.sha256, self.index: self.index_sha256, **keys}

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """The columns that its file holds, in their order: all but the generated ones."""
        return tuple(column for column in self.columns if not column.generated)

    @classmethod
    def of(
        cls,
        table: Table,
        facts: FileFacts,
        kind: FileKind,
        late_transactions: Sequence[int] | None,
        keys: KeysEntry | None = None,
    ) -> TableEntry:
        """The entry of a table whose file is finished."""
        return cls(
            name=table.name.label,
            schema=table.schema,
            table=table.table,
            kind=table.kind,
            columns=table.columns,
            primary_key=table.primary_key,
            constraints=table.constraints,
            indexes=table.indexes,
            file=facts.name,
            format=kind.format.name,
            compression=kind.compression.name,
            rows=facts.rows,
            bytes=facts.bytes,
            raw_bytes=facts.raw_bytes,
            sha256=facts.sha256,
            fingerprint=facts.fingerprint,
            index=facts.index,
            index_sha256=facts.index_sha256,
            relations=table.relations,
            late_transactions=None if late_transactions is None else tuple(late_transactions),
            properties=table.properties,
            sequences=table.sequences,
            types=table.types,
            keys=keys,
        )
