"""Keys files read line by line, and two of them merged; memory does not grow with the table.

A line is what COPY wrote for the key's columns, then the transaction, the origin and the hash, none of which needs
quotes. So it is cut from its end, and the key is compared as it stands wherever that is the order of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.rows import csv_fields, csv_rows
from pgvector_backup.engine.sets.keys_entry import KeysEntry
from pgvector_backup.engine.sets.stored_file import StoredFile, refuse
from pgvector_backup.engine.store.location import Location

_ADDED: Final = 3
"""Columns that follow the key's."""


class KeyLine(NamedTuple):
    """A line of a keys file, cut: each part as it stands there."""

    key: bytes
    xmin: bytes
    origin: bytes
    row_hash: bytes


class BrokenLine(Exception):
    """What a true history of a table cannot show; says what."""


def read_keys(location: Location, entry: KeysEntry, cancel: Cancel) -> Iterator[KeyLine]:
    """The lines of a keys file, whose size and SHA-256 have been compared once the last one was given.

    :raises IntegrityFault: where it is not what its manifest says
    """
    file = StoredFile(location, entry)
    for block in file.read(file.index(), cancel, refuse, unpack=True):
        count = 0
        for line in _lines(block.data):
            count += 1
            yield _cut(line, entry.file)
        if count != block.rows:
            raise IntegrityFault(f"{entry.file}: {block.where} holds {count:,} lines, its index lists {block.rows}")


def find_line(location: Location, entry: KeysEntry, wanted: Sequence[bytes], cancel: Cancel) -> KeyLine | None:
    """The line of a key, None where the file has none; only blocks that may hold it are cut into lines.

    :param wanted: the texts of its columns
    :raises IntegrityFault: where the file is not what its manifest says
    """
    # However it is quoted, its longest column stands there with its quotes doubled.
    hint = max(wanted, key=len).replace(b'"', b'""')
    for block in StoredFile(location, entry).blocks(cancel):
        if hint in block.data:
            for line in _lines(block.data):
                if hint in line:
                    cut = _cut(line, entry.file)
                    if fields_of(cut.key) == list(wanted):
                        return cut
    return None


def _lines(data: bytes) -> Iterable[bytes]:
    if b'"' in data:
        return [row[:-1] for row in csv_rows([data])]
    return data.split(b"\n")[:-1]


def _cut(line: bytes, name: str) -> KeyLine:
    parts = line.rsplit(b",", _ADDED)
    if len(parts) != _ADDED + 1:
        raise IntegrityFault(f"{name}: a line of it is none of a keys file")
    return KeyLine(*parts)


def fields_of(key: bytes) -> list[bytes]:
    """The texts of a key's columns."""
    return [field or b"" for field in csv_fields(key)]


def ordering(columns: int) -> Callable[[bytes], Any]:
    """What keys of so many columns are sorted by: the bytes of their texts."""
    if columns > 1:
        return fields_of

    def one(key: bytes) -> bytes:
        return fields_of(key)[0] if key.startswith(b'"') else key

    return one


@dataclass
class Tally:
    """What a merge has counted: rows of the table now, and of these those that go into the set; keys that are gone."""

    rows: int = 0
    written: int = 0
    unchanged: int = 0
    deleted: int = 0


def merged(
    now: Iterable[bytes], base: Iterator[KeyLine], columns: int, origins: Iterable[str], tally: Tally
) -> Iterator[bytes]:
    """Today's keys with the origin of each row: the base's where the row is the same, otherwise the new set.

    :param now: lines of the server, line ends included, in whose origin stands the new set where the base has not seen
        the row, and nothing where it has
    :param columns: of the key
    :param origins: sets of which the base may speak
    :return: lines of the new keys file, line ends included
    :raises BrokenLine: for what a history that goes on from the base's cannot show
    """
    order, known = ordering(columns), {origin.encode() for origin in origins}
    before: Any = None
    old = _Old(base, order, tally)
    for row in now:
        line = KeyLine(*row[:-1].rsplit(b",", _ADDED))
        place = order(line.key)
        if before is not None and not before < place:
            raise BrokenLine("its keys do not come in the order of their bytes, or one of them is there twice")
        before = place
        same = old.advance(line.key, place)
        tally.rows += 1
        if line.origin:
            tally.written += 1
            yield row
        else:
            why = _break(line, same, known)
            if why is not None:
                raise BrokenLine(why)
            assert same is not None
            tally.unchanged += 1
            yield b"%b,%b,%b,%b\n" % (line.key, line.xmin, same.origin, line.row_hash)
    old.finish()


def _break(line: KeyLine, old: KeyLine | None, known: set[bytes]) -> str | None:
    """What is wrong with a row that the base has seen."""
    if old is None:
        return "a row that the base does not hold was written by a transaction that it has seen"
    if line.xmin != old.xmin:
        return "a row was written by another transaction than in the base, which has seen both"
    if line.row_hash and old.row_hash and line.row_hash != old.row_hash:
        return "a row that nobody has written since the base is not the same any more"
    if old.origin not in known:
        return "the base's keys name a set that it does not stand on"
    return None


class _Old:
    """The base's keys, as the merge goes past them; those that it passes are of rows that the table has no more."""

    def __init__(self, lines: Iterator[KeyLine], order: Callable[[bytes], Any], tally: Tally) -> None:
        self._lines = lines
        self._order = order
        self._tally = tally
        self._at = next(lines, None)
        self._last: Any = None

    def advance(self, key: bytes, place: Any) -> KeyLine | None:
        """Go up to a key; the base's line of it, if it has one."""
        while (at := self._at) is not None and at.key != key:
            passed = self._order(at.key)
            if passed > place:
                return None
            if self._last is not None and not self._last < passed:
                raise BrokenLine("the base's keys are not in the order of their bytes, or one of them is there twice")
            self._last = passed
            self._tally.deleted += 1
            self._at = next(self._lines, None)
        if at is not None:
            self._at = next(self._lines, None)
        return at

    def finish(self) -> None:
        """Go past all that are left."""
        while self._at is not None:
            self._tally.deleted += 1
            self._at = next(self._lines, None)
