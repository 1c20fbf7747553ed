"""Which values have no binary form, or one that is not read back; and which have numbers of types in theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.codec.type_oids import STABLE, ArrayOf, Numbered, RangeOf, RangesOf, Retelling, RowOf
from pgvector_backup.engine.postgres.tables import Table


def lacking(conn: Connection[Any], table: str) -> list[tuple[str, str]]:
    """The columns of a table whose type, or a part of it, cannot be sent or received in binary.

    :param table: quoted as `regclass` reads it
    :return: pairs of column and the type at fault; the empty list where every value can
    """
    return conn.execute(_LACKING, [table]).fetchall()


def require(conn: Connection[Any], table: Table) -> None:
    """Refuse to copy a table in binary where that could not be read again.

    :raises DatabaseFault: naming the column, and the format to take instead
    """
    label, named = table.name.label, table.identifier.as_string(conn)
    for column, kind in lacking(conn, named):
        raise DatabaseFault(
            f"{label}: column {column} is of type {kind}, which has no binary form; use file_format csv",
            can_retry=False,
        )
    for (column,) in conn.execute(_QUERIES, [named]).fetchall():
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE numnode({}) = 0)")
        if conn.execute(query.format(table.source, sql.Identifier(column))).fetchone() == (True,):
            raise DatabaseFault(
                f"{label}: column {column} holds an empty tsquery, whose binary form the server does not read back; "
                "use file_format csv",
                can_retry=False,
            )


def of_numbers(conn: Connection[Any], table: Table) -> str | None:
    """What has to be said of a binary file with columns that name objects by their numbers; None: it has none."""
    found = conn.execute(_REFERENCES, [table.identifier.as_string(conn)]).fetchall()
    if not found:
        return None
    columns = ", ".join(f"{column} ({kind})" for column, kind in found)
    return (
        f"{table.name.label}: {columns}: the binary form is a number, which means something else in another database, "
        "and once what it names has been made anew; file_format csv holds the name"
    )


def retelling(conn: Connection[Any], table: str, columns: Sequence[str]) -> Retelling | None:
    """How rows of the binary format are told for a table: with the numbers that types have in this database.

    :param table: quoted as `regclass` reads it
    :param columns: of the file, in its order
    :return: None where nothing in a row depends on the database
    """
    of_columns: dict[str, int] = dict(conn.execute(_COLUMN_TYPES, [table]).fetchall())
    facts = {row[0]: _Type(*row[1:]) for row in conn.execute(_TYPES, [list(of_columns.values())]).fetchall()}
    made = [_numbered(facts, of_columns[name]) for name in columns]
    return None if all(one is None for one in made) else Retelling(made)


@dataclass(frozen=True)
class _Type:
    """What the catalog says of a type.

    :param sent_by: the function that makes its binary form
    :param inside: the type of its elements, its base type, the type of its bounds, or its range's; 0: none
    :param columns: the types of a composite's columns
    """

    sent_by: str
    domain: bool
    inside: int
    columns: list[int]


def _numbered(facts: Mapping[int, _Type], oid: int) -> Numbered | None:
    """How values of a type are written; None where no number in them depends on the database."""
    told = facts[oid]
    if told.domain:
        return _numbered(facts, told.inside)
    if told.sent_by == "array_send":
        element = _numbered(facts, told.inside)
        return ArrayOf(told.inside, element) if element is not None or told.inside >= STABLE else None
    if told.sent_by == "record_send":
        columns = tuple((column, _numbered(facts, column)) for column in told.columns)
        fixed = all(number < STABLE and column is None for number, column in columns)
        return None if fixed else RowOf(columns)
    if told.sent_by in ("range_send", "multirange_send") and (bound := _numbered(facts, told.inside)) is not None:
        return RangesOf(bound) if told.sent_by == "multirange_send" else RangeOf(bound)
    return None


_PARTS: Final = """
        SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A'
        UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
        UNION ALL SELECT r.rngtypid FROM pg_range r WHERE (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                   WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
"""
"""The types that a type ``t`` is made of."""

_OF_COLUMNS: Final = f"""
WITH RECURSIVE part(attname, oid) AS (
    SELECT a.attname::text, a.atttypid FROM pg_attribute a
     WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    UNION
    SELECT p.attname, inner_type.oid FROM part p JOIN pg_type t ON t.oid = p.oid
     CROSS JOIN LATERAL ({_PARTS}) AS inner_type(oid)
)"""

_LACKING: Final = f"""{_OF_COLUMNS}
SELECT p.attname, format_type(t.oid, NULL) FROM part p JOIN pg_type t ON t.oid = p.oid
WHERE t.typsend = 0 OR t.typreceive = 0 ORDER BY 1, 2
"""

_REFERENCES: Final = f"""{_OF_COLUMNS}
SELECT p.attname, format_type(t.oid, NULL) FROM part p JOIN pg_type t ON t.oid = p.oid
WHERE t.oid IN (SELECT oid FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typname ~ '^reg[a-z]+$')
ORDER BY 1, 2
"""

_COLUMN_TYPES: Final = """
SELECT a.attname::text, a.atttypid::bigint FROM pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""

_TYPES: Final = f"""
WITH RECURSIVE part(oid) AS (
    SELECT unnest(%s::oid[])
    UNION
    SELECT inner_type.oid FROM part p JOIN pg_type t ON t.oid = p.oid CROSS JOIN LATERAL ({_PARTS}) AS inner_type(oid)
)
SELECT t.oid::bigint, t.typsend::regproc::text, t.typtype = 'd',
       coalesce(nullif(t.typbasetype, 0),
                (SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid),
                (SELECT r.rngtypid FROM pg_range r WHERE (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid),
                t.typelem)::bigint,
       ARRAY(SELECT a.atttypid::bigint FROM pg_attribute a
              WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
              ORDER BY a.attnum)
FROM part p JOIN pg_type t ON t.oid = p.oid
"""

# A query that is empty has no nodes.
_QUERIES: Final = """
SELECT a.attname::text FROM pg_attribute a
LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND (a.atttypid = 'tsquery'::regtype OR t.typbasetype = 'tsquery'::regtype) ORDER BY a.attnum
"""
