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


def read_lines(location: Location, entry: KeysEntry, cancel: Cancel) -> Iterator[bytes]:
    """The lines of a keys file, line ends included, whose size and SHA-256 have been compared once the last was given.

    :raises IntegrityFault: where it is not what its manifest says
    """
    file = StoredFile(location, entry)
    for block in file.read(file.index(), cancel, refuse, unpack=True):
        lines = _lines(block.data)
        if len(lines) != block.rows:
            raise IntegrityFault(
                f"{entry.file}: {block.where} holds {len(lines):,} lines, its index lists {block.rows}"
            )
        yield from lines


def read_keys(location: Location, entry: KeysEntry, cancel: Cancel) -> Iterator[KeyLine]:
    """The same, cut.

    :raises IntegrityFault: where it is not what its manifest says
    """
    for line in read_lines(location, entry, cancel):
        yield cut(line, entry.file)


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
                    parts = cut(line, entry.file)
                    if fields_of(parts.key) == list(wanted):
                        return parts
    return None


def _lines(data: bytes) -> list[bytes]:
    # What holds a line end of either kind is in quotes.
    return list(csv_rows([data])) if b'"' in data else data.splitlines(keepends=True)


def cut(line: bytes, name: str) -> KeyLine:
    """The parts of a line.

    :param line: its end included
    :param name: of the file that it is of
    :raises IntegrityFault: when there are too few
    """
    parts = line[:-1].rsplit(b",", _ADDED)
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


class Merge:
    """Today's keys merged with the base's: each row's origin is the base's where the row is the same.

    Nearly every line is the base's, byte for byte: it is compared, and not cut.

    :param base: lines of the base's keys file, line ends included
    :param name: of that file
    :param columns: of the key
    :param origins: sets of which the base may speak
    """

    def __init__(self, base: Iterator[bytes], name: str, columns: int, origins: Iterable[str], tally: Tally) -> None:
        self._base = base
        self._name = name
        self._order = ordering(columns)
        self._known = {origin.encode() for origin in origins}
        self._own = b""
        self._tally = tally
        self._at = next(base, None)
        self._last: Any = None

    def lines(self, now: Iterable[bytes], own: str) -> Iterator[bytes]:
        """The lines of the new keys file.

        :param now: lines of the server, line ends included; the origin of a row that the base has not seen is ``own``,
            that of another row is any set of the base's: right for most rows, if it is the full one
        :param own: the set that is made
        :raises BrokenLine: for what a history that goes on from the base's cannot show
        :raises IntegrityFault: when the base's keys are damaged
        """
        self._own = own.encode()
        tally, base = self._tally, self._base
        before = b""
        is_cut = False  # the line before: then the base's order does not vouch for this one
        for row in now:
            if row == self._at and not is_cut:
                tally.rows += 1
                tally.unchanged += 1
                before = row
                self._at = next(base, None)
                yield row
            else:
                is_cut = row != self._at
                line = cut(row, "the server's keys")
                place = self._order(line.key)
                if before and not self._order(cut(before, self._name).key) < place:
                    raise BrokenLine(_UNSORTED.format("its"))
                before = row
                yield self._different(row, line, place)
        while self._at is not None:
            self._pass()

    def _different(self, row: bytes, line: KeyLine, place: Any) -> bytes:
        same = self._advance(line.key, place)
        self._tally.rows += 1
        if line.origin == self._own:
            self._tally.written += 1
            return row
        why = _break(line, same, self._known)
        if why is not None:
            raise BrokenLine(why)
        assert same is not None
        self._tally.unchanged += 1
        return b"%b,%b,%b,%b\n" % (line.key, line.xmin, same.origin, line.row_hash)

    def _advance(self, key: bytes, place: Any) -> KeyLine | None:
        """Go up to a key; the base's line of it, if it has one. Passed keys are of rows that the table has no more."""
        while self._at is not None:
            at = cut(self._at, self._name)
            if at.key == key:
                self._at = next(self._base, None)
                return at
            passed = self._order(at.key)
            if passed > place:
                return None
            if self._last is not None and not self._last < passed:
                raise BrokenLine(_UNSORTED.format("the base's"))
            self._last = passed
            self._pass()
        return None

    def _pass(self) -> None:
        self._tally.deleted += 1
        self._at = next(self._base, None)


_UNSORTED: Final = "{} keys are not in the order of their bytes, or one of them is there twice"


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
