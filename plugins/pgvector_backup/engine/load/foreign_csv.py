"""CSV of other tools made the rows that COPY would have written.

Columns of type json and jsonb may hold the repr of a Python value, and a NULL cannot be told from an empty text by code
that quotes neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any, Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.codec import python_repr
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.codec.formats import BINARY
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.sets.stored_set import StoredTable

_JSON: Final = ("json", "jsonb")
_TEXTS: Final = ("text", "character varying")
_EXACT: Final = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""The server takes numbers of some hundred thousand digits; what is larger it refuses itself."""


class Repairs:
    """Puts the rows of one file right, and counts what had to be."""

    def __init__(self, stored: StoredTable, table: Table, cancel: Cancel) -> None:
        self._cancel = cancel
        here = {column.name: column for column in table.columns}
        self._stored = stored
        self._json = [(at, name) for at, name in enumerate(stored.columns) if here[name].type in _JSON]
        self._jsonb = {at for at, name in enumerate(stored.columns) if here[name].type == "jsonb"}
        # An empty field of such a column can only have been an empty text.
        self._never_null = {
            at
            for at, name in enumerate(stored.columns)
            if here[name].not_null and here[name].type.split("(")[0] in _TEXTS
        }
        self._converted = self._emptied = self._nulls = 0

    def repair(self, line: int, fields: list[Field]) -> list[Field]:
        """One row's fields as COPY would have written them.

        :param line: of the file, from 1, on which the row begins
        :raises Conflict: naming line and column of a value that cannot be converted
        """
        for at, name in self._json:
            value = fields[at]
            if value is not None:
                fields[at] = self._json_of(value, line, name)
        for at, value in enumerate(fields):
            if value is None:
                self._nulls += 1
                if at in self._never_null:
                    fields[at] = b""
                    self._emptied += 1
        return fields

    def _json_of(self, value: bytes, line: int, name: str) -> bytes:
        try:
            text = value.decode()
        except UnicodeDecodeError as fault:
            raise self._refusal(line, name, "it is not UTF-8", fault.start + 1) from None
        try:
            json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            pass
        else:
            return value
        try:
            written = python_repr.to_json(text, self._cancel)
        except python_repr.NotJson as fault:
            raise self._refusal(line, name, str(fault), fault.column) from None
        self._converted += 1
        return written.encode()

    def _refusal(self, line: int, name: str, why: str, at: int | None) -> Conflict:
        where = f", at its character {at}" if at is not None else ""
        return Conflict(
            f"{self._stored.file}: line {line:,}, column {name}: it cannot be made JSON{where}: {why}; mend it in the "
            "file. Nothing was changed"
        )

    def notes(self) -> list[str]:
        """What should be known of the rows."""
        label = self._stored.label
        notes = [f"{label}: no manifest, so only what was sent and what is in the table could be compared"]
        if self._converted:
            notes.append(f"{label}: {self._converted:,} values were Python's and were made JSON")
        if self._converted and self._nulls:
            notes.append(
                f"{label}: the code that wrote this file tells NULL and an empty text not apart: "
                f"{self._nulls - self._emptied:,} empty fields are NULL now"
                + (f", {self._emptied:,} empty texts, where the column takes no NULL" if self._emptied else "")
            )
        return notes

    def proof(self, algorithm: Algorithm) -> Algorithm:
        """A fingerprint of binary rows in which jsonb counts for what it means: the server writes it anew."""
        if not self._jsonb:
            return algorithm
        return Algorithm(f"{algorithm.name}, jsonb by value", _by_value(self._jsonb, algorithm.of_row))


def _by_value(places: set[int], of_row: Callable[[bytes], int]) -> Callable[[Any], int]:
    def number(row: Any) -> int:
        (_, fields) = next(BINARY.rows(bytes(row)))
        parts = []
        for at, value in enumerate(fields):
            if value is not None and at in places:
                value = _canonical(value[1:])  # noqa: PLW2901
            parts.append(b"-" if value is None else b"%d:" % len(value) + value)
        return of_row(b"".join(parts))

    return number


def _canonical(text: bytes) -> bytes:
    """JSON as jsonb sees it: keys without an order, the last of equal ones; numbers by value, to any precision."""
    value = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return repr(_ordered(value)).encode("utf-8", "surrogatepass")


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _ordered(value[key])) for key in sorted(value)]
    if isinstance(value, list):
        return [[_ordered(part)] for part in value]
    if isinstance(value, Decimal):
        return _EXACT.plus(_EXACT.normalize(value)).as_tuple() if value else 0
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
