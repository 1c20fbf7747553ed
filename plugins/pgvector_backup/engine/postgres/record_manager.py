"""LangChain's record manager, which remembers what it has indexed in a table beside the pair.

After the embeddings are emptied it goes on believing that they are there, and the next indexing skips them.
Source: `langchain_community.indexes._sql_record_manager`, whose table is `upsertion_record`; one that was renamed, or
made by a manager of somebody's own, is known by its columns.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.postgres.tables import Table

_COLLECTION: Final = "collection_id"
_KEYS: Final = ("id", "custom_id")
"""The column of an embedding that the records call `key`, by age."""

_RECORDS: Final = """
SELECT n.nspname, c.relname,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
        AND a.attname IN ('key', 'namespace')) = 2
  AND (c.relname = 'upsertion_record'
       OR (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
            AND a.attname IN ('uuid', 'group_id', 'updated_at')) = 3)
ORDER BY 1, 2
"""


def remembered(conn: Connection[Any], table: Table) -> list[str]:
    """Say which record managers hold documents of an embeddings table that is about to be emptied.

    Nothing that goes wrong here is a reason not to empty it.
    """
    columns = {column.name for column in table.columns}
    key = next((name for name in _KEYS if name in columns), None)
    if _COLLECTION not in columns or key is None:
        return []
    notes = []
    conn.execute("SAVEPOINT record_manager")
    try:
        for schema, name, readable in conn.execute(_RECORDS).fetchall():
            note = _of(conn, table, key, schema, name) if readable else _unreadable(table, schema, name)
            if note is not None:
                notes.append(note)
    except psycopg.Error:
        if conn.broken:
            raise
        conn.execute("ROLLBACK TO SAVEPOINT record_manager")
        notes.append(_unreadable(table, "some schema", "upsertion_record"))
    conn.execute("RELEASE SAVEPOINT record_manager")
    return notes


def _of(conn: Connection[Any], table: Table, key: str, schema: str, name: str) -> str | None:
    conn.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(sql.Identifier(schema, name)))
    # Whoever owns the schema may have put a view in its place since, which would run what its owner wrote.
    kind = "SELECT relkind FROM pg_class WHERE relname = %s AND relnamespace = quote_ident(%s)::regnamespace"
    if conn.execute(kind, [name, schema]).fetchone() not in (("r",), (b"r",)):
        return None
    # By the types' own output: a cast to text may be a function of the type's owner.
    found = conn.execute(
        sql.SQL(
            "SELECT count(*), array_agg(DISTINCT format('%s', r.namespace)) FROM ONLY {} AS r"
            " WHERE EXISTS (SELECT FROM {} AS e WHERE format('%s', e.{}) = format('%s', r.key))"
        ).format(sql.Identifier(schema, name), table.source, sql.Identifier(key))
    ).fetchone()
    assert found is not None
    count, namespaces = found
    if not count:
        return None
    records = sql.Identifier(schema, name).as_string(conn)
    listed = ", ".join(sql.Literal(namespace).as_string(conn) for namespace in sorted(namespaces))
    return (
        f"{table.name.label}: LangChain's record manager still lists {count:,} of its documents in {records}, so the "
        "next indexing skips them. Index with force_update=True, or run DELETE FROM "
        f"{records} WHERE namespace IN ({listed})"
    )


def _unreadable(table: Table, schema: str, name: str) -> str:
    return (
        f"{table.name.label}: LangChain's record manager keeps {schema}.{name}, which the connection's role may not "
        "read: if it lists documents of this table, the next indexing skips them. Index with force_update=True, or "
        "clear it"
    )
