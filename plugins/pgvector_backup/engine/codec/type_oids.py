"""The numbers of types that stand in PostgreSQL's binary values: told anew for another database, or for another day.

An array's binary form holds the number of its elements' type, a composite's that of each column's type. Those of the
server's own types are the same everywhere; those of an extension, an enum, a domain or a composite were given by the
database when they were made. The server itself takes a number of the one kind for one of the other.

Source: ``array_send``, ``record_send``, ``range_send``, ``multirange_send`` and what receives them (PostgreSQL 14 on).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

_INTEGER: Final = struct.Struct(">i")
_NUMBER: Final = struct.Struct(">I")

STABLE: Final = 10_000
"""``FirstGenbkiObjectId``: below it numbers are the same in every server that has the type."""

_EMPTY, _LOWER_INFINITE, _UPPER_INFINITE, _LOWER_NULL, _UPPER_NULL = 0x01, 0x08, 0x10, 0x20, 0x40
_DIMENSIONS: Final = 6
"""Of an array, in any server."""


class Numbered(Protocol):
    """How values of a type are written in which numbers of types stand."""

    def tell(self, data: bytearray, start: int, end: int) -> None:
        """Write the numbers that this database has into the value that lies there.

        What cannot be one of the type is left as it is: the server refuses it.

        :raises struct.error: when it is cut short
        """


@dataclass(frozen=True)
class ArrayOf:
    """An array.

    :param number: of the elements' type
    :param element: how they are written; None where no numbers stand in them
    """

    number: int
    element: Numbered | None = None

    def tell(self, data: bytearray, start: int, end: int) -> None:
        """See `Numbered`."""
        (dimensions,) = _INTEGER.unpack_from(data, start)
        if end - start < 12 or not 0 <= dimensions <= _DIMENSIONS:
            return
        _tell(data, start + 8, self.number)
        at = start + 12 + 8 * dimensions
        if self.element is not None:
            while at < end:
                at = _value(data, at, end, self.element)


@dataclass(frozen=True)
class RowOf:
    """A composite value.

    :param columns: number and way of writing of each column's type
    """

    columns: tuple[tuple[int, Numbered | None], ...]

    def tell(self, data: bytearray, start: int, end: int) -> None:
        """See `Numbered`."""
        (count,) = _INTEGER.unpack_from(data, start)
        at = start + 4
        if count != len(self.columns):
            return
        for number, column in self.columns:
            if at + 8 > end:
                return
            _tell(data, at, number)
            at = _value(data, at + 4, end, column)


@dataclass(frozen=True)
class RangeOf:
    """A range whose bounds have numbers in them."""

    bound: Numbered

    def tell(self, data: bytearray, start: int, end: int) -> None:
        """See `Numbered`."""
        flags, at = data[start], start + 1
        for without in (_LOWER_INFINITE | _LOWER_NULL, _UPPER_INFINITE | _UPPER_NULL):
            if not flags & (_EMPTY | without):
                at = _value(data, at, end, self.bound)


@dataclass(frozen=True)
class RangesOf:
    """A multirange of such ranges."""

    part: Numbered

    def tell(self, data: bytearray, start: int, end: int) -> None:
        """See `Numbered`."""
        at = start + 4
        while at < end:
            at = _value(data, at, end, self.part)


class Retelling:
    """Rows of the binary COPY format with the numbers that this database has.

    :param columns: how each column of the file is written; None where no numbers stand in it
    """

    def __init__(self, columns: Sequence[Numbered | None]) -> None:
        self._columns = columns

    def row(self, row: bytes) -> bytes:
        """The row for this database; the very same where nothing in it is otherwise."""
        told = bytearray(row)
        at = 2  # after the count of fields
        for column in self._columns:
            at = _value(told, at, len(told), column)
        return row if told == row else bytes(told)


def _value(data: bytearray, at: int, end: int, kind: Numbered | None) -> int:
    """Tell anew a value that follows its length; where the next one begins."""
    length: int = _INTEGER.unpack_from(data, at)[0]
    at += 4
    if length <= 0:
        return at
    if at + length > end:
        return end
    if kind is not None:
        try:
            kind.tell(data, at, at + length)
        except (struct.error, IndexError):
            return at + length
    return at + length


def _tell(data: bytearray, at: int, number: int) -> None:
    (there,) = _NUMBER.unpack_from(data, at)
    # Two of the server's own are two types, which it says itself.
    if there >= STABLE or number >= STABLE:
        _NUMBER.pack_into(data, at, number)
