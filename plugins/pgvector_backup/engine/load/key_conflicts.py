"""Keys of a set that are in the database already, counted before anything is restored."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.codec.rows import Field, rows_of
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.sets.stored_set import StoredSet, StoredTable

_KEYS: Final = sql.Identifier("pg_temp", "pgvector_backup_keys")


def count(
    conn: Connection[Any], stored_set: StoredSet, stored: StoredTable, table: Table, cancel: Cancel
) -> int | None:
    """How many rows of a table's file have a primary key that the table holds; None where that cannot be told.

    The keys go into a temporary table of the caller's transaction, which he rolls back.
    """
    if not table.primary_key or not set(table.primary_key) <= set(stored.columns):
        return None
    places = [stored.columns.index(name) for name in table.primary_key]
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in table.primary_key)
    conn.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            _KEYS, columns, table.source
        )
    )
    form = FORMATS[stored.format]
    options = sql.SQL("FORMAT csv" if form.name == "csv" else "FORMAT binary")
    with conn.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN ({})").format(_KEYS, options)) as copy:
        copy.write(form.header or b"")
        for block in stored_set.blocks(stored, cancel):
            rows = (fields for _, fields in rows_of(block.data, form.name))
            if form.name == "csv":
                copy.write(b"".join(_csv([fields[at] for at in places]) for fields in rows))
            else:
                copy.write(b"".join(_binary([fields[at] for at in places]) for fields in rows))
        copy.write(form.trailer)
    row = conn.execute(
        sql.SQL("SELECT count(*) FROM {} AS k JOIN {} AS t USING ({})").format(_KEYS, table.source, columns)
    ).fetchone()
    conn.execute(sql.SQL("DROP TABLE {}").format(_KEYS))
    assert row is not None
    return int(row[0])


def _csv(fields: list[Field]) -> bytes:
    return b",".join(b"" if f is None else b'"' + f.replace(b'"', b'""') + b'"' for f in fields) + b"\n"


def _binary(fields: list[Field]) -> bytes:
    row = len(fields).to_bytes(2, "big")
    for one in fields:
        row += b"\xff\xff\xff\xff" if one is None else len(one).to_bytes(4, "big") + one
    return row
