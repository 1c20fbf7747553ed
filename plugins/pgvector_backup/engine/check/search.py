"""Nearest neighbours computed twice: by pgvector in a restored table, and from the vectors of the table's file.

The server adds up in single precision, so rows that are all but equally far may change places. What counts is that
nothing clearly nearer is missing, and nothing clearly farther is there.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.codec.vectors import Vector, VectorType, vector_type
from pgvector_backup.engine.postgres.tables import extension_schema
from pgvector_backup.engine.sets.table_entry import TableEntry

_NEIGHBOURS: Final = 10
_SAMPLES: Final = 3
"""Vectors of a column that are searched for."""

_TOLERANCE: Final = 1e-3
"""Relative: 16,000 additions of single precision may be off by as much, at worst."""

_SMALLEST: Final = 1e-17
"""Distances below it vanish when the server squares them."""

_LARGEST: Final = 1e17
"""Distances above it overflow when the server squares them."""

_OPERATORS: Final = {"vector": "<->", "halfvec": "<->", "sparsevec": "<->", "bit": "<~>"}

Key = tuple[Field, ...]


@dataclass(frozen=True)
class VectorColumn:
    """A column of vectors: its place in a file's row, and the places of what a row of it is known by."""

    at: int
    name: str
    type: VectorType
    key: tuple[int, ...]


def vector_columns(entry: TableEntry) -> list[VectorColumn]:
    """The columns of a table that can be searched.

    A row is known by its primary key; where there is none in the file, by the vector itself.
    """
    columns = entry.stored_columns
    places = {column.name: at for at, column in enumerate(columns)}
    key = tuple(places[name] for name in entry.primary_key if name in places)
    whole = bool(key) and len(key) == len(entry.primary_key)
    return [
        VectorColumn(at, column.name, kind, key if whole else (at,))
        for at, column in enumerate(columns)
        if (kind := vector_type(column.type, column.dimensions)) is not None
    ]


class Sampler:
    """Chooses some vectors of each column of a table, each with the same chance, the same ones every time."""

    def __init__(self, entry: TableEntry, seed: str) -> None:
        self.columns = vector_columns(entry)
        self._format = entry.file_kind.format
        self._random = random.Random(seed)  # noqa: S311 - it chooses rows to look at
        self._seen = [0] * len(self.columns)
        self._chosen: list[list[bytes]] = [[] for _ in self.columns]

    def see(self, fields: list[Field]) -> None:
        """Consider a row."""
        for column, chosen, place in zip(self.columns, self._chosen, range(len(self.columns)), strict=True):
            value = fields[column.at]
            if value is None:
                continue
            self._seen[place] += 1
            if len(chosen) < _SAMPLES:
                chosen.append(value)
            else:
                at = self._random.randrange(self._seen[place])
                if at < _SAMPLES:
                    chosen[at] = value

    def searches(self) -> list[Search]:
        """A search for each vector chosen."""
        return [
            Search(column, self._format.vector(value, column.type))
            for column, chosen in zip(self.columns, self._chosen, strict=True)
            for value in chosen
        ]


@dataclass
class Search:
    """One search: for the rows whose vectors are nearest to one of them."""

    column: VectorColumn
    query: Vector
    _found: list[Key] = field(default_factory=list)
    _distances: dict[Key, float] = field(default_factory=dict)
    _nearest: list[tuple[float, int, Key]] = field(default_factory=list)
    _number: int = 0

    def ask(self, conn: Connection[Any], entry: TableEntry, table: sql.Composable) -> None:
        """Let the server find them, by looking at every row.

        :param table: what stands after FROM
        """
        columns = entry.stored_columns
        form = entry.file_kind.format
        name = sql.Identifier(self.column.name)
        schema = _schema_of_pgvector(conn)
        operator = sql.SQL("OPERATOR({}.{})").format(schema, sql.SQL(_OPERATORS[self.column.type.name]))
        if self.column.type.name == "bit":
            literal = sql.SQL("B{}").format(sql.Literal(self.query.text()))
        else:
            literal = sql.SQL("{}::{}.{}").format(
                sql.Literal(self.query.text()), schema, sql.Identifier(self.column.type.name)
            )
        condition = sql.SQL("{} IS NOT NULL").format(name)
        if self.column.type.dimensions is None and self.column.type.name in ("vector", "halfvec"):
            condition += sql.SQL(" AND {}.vector_dims({}) = {}").format(schema, name, self.query.dimensions)
        elif self.column.type.dimensions is None and self.column.type.name == "sparsevec":
            # pgvector has no function for it; its text ends with a stroke and the number.
            condition += sql.SQL(" AND split_part({}::text, '/', 2)::int4 = {}").format(name, self.query.dimensions)
        statement = sql.SQL("COPY (SELECT {} FROM {} WHERE {} ORDER BY {} {} {} LIMIT {}) TO STDOUT ({})").format(
            sql.SQL(", ").join(sql.Identifier(columns[at].name) for at in self.column.key),
            table,
            condition,
            name,
            operator,
            literal,
            _NEIGHBOURS,
            sql.SQL(form.options),
        )
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            rows = b"".join(bytes(row) for row in form.copied(copy))
        self._found = [tuple(fields) for _, fields in form.rows(rows)]
        self._distances = dict.fromkeys(self._found, math.nan)

    def consider(self, fields: list[Field], vector: Vector) -> None:
        """Compute how far one of the file's rows is."""
        if vector.dimensions != self.query.dimensions:
            return
        distance = self.query.distance(vector)
        key = tuple(fields[at] for at in self.column.key)
        if key in self._distances:
            self._distances[key] = distance
        self._number += 1
        entry = (-distance, self._number, key)
        if len(self._nearest) < _NEIGHBOURS:
            heapq.heappush(self._nearest, entry)
        elif entry > self._nearest[0]:
            heapq.heapreplace(self._nearest, entry)

    def verdict(self) -> str | None:
        """What is wrong with the server's answer; None: nothing."""
        if len(self._found) != len(self._nearest):
            return f"{len(self._found)} rows found, {len(self._nearest)} are in the file"
        if not self._nearest or -self._nearest[0][0] > _LARGEST:
            return None
        farthest = -self._nearest[0][0]
        bound = farthest * (1 + _TOLERANCE) + _SMALLEST
        for place, key in enumerate(self._found, 1):
            distance = self._distances[key]
            if math.isnan(distance):
                return f"neighbour {place} is no row of the file"
            if distance > bound:
                return f"neighbour {place} is {distance:.6g} away, and all the nearest are within {farthest:.6g}"
        certain = farthest * (1 - _TOLERANCE) - _SMALLEST
        missing = Counter(key for distance, _, key in self._nearest if -distance < certain) - Counter(self._found)
        if missing:
            return f"{sum(missing.values())} of the {len(self._nearest)} nearest rows of the file were not found"
        return None


def consider_all(searches: Iterable[Search], form: Format, fields: list[Field]) -> None:
    """Let every search consider one row of the file; each vector is read once."""
    vectors: dict[int, Vector | None] = {}
    for search in searches:
        at = search.column.at
        if at not in vectors:
            value = fields[at]
            vectors[at] = None if value is None else form.vector(value, search.column.type)
        vector = vectors[at]
        if vector is not None:
            search.consider(fields, vector)


def _schema_of_pgvector(conn: Connection[Any]) -> sql.Identifier:
    return sql.Identifier(extension_schema(conn) or "public")
