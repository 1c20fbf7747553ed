"""Foreign keys that the order of a load cannot satisfy, held to at its end: of tables in a circle, and to themselves.

They are made deferrable for the time of the load, and what they were again before it is committed. So they are held
to for every row, whatever the number of rows, and their definition stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.load.plan import TablePlan


@dataclass(frozen=True)
class RelaxedKey:
    """A foreign key that is checked at the end of the load; ``restore`` makes it what it was."""

    name: str
    restore: sql.Composed


def relax(conn: Connection[Any], plans: Sequence[TablePlan]) -> list[RelaxedKey]:
    """Put off the checks of keys that point at rows which come later.

    :param plans: in the order in which their rows come
    :return: those that were altered; of others, which the role may not alter, checks are put off where they can be
    """
    order = {one.table.oid: number for number, one in enumerate(plans)}
    there = [one.table.oid for one in plans if not one.created]
    relaxed = []
    for row in conn.execute(_KEYS, [there, there]).fetchall():
        schema, table, name, child, parent, deferrable, deferred, owned = row
        # One INSERT may refer to itself, a load of several parts may not.
        if order[parent] < order[child] or (parent == child and plans[order[child]].staged):
            continue
        if owned:
            alter = sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} ").format(
                sql.Identifier(schema, table), sql.Identifier(name)
            )
            was = "NOT DEFERRABLE" if not deferrable else "DEFERRABLE INITIALLY IMMEDIATE"
            if not deferred:
                conn.execute(alter + sql.SQL("DEFERRABLE INITIALLY DEFERRED"))
                relaxed.append(RelaxedKey(name, alter + sql.SQL(was)))
        elif deferrable:
            conn.execute(sql.SQL("SET CONSTRAINTS {} DEFERRED").format(sql.Identifier(schema, name)))
    return relaxed


_KEYS: Final = """
SELECT n.nspname, r.relname, k.conname, k.conrelid::bigint, k.confrelid::bigint, k.condeferrable, k.condeferred,
       pg_has_role(r.relowner, 'USAGE')
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class r ON r.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
  AND k.conrelid = ANY(%s::oid[]) AND k.confrelid = ANY(%s::oid[])
  AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgrelid = k.conrelid
              AND t.tgenabled <> 'D')
ORDER BY 1, 2, 3
"""
