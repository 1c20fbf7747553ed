"""A table of an increment: the files of its chain, less the rows that the set has not.

A row of a file is of the set where the set's keys name that file's set as the origin of its key. Of the full set the
few keys that are not are remembered, of each increment the few that are; rows go by in the order of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.postgres.lineage import KeyColumn
from pgvector_backup.engine.sets.base_set import chain_of
from pgvector_backup.engine.sets.key_numbers import KeyNumbers, number_of
from pgvector_backup.engine.sets.keys_entry import KeysEntry
from pgvector_backup.engine.sets.keys_file import fields_of, read_keys
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import Block, StoredFile
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location

_Text = Callable[[Field], bytes]


@dataclass(frozen=True)
class TableChain:
    """One table of an increment.

    :param parts: what each set of the chain says of it, by the set's id: the full one's first, its own last
    """

    location: Location
    backup_id: str
    parts: tuple[tuple[str, TableEntry], ...]

    @property
    def entry(self) -> TableEntry:
        """What the set itself says of it."""
        return self.parts[-1][1]

    @property
    def keys(self) -> KeysEntry:
        """The keys of the set itself."""
        assert self.entry.keys is not None  # a manifest of an increment has them
        return self.entry.keys

    @property
    def raw_bytes(self) -> int:
        """Bytes of all its files before compression."""
        return sum(entry.raw_bytes for _, entry in self.parts)

    def check(self, cancel: Cancel) -> None:
        """Hold size and SHA-256 of every file of the chain against its manifest.

        :raises IntegrityFault: naming the first that is missing or differs
        """
        for _, entry in self.parts:
            StoredFile(self.location, entry).check(cancel)
            if entry.keys is not None:
                StoredFile(self.location, entry.keys).check(cancel)

    def glance(self, cancel: Cancel) -> None:
        """Hold against its manifest what shows of each file without reading its rows; keys that no row needs are read.

        :raises IntegrityFault: naming the first that is missing or differs
        """
        for _, entry in self.parts:
            StoredFile(self.location, entry).glance(cancel)
            if entry.keys is None:
                continue
            keys = StoredFile(self.location, entry.keys)
            if entry in (self.parts[0][1], self.entry):
                keys.glance(cancel)
            else:
                keys.check(cancel)

    def blocks(self, cancel: Cancel, *, only: frozenset[str] | None = None, prove: bool = False) -> Iterator[Block]:
        """The table's rows, in blocks of which each is of one file.

        :param only: ids of the sets whose files are wanted; None: all, and it is seen that no row is missing
        :param prove: whether size and SHA-256 of each file are held against its manifest once its last row was given
        :raises IntegrityFault: where a file is not what its manifest says; after the last row, when the rows were not
            those of the set's keys
        """
        survey = _survey(self, cancel)
        rows = total = before = 0
        for backup_id, entry in self.parts:
            if only is not None and backup_id not in only:
                continue
            of_row = row_number(entry, self.keys.lineage.key)
            living = survey.living.get(backup_id)
            for block in StoredFile(self.location, entry).blocks(cancel, prove=prove):
                kept = []
                for row, fields in entry.file_kind.format.rows(block.data):
                    number = of_row(fields)
                    if (number not in survey.dead) if living is None else (number in living):
                        kept.append(row)
                        total += number
                count, row, fields = len(kept), b"", []
                if count:
                    rows += count
                    data = block.data if count == block.rows else b"".join(kept)
                    # Whoever takes it takes its rows apart anew: a large one is not to be held here as well.
                    del kept
                    yield Block(data, count, before + 1, len(data), where=f"set {backup_id}, {block.where}")
                    before += count
                    del data
                del block
        if only is None and (rows, total) != (survey.rows, survey.total):
            raise IntegrityFault(
                f"{self.entry.name}: the chain of set {self.backup_id} holds {rows:,} of its rows, its keys are "
                f"{survey.rows:,}{' others' if rows == survey.rows else ''}"
            )


def chains(location: Location, manifest: Manifest) -> dict[str, TableChain]:
    """The tables of an increment by label; none of a full set.

    :raises IntegrityFault: when a set of the chain is missing, damaged or another one, or does not fit
    """
    if not manifest.chain:
        return {}
    below = chain_of(location, manifest)
    return {entry.name: _chain(location, manifest, below, entry) for entry in manifest.tables}


def _chain(location: Location, manifest: Manifest, below: Sequence[Manifest], entry: TableEntry) -> TableChain:
    parts = []
    for one in below:
        there = next((table for table in one.tables if table.name == entry.name), None)
        if there is None or there.keys is None:
            raise IntegrityFault(f"{entry.name}: set {one.backup_id}, its base, does not hold the table with its keys")
        names = [[column.name for column in table.stored_columns] for table in (there, entry)]
        if there.format != entry.format or names[0] != names[1] or there.keys.lineage.key != _key_of(entry):
            raise IntegrityFault(f"{entry.name}: set {one.backup_id}, its base, is of another format, columns or key")
        parts.append((one.backup_id, there))
    return TableChain(location, manifest.backup_id, (*parts, (manifest.backup_id, entry)))


def _key_of(entry: TableEntry) -> tuple[KeyColumn, ...]:
    assert entry.keys is not None
    return entry.keys.lineage.key


@dataclass
class _Survey:
    """What the keys say of the rows of a chain's files.

    :param dead: numbers of the full set's keys whose rows are not in the set
    :param living: by increment, the numbers of the keys whose rows in its file are
    :param total: the sum of the numbers of all of the set's keys
    """

    dead: KeyNumbers
    living: dict[str, KeyNumbers]
    rows: int = 0
    total: int = 0


def _survey(chain: TableChain, cancel: Cancel) -> _Survey:
    full_id, full = chain.parts[0]
    assert full.keys is not None
    found = _Survey(KeyNumbers(), {backup_id: KeyNumbers() for backup_id, _ in chain.parts[1:]})
    living = {backup_id.encode(): numbers for backup_id, numbers in found.living.items()}
    of_key = key_number(len(chain.keys.lineage.key))
    old = read_keys(chain.location, full.keys, cancel)
    whole = full_id.encode()
    for line in read_keys(chain.location, chain.keys, cancel):
        number = of_key(line.key)
        found.rows += 1
        found.total += number
        if line.origin == whole:
            # Both files are in the same order: what is passed on the way is not in the set any more.
            for passed in old:
                if passed.key == line.key:
                    break
                found.dead.add(of_key(passed.key))
            else:
                raise IntegrityFault(f"{chain.keys.file}: a key of it is not among those of set {full_id}, its origin")
        elif (numbers := living.get(line.origin)) is not None:
            numbers.add(number)
        else:
            raise IntegrityFault(f"{chain.keys.file}: a key's origin is no set of its chain")
    for passed in old:
        found.dead.add(of_key(passed.key))
    return found


def key_number(columns: int) -> Callable[[bytes], int]:
    """The number of a key of so many columns, given as it stands in a keys file."""
    if columns == 1:
        return lambda key: number_of(fields_of(key)[0] if key.startswith(b'"') else key)
    return lambda key: number_of(_joined(fields_of(key)))


def _joined(texts: Sequence[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def row_number(entry: TableEntry, key: Sequence[KeyColumn]) -> Callable[[Sequence[Field]], int]:
    """The number of a row's key, given the row's fields in the file's order."""
    names = [column.name for column in entry.stored_columns]
    places = [names.index(column.name) for column in key]
    is_text = entry.file_kind.format.is_text
    texts: list[_Text] = [_as_it_is if is_text else _TEXT_OF[column.kind] for column in key]
    if len(places) == 1:
        (at,), (text,) = places, texts
        return lambda fields: number_of(text(fields[at]))
    pairs = list(zip(places, texts, strict=True))
    return lambda fields: number_of(_joined([text(fields[at]) for at, text in pairs]))


def _as_it_is(field: Field) -> bytes:
    return field or b""


def _uuid(field: Field) -> bytes:
    digits = (field or b"").hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts).encode()


def _int(field: Field) -> bytes:
    return b"%d" % int.from_bytes(field or b"", "big", signed=True)


def _oid(field: Field) -> bytes:
    return b"%d" % int.from_bytes(field or b"", "big")


def _bool(field: Field) -> bytes:
    return b"t" if field == b"\x01" else b"f"


def _bytea(field: Field) -> bytes:
    return b"\\x" + (field or b"").hex().encode()


_TEXT_OF: Final[dict[str, _Text]] = {
    "text": _as_it_is,
    "bpchar": _as_it_is,
    "uuid": _uuid,
    "int": _int,
    "oid": _oid,
    "bool": _bool,
    "bytea": _bytea,
}
"""The text of a binary field, as the server writes it."""
