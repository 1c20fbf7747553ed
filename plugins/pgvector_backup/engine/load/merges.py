"""The one statement that takes staged rows over into a table, and returns them as the table has them then.

ON CONFLICT goes by keys that are checked at once. Where a key is deferrable or one over time, or the table has rules,
rows that are there already are found by a join instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.postgres.keys import same_key, same_row
from pgvector_backup.engine.postgres.tables import Table


def merge(
    conn: Connection[Any], table: Table, staging: Destination, into: Destination, on_conflict: str
) -> sql.Composed:
    """INSERT, and where ``on_conflict`` says so UPDATE, with RETURNING.

    :param on_conflict: ``error``, ``skip`` or ``update``, which goes by the primary key
    """
    if not into.columns:
        return sql.SQL("WITH i AS (INSERT INTO {} SELECT FROM {} AS s RETURNING 1) SELECT FROM i").format(
            into.table, staging.source
        )
    keys = _keys(conn, table, into)
    insert = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS s").format(
        into.table, into.column_list, into.column_list, staging.source
    )
    returning = sql.SQL(" RETURNING {}").format(into.column_list)
    if on_conflict == "skip":
        if keys.any_joined:
            return insert + _absent(keys.same, into) + returning
        return insert + sql.SQL(" ON CONFLICT DO NOTHING") + returning
    if on_conflict != "update":
        return insert + returning
    always = {column.name for column in table.columns if column.identity == "always"}
    others = [name for name in into.columns if name not in table.primary_key and name not in always]
    if not others:
        # Nothing but the key: the row that is there is the row of the set.
        others = list(table.primary_key[:1])
    if keys.primary_joined:
        return sql.SQL("WITH u AS ({} RETURNING {}), i AS ({}) SELECT * FROM u UNION ALL SELECT * FROM i").format(
            _update(conn, table, staging, into, others),
            sql.SQL(", ").join(sql.Identifier("t", name) for name in into.columns),
            insert + _absent([same_key(conn, table, "t", "s")], into) + returning,
        )
    changes = sql.SQL(", ").join(
        sql.SQL("{} = EXCLUDED.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in others
    )
    key = sql.SQL(", ").join(sql.Identifier(name) for name in table.primary_key)
    return insert + sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}").format(key, changes) + returning


def _update(
    conn: Connection[Any], table: Table, staging: Destination, into: Destination, others: Sequence[str]
) -> sql.Composed:
    changes = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("s", name)) for name in others
    )
    return sql.SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE {}").format(
        into.source, changes, staging.source, same_key(conn, table, "t", "s")
    )


def _absent(same: Sequence[sql.Composed], into: Destination) -> sql.Composed:
    """The condition that the table has no row that is the same as the staged one."""
    conditions = [sql.SQL("NOT EXISTS (SELECT FROM {} AS t WHERE {})").format(into.source, one) for one in same]
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("").format()


@dataclass(frozen=True)
class _Keys:
    """The unique keys of a table: where ON CONFLICT cannot go by them, and when rows ``s`` and ``t`` have the same.

    :param same: for each key over plain columns of the file and all rows
    """

    primary_joined: bool
    any_joined: bool
    same: tuple[sql.Composed, ...]


def _keys(conn: Connection[Any], table: Table, into: Destination) -> _Keys:
    found = conn.execute(_KEYS, [table.oid]).fetchall()
    deferrable = [primary for _, primary, immediate, _, _, _, _ in found if not immediate]
    # DO NOTHING goes by keys over time, DO UPDATE does not.
    of_time = any(primary and excluding for _, primary, _, excluding, _, _, _ in found)
    same = [
        same_row(conn, index, "t", "s", nulls_equal=nulls)
        for index, _, _, _, plain, nulls, columns in found
        if plain and set(columns) <= set(into.columns)
    ]
    # The server has no ON CONFLICT for a table with rules for INSERT or UPDATE, disabled ones too.
    ruled = conn.execute(_RULED, [table.oid]).fetchone() == (True,)
    return _Keys(any(deferrable) or of_time or ruled, bool(deferrable) or ruled, tuple(same))


_RULED: Final = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = %s AND r.ev_type IN ('2', '3'))
"""

_KEYS: Final = """
SELECT i.indexrelid, i.indisprimary, i.indimmediate, i.indisexclusion,
       i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
       (SELECT array_agg(a.attname::text ORDER BY k.position)
          FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE k.position <= i.indnkeyatts)
FROM pg_catalog.pg_index i
WHERE i.indrelid = %s AND (i.indisunique OR i.indisexclusion) AND i.indisvalid
ORDER BY i.indexrelid
"""
