"""A backup set as a restore reads it: which tables it holds, and the rows of each, block by block.

A set of our own tells of itself in its manifest. The CSV files of another tool tell only what their header lines say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from urllib.parse import unquote

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.codec.formats import CSV, Format
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.sets.chain import TableChain, chains
from pgvector_backup.engine.sets.documents import MANIFEST_BYTES, read_bounded
from pgvector_backup.engine.sets.foreign_file import ForeignFile
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import Block, StoredFile
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name


@dataclass(frozen=True)
class StoredTable:
    """One table of a set.

    :param label: what the set calls it
    :param name: where it was; of another tool's file the name in its file name
    :param columns: those that the file holds, in its order
    :param entry: what the manifest says; None without one. Of an increment with rows and bytes of the whole chain
    :param chain: where its rows lie, if it is of an increment
    """

    label: str
    name: TableName
    file: str
    bytes: int
    format: Format
    columns: tuple[str, ...]
    entry: TableEntry | None
    chain: TableChain | None = None


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

    def glance(self, tables: Sequence[StoredTable], cancel: Cancel) -> None:
        """Hold against the manifest what shows of these tables' files without reading their rows.

        `blocks` says the rest. Files that it does not need are read to their end here.

        :raises IntegrityFault: naming the first file that is missing or differs, and in what
        """
        for table in tables:
            if table.chain is not None:
                table.chain.glance(cancel)
            elif table.entry is not None:
                StoredFile(self.location, table.entry).glance(cancel)
        if self.manifest is not None:
            check_script(self.location, self.manifest)

    def check(self, tables: Sequence[StoredTable], cancel: Cancel) -> None:
        """Hold all of these tables' files against the manifest.

        :raises IntegrityFault: naming the first file that is missing or differs, and in what
        """
        for table in tables:
            if table.chain is not None:
                table.chain.check(cancel)
            elif table.entry is not None:
                StoredFile(self.location, table.entry).check(cancel)

    def blocks(self, table: StoredTable, cancel: Cancel, *, prove: bool = False) -> Iterator[Block]:
        """A table's rows, about a mebibyte of them at a time, without the file's header and trailer.

        :param prove: whether, with the last one, size and SHA-256 of every file read are held against its manifest
        :raises IntegrityFault: where the file is not what its manifest and its index say
        """
        if table.entry is None:
            return ForeignFile(self.location, table.file).blocks(cancel)
        if table.chain is not None:
            return table.chain.blocks(cancel, prove=prove)
        return StoredFile(self.location, table.entry).blocks(cancel, prove=prove)


def open_set(location: Location, found: FoundSet) -> StoredSet:
    """Learn what a set holds.

    :raises IntegrityFault: when its manifest is damaged, or the header of another tool's file cannot be read
    """
    if found.manifest_file is None:
        foreign = {table.name: _foreign(location, table.name, table.file, table.bytes) for table in found.tables}
        return StoredSet(location, found, None, {one.label: one for one in foreign.values()}, fingerprint.best())
    manifest = Manifest.read(location, found.manifest_file)
    chained = chains(location, manifest)
    tables = {entry.name: _described(entry, chained.get(entry.name)) for entry in manifest.tables}
    return StoredSet(location, found, manifest, tables, fingerprint.named(manifest.fingerprint_algorithm))


def check_script(location: Location, manifest: Manifest) -> None:
    """Hold the script for psql against the manifest; sets of earlier releases do not tell of theirs.

    :raises IntegrityFault: when it is missing or was altered
    """
    if manifest.script is None:
        return
    try:
        content = read_bounded(location, manifest.script, MANIFEST_BYTES)
    except NotFound:
        raise IntegrityFault(f"{manifest.script}: the manifest lists it, and it is missing") from None
    if hashlib.sha256(content).hexdigest() != manifest.script_sha256:
        raise IntegrityFault(f"{manifest.script}: its SHA-256 is not the manifest's; the script for psql was altered")


def shared_lock(location: Location, found: FoundSet) -> AbstractContextManager[None]:
    """Keep a set, and those that it stands on, from being removed while it is read.

    Another tool's files have nothing to hold on to.
    """
    return nullcontext() if found.manifest_file is None else shared_locks(location, (found.backup_id, *found.chain))


@contextmanager
def shared_locks(location: Location, backup_ids: Iterable[str]) -> Iterator[None]:
    """Keep several sets from being removed while they are read; one that is not there is another's to tell of.

    :raises Conflict: while one of them is being removed
    """
    with ExitStack() as held:
        for number, backup_id in enumerate(backup_ids):
            try:
                held.enter_context(location.shared_lock(manifest_name(backup_id)))
            except NotFound:
                if not number:
                    raise
        yield


def _described(entry: TableEntry, chain: TableChain | None) -> StoredTable:
    if chain is not None:
        entry = replace(entry, rows=entry.row_count, raw_bytes=chain.raw_bytes)
    return StoredTable(
        label=entry.name,
        name=TableName(entry.schema, entry.table),
        file=entry.file,
        bytes=entry.bytes,
        format=entry.file_kind.format,
        columns=tuple(column.name for column in entry.stored_columns),
        entry=entry,
        chain=chain,
    )


def _foreign(location: Location, label: str, file: str, size: int) -> StoredTable:
    # What a file name cannot hold is written %XX, by us at least.
    label = unquote(label)
    return StoredTable(
        label=label,
        name=TableName.parse(label),
        file=file,
        bytes=size,
        format=CSV,
        columns=ForeignFile(location, file).columns(),
        entry=None,
    )
