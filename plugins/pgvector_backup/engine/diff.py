"""The story of a comparison: which rows came, changed and went between two sets, by their keys; no server is asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, InvalidParams
from pgvector_backup.engine.postgres.lineage import difference
from pgvector_backup.engine.sets.chain import key_number, row_number
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.keys_file import KeyLine, fields_of, ordering, read_keys
from pgvector_backup.engine.sets.stored_set import StoredSet, StoredTable, open_set, shared_locks
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location

_SHOWN: Final = 100
"""Keys of each kind that a result lists; all of them are counted."""

_COLLECTION: Final = "collection_id"
_COLLECTIONS: Final = "langchain_pg_collection"
KINDS: Final = ("added", "changed", "removed")


@dataclass
class TableDiff:
    """One table. A key is the text of its column, or a list of those of its columns.

    :param changed_known: whether it can be told which rows changed: only between sets of one table of one server
    :param numbers: of the keys of each kind, while rows are looked for
    :param collections: by name, counts of each kind; of tables of LangChain's kind alone
    """

    rows_before: int
    rows_after: int
    changed_known: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0
    keys: dict[str, list[Any]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    numbers: dict[str, set[int]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    collections: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, kind: str, line: KeyLine, number: int) -> None:
        """Count a key."""
        self.counts[kind] += 1
        self.numbers[kind].add(number)
        if len(self.keys[kind]) < _SHOWN:
            self.keys[kind].append(shown(line.key))

    def to_json(self) -> dict[str, Any]:
        """The table's part of the result."""
        told: dict[str, Any] = {kind: self.counts[kind] for kind in KINDS}
        if not self.changed_known:
            told["changed"] = None
        told |= {
            "unchanged": self.unchanged if self.changed_known else None,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "keys": self.keys,
        }
        if self.collections:
            told["collections"] = {
                name: {kind: counts[kind] for kind in KINDS} for name, counts in sorted(self.collections.items())
            }
        return told


@dataclass(frozen=True)
class DiffResult:
    """What differs between two sets. Seconds."""

    backup_path: str
    before: str
    after: str
    tables: Mapping[str, TableDiff]
    notes: tuple[str, ...]
    duration: float

    def to_json(self) -> dict[str, Any]:
        """The result as programs read it."""
        return {
            **messages.beside("response", messages.COMPARED),
            "backup_path": self.backup_path,
            "a": self.before,
            "b": self.after,
            "tables": {label: table.to_json() for label, table in self.tables.items()},
            "notes": list(self.notes),
            "duration": round(self.duration, 3),
        }


def diff(location: Location, before: FoundSet, after: FoundSet, *, cancel: Cancel | None = None) -> DiffResult:
    """Compare the keys of two sets of one location.

    Only the files that hold rows which came, changed or went are read, for the collections that those are of.

    :raises InvalidParams: when a set is another tool's
    :raises Conflict: when a set has no keys
    :raises IntegrityFault: when a file is damaged
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    for one in (before, after):
        if one.manifest_file is None:
            raise InvalidParams(f"set {one.backup_id} has no manifest, so that nothing tells its keys")
    with shared_locks(location, dict.fromkeys((*before.chain, *after.chain, before.backup_id, after.backup_id))):
        sets = open_set(location, before), open_set(location, after)
        notes = []
        tables = {}
        for label, new in sets[1].tables.items():
            old = sets[0].tables.get(label)
            if old is None:
                notes.append(f"{label}: not in set {before.backup_id}")
                continue
            tables[label] = _Comparison(sets, (old, new), cancel, notes).run()
        notes += [f"{label}: not in set {after.backup_id}" for label in sets[0].tables if label not in sets[1].tables]
    return DiffResult(
        before.relative_path, before.backup_id, after.backup_id, tables, tuple(notes), time.monotonic() - started
    )


@dataclass
class _Comparison:
    sets: tuple[StoredSet, StoredSet]
    tables: tuple[StoredTable, StoredTable]
    cancel: Cancel
    notes: list[str]

    def run(self) -> TableDiff:
        entries = tuple(table.entry for table in self.tables)
        old, new = entries
        assert old is not None
        assert new is not None
        for entry, one in zip((old, new), self.sets, strict=True):
            if entry.keys is None:
                raise Conflict(
                    f"{entry.name}: set {one.found.backup_id} has no keys; they are written with mode incremental"
                )
        found = TableDiff(old.row_count, new.row_count, changed_known=self._one_line(old, new))
        if not found.changed_known:
            self.notes.append(f"{new.name}: of another server, timeline or table, so that changed rows cannot be told")
        origins = self._merge(old, new, found)
        self._by_collection(found, origins)
        return found

    def _one_line(self, old: TableEntry, new: TableEntry) -> bool:
        manifests = [one.manifest for one in self.sets]
        sources = [None if one is None else one.source for one in manifests]
        assert old.keys is not None
        assert new.keys is not None
        same = [(one.system_identifier, one.database_oid, one.timeline) for one in sources if one is not None]
        key = old.keys.lineage.key == new.keys.lineage.key
        if not key:
            raise Conflict(f"{new.name}: the key is another one in the two sets; its rows cannot be compared")
        told = same[0] == same[1] and None not in same[0]
        return told and (difference(old.keys.lineage, new.keys.lineage) is None)

    def _merge(self, old: TableEntry, new: TableEntry, found: TableDiff) -> tuple[set[str], set[str]]:
        """Note the keys that differ; the sets whose files hold their rows, before and after."""
        assert old.keys is not None
        assert new.keys is not None
        columns = len(new.keys.lineage.key)
        order, number_of = ordering(columns), key_number(columns)
        origins: tuple[set[str], set[str]] = (set(), set())
        for was, now in _pairs(
            read_keys(self.sets[0].location, old.keys, self.cancel),
            read_keys(self.sets[1].location, new.keys, self.cancel),
            order,
        ):
            if was is None:
                assert now is not None
                found.note("added", now, number_of(now.key))
                origins[1].add(now.origin.decode())
            elif now is None:
                found.note("removed", was, number_of(was.key))
                origins[0].add(was.origin.decode())
            elif found.changed_known and was.xmin != now.xmin:
                found.note("changed", now, number_of(now.key))
                origins[1].add(now.origin.decode())
            else:
                found.unchanged += 1
        return origins

    def _by_collection(self, found: TableDiff, origins: tuple[set[str], set[str]]) -> None:
        for side, kinds in ((0, ("removed",)), (1, ("added", "changed"))):
            table, stored = self.tables[side], self.sets[side]
            if _COLLECTION not in table.columns or not origins[side]:
                continue
            names = _collection_names(stored, self.cancel)
            at = table.columns.index(_COLLECTION)
            for label, number, fields in self._rows(side, origins[side]):
                for kind in kinds:
                    if number in found.numbers[kind]:
                        value = fields[at]
                        name = "(none)" if value is None else names.get(label.uuid(value), str(label.uuid(value)))
                        found.collections.setdefault(name, Counter())[kind] += 1

    def _rows(self, side: int, origins: set[str]) -> Iterator[tuple[Any, int, list[Any]]]:
        table, stored = self.tables[side], self.sets[side]
        entry = table.entry
        assert entry is not None
        assert entry.keys is not None
        number_of: Callable[[Any], int] = row_number(entry, entry.keys.lineage.key)
        blocks = (
            stored.blocks(table, self.cancel)
            if table.chain is None
            else table.chain.blocks(self.cancel, only=frozenset(origins))
        )
        for block in blocks:
            for _, fields in table.format.rows(block.data):
                yield table.format, number_of(fields), fields


def _pairs(
    old: Iterator[KeyLine], new: Iterator[KeyLine], order: Callable[[bytes], Any]
) -> Iterator[tuple[KeyLine | None, KeyLine | None]]:
    """Lines of two keys files, side by side; None where one has no such key."""
    was, now = next(old, None), next(new, None)
    while was is not None or now is not None:
        if was is not None and now is not None and was.key == now.key:
            yield was, now
            was, now = next(old, None), next(new, None)
        elif now is None or (was is not None and order(was.key) < order(now.key)):
            yield was, None
            was = next(old, None)
        else:
            yield None, now
            now = next(new, None)


def _collection_names(stored: StoredSet, cancel: Cancel) -> dict[UUID, str]:
    table = next((one for one in stored.tables.values() if one.name.table == _COLLECTIONS), None)
    if table is None or not {"uuid", "name"} <= set(table.columns):
        return {}
    uuid_at, name_at = table.columns.index("uuid"), table.columns.index("name")
    names = {}
    for block in stored.blocks(table, cancel):
        for _, fields in table.format.rows(block.data):
            key, name = fields[uuid_at], fields[name_at]
            if key is not None:
                names[table.format.uuid(key)] = (name or b"").decode(errors="replace")
    return names


def shown(key: bytes) -> str | list[str]:
    """A key as JSON has it: the text of its column, or a list of those of its columns."""
    texts = [text.decode(errors="replace") for text in fields_of(key)]
    return texts[0] if len(texts) == 1 else texts
