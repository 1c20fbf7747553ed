"""Keys out of a snapshot into their file: as they are for a full set, merged with the base's for an increment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection
from psycopg.abc import Buffer

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.compression import Compression
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.formats import CSV
from pgvector_backup.engine.postgres.keys_query import Seen, keys_header, keys_query
from pgvector_backup.engine.postgres.lineage import Lineage
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.sets import block_index, keys_entry
from pgvector_backup.engine.sets.base_set import Base
from pgvector_backup.engine.sets.block_index import BlockIndexWriter
from pgvector_backup.engine.sets.blocks import BlockFile, FileFacts, blocks_of_lines
from pgvector_backup.engine.sets.keys_entry import KeysEntry
from pgvector_backup.engine.sets.keys_file import BrokenLine, Merge, Tally, read_lines
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.writer import Writer

_BYTES_A_LINE: Final = 70
"""Of a keys file, as far as anybody can tell before."""


@dataclass(frozen=True)
class KeysFile:
    """A finished keys file, and what its merge has counted; ``seen`` None: there was no base."""

    file: BlockFile
    facts: FileFacts
    lineage: Lineage
    compression: Compression
    tally: Tally
    seen: Seen | None

    @property
    def parts(self) -> tuple[Writer, Writer]:
        """The file and its index."""
        return self.file.parts

    def entry(self) -> KeysEntry:
        """What the manifest says of it."""
        return KeysEntry(
            file=self.facts.name,
            compression=self.compression.name,
            rows=self.facts.rows,
            bytes=self.facts.bytes,
            raw_bytes=self.facts.raw_bytes,
            sha256=self.facts.sha256,
            index=self.facts.index,
            index_sha256=self.facts.index_sha256,
            deleted=self.tally.deleted,
            lineage=self.lineage,
        )


def write_keys(
    conn: Connection[Any],
    table: Table,
    lineage: Lineage,
    *,
    claim: Claim,
    compression: Compression,
    cancel: Cancel,
    base: tuple[Location, Base, Seen] | None = None,
) -> KeysFile:
    """Write a table's keys.

    :param conn: joined to the snapshot
    :param base: the set to merge them with, where it lies, and what it saw of the table; None: a full set's keys
    :raises BrokenLine: when they do not go on from the base's; nothing of the file is left
    :raises IntegrityFault: when the base's keys are damaged; likewise
    """
    kind = FileKind(CSV, compression)
    label, suffix = table.name.label, f"{keys_entry.SUFFIX}{compression.suffix}"
    expected = None if table.planned_rows is None else table.planned_rows * _BYTES_A_LINE
    staged = claim.stage(label, suffix, expected=expected)
    index = claim.stage(label, suffix + block_index.SUFFIX)
    try:
        file = BlockFile(staged, BlockIndexWriter(index), kind, _header(lineage))
        seen = None if base is None else base[2]
        # Most rows of a chain are of its full set: of these the server's line is then the base's, byte for byte.
        known = None if base is None else (base[2], base[1].ids[0])
        query = keys_query(conn, table, lineage, origin=claim.backup_id, seen=known)
        tally = Tally()
        with conn.cursor() as cursor, cursor.copy(query) as copy:
            sent = CSV.copied(copy)
            rows: Iterable[Buffer] = sent
            if base is not None:
                there, one, _ = base
                keys = one.entry(label).keys
                assert keys is not None
                lines = read_lines(there, keys, cancel)
                merge = Merge(lines, keys.file, len(lineage.key), one.ids, tally)
                rows = merge.lines(map(bytes, sent), claim.backup_id)
            try:
                for block in blocks_of_lines(rows, kind):
                    cancel.check()
                    file.append(block)
            except (BrokenLine, IntegrityFault):
                # The connection is needed for the keys of a full set: it goes on once the COPY has ended.
                for _ in sent:
                    cancel.check()
                raise
        facts = file.finish()
    except BaseException:
        claim.drop(staged, index)
        raise
    if base is None:
        tally = Tally(rows=facts.rows, written=facts.rows)
    return KeysFile(file, facts, lineage, compression, tally, seen)


def _header(lineage: Lineage) -> bytes:
    return b",".join(_quoted(name) for name in keys_header(lineage.key)) + b"\n"


def _quoted(name: str) -> bytes:
    plain = name.isidentifier() and name.isascii()
    return (name if plain else '"' + name.replace('"', '""') + '"').encode()
