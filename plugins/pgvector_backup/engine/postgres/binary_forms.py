"""Which values have no binary form, or one that the server itself does not read back."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import DatabaseFault
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


_LACKING: Final = """
WITH RECURSIVE part(attname, oid) AS (
    SELECT a.attname::text, a.atttypid FROM pg_attribute a
     WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    UNION
    SELECT p.attname, inner_type.oid FROM part p JOIN pg_type t ON t.oid = p.oid
     CROSS JOIN LATERAL (
        SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A'
        UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                   WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
     ) AS inner_type(oid)
)
SELECT p.attname, format_type(t.oid, NULL) FROM part p JOIN pg_type t ON t.oid = p.oid
WHERE t.typsend = 0 OR t.typreceive = 0 ORDER BY 1, 2
"""

# A query that is empty has no nodes.
_QUERIES: Final = """
SELECT a.attname::text FROM pg_attribute a
LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND (a.atttypid = 'tsquery'::regtype OR t.typbasetype = 'tsquery'::regtype) ORDER BY a.attnum
"""
