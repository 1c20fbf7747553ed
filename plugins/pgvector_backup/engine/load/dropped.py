"""Indexes and foreign keys that are dropped while a table is loaded, and made anew from their definitions after.

An HNSW index takes each row by a search of its graph, and a foreign key looks up each row by itself: building the index
at once and checking all rows by one join takes a fraction of that. An IVFFlat index that is built before there are rows
would have no centroids to speak of. What could not be made anew exactly as it was stays in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import dict_row

from pgvector_backup.engine.load.attempts import execute_one
from pgvector_backup.engine.postgres.tables import Table

_WORTH_IT: Final = 1000
"""Rows below which nothing is gained by dropping anything."""

_GROWTH: Final = 3
"""Into a table that holds rows, an index is made anew when the table grows to at most so many times what is loaded:
building takes about a third of the time a row that adding to it does."""


@dataclass(frozen=True)
class Droppable:
    """An index or a foreign key that can be dropped for a load.

    :param table: that it belongs to
    :param drop: the statement that drops it
    :param make: the statements that make it exactly as it was
    :param doubtful: whether it is an index that the server had given up on, here or where the set was made: it may be
        one that the rows do not allow
    """

    table: Table
    name: str
    drop: sql.Composed
    make: tuple[sql.Composed, ...]
    doubtful: bool = False


def worth_it(rows: int, rows_before: int) -> bool:
    """Whether a load is so large that indexes are better made after it."""
    return rows >= _WORTH_IT and rows + rows_before <= rows * _GROWTH


def droppable_indexes(conn: Connection[Any], table: Table, given_up: Sequence[str]) -> tuple[Droppable, ...]:
    """A table's indexes that hold no constraint, as far as they can be made anew exactly.

    :param given_up: names of those that were not valid when the set was made. TRUNCATE makes such an index valid, here
        as there, and the rows of the set cannot come back under it
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_INDEXES, [list(given_up), table.oid]).fetchall()
    indexes = []
    for row in found:
        identifier = sql.Identifier(table.schema, row["name"])
        make = [sql.SQL("{}").format(sql.SQL(row["definition"]))]
        if row["tablespace"] is not None:
            make.append(
                sql.SQL("ALTER INDEX {} SET TABLESPACE {}").format(identifier, sql.Identifier(row["tablespace"]))
            )
        if row["comment"] is not None:
            make.append(sql.SQL("COMMENT ON INDEX {} IS {}").format(identifier, sql.Literal(row["comment"])))
        for target in row["statistics"] or ():
            make.append(
                sql.SQL("ALTER INDEX {} ALTER COLUMN {} SET STATISTICS {}").format(
                    identifier, sql.SQL(str(int(target[0]))), sql.SQL(str(int(target[1])))
                )
            )
        gone = sql.SQL("DROP INDEX {}").format(identifier)
        indexes.append(Droppable(table, row["name"], gone, tuple(make), doubtful=row["doubtful"]))
    return tuple(indexes)


def droppable_foreign_keys(conn: Connection[Any], tables: Sequence[Table]) -> tuple[Droppable, ...]:
    """The foreign keys between these tables, as far as they can be made anew exactly."""
    return _constraints(conn, _FOREIGN_KEYS, tables)


def droppable_loose_constraints(conn: Connection[Any], tables: Sequence[Table]) -> tuple[Droppable, ...]:
    """The constraints of these tables that are not valid: rows that were there before may break them."""
    return _constraints(conn, _LOOSE, tables)


def droppable_domain_checks(conn: Connection[Any], tables: Sequence[Table]) -> tuple[Droppable, ...]:
    """The checks of domains of these tables' columns that are not valid: rows that were there before may break them."""
    return _constraints(conn, _OF_DOMAINS, tables, "DOMAIN")


def _constraints(
    conn: Connection[Any], query: str, tables: Sequence[Table], kind: str = "TABLE"
) -> tuple[Droppable, ...]:
    by_oid = {table.oid: table for table in tables}
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(query, {"oids": list(by_oid)}).fetchall()
    keys = []
    for row in found:
        where, name = sql.Identifier(row["schema"], row["relation"]), sql.Identifier(row["there"])
        alter = sql.SQL("ALTER {} {} ").format(sql.SQL(kind), where)
        make = [alter + sql.SQL("ADD CONSTRAINT {} {}").format(name, sql.SQL(row["definition"]))]
        if row["comment"] is not None:
            on = sql.SQL("DOMAIN " if kind == "DOMAIN" else "") + where
            make.append(sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(name, on, sql.Literal(row["comment"])))
        gone = alter + sql.SQL("DROP CONSTRAINT {}").format(name)
        keys.append(Droppable(by_oid[row["oid"]], row["name"], gone, tuple(make)))
    return tuple(keys)


def drop(conn: Connection[Any], one: Droppable) -> None:
    """Drop an index or a foreign key; the caller holds the table's ACCESS EXCLUSIVE lock, or gets it by this."""
    conn.execute(one.drop)


def make_again(conn: Connection[Any], one: Droppable) -> None:
    """Make an index or a foreign key exactly as it was."""
    for statement in one.make:
        execute_one(conn, statement)


# Left in place: what a constraint owns or a foreign key goes by, unique ones (an ON CONFLICT may need them), and what
# DROP and CREATE would not bring back: a part of a partitioned index, CLUSTER ON, REPLICA IDENTITY, an index that hangs
# on an extension or that something depends on, another role's, and those that the role may drop but not make.
_INDEXES: Final = """
SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition,
       t.spcname AS tablespace, obj_description(c.oid, 'pg_class') AS comment,
       (SELECT array_agg(ARRAY[a.attnum::int, a.attstattarget::int] ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attstattarget >= 0) AS statistics,
       d.doubtful
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class r ON r.oid = i.indrelid
LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
CROSS JOIN LATERAL (
    SELECT NOT (i.indisvalid AND i.indisready AND i.indislive) OR c.relname = ANY(%s::text[]) AS doubtful) AS d
WHERE i.indrelid = %s AND c.relkind = 'i' AND NOT c.relispartition
  AND (d.doubtful OR NOT i.indisunique) AND NOT i.indisexclusion AND NOT i.indisclustered AND NOT i.indisreplident
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid)
  AND pg_has_role(r.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE')
  AND (t.oid IS NULL OR has_tablespace_privilege(t.oid, 'CREATE'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype IN ('x', 'e'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                  AND d.deptype <> 'i')
ORDER BY c.relname
"""

_FOREIGN_KEYS: Final = """
SELECT k.conrelid::bigint AS oid, k.conname AS name, s.nspname AS schema, r.relname AS relation, k.conname AS there,
       pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
FROM pg_constraint k
JOIN pg_class r ON r.oid = k.conrelid
JOIN pg_namespace s ON s.oid = r.relnamespace
JOIN pg_class p ON p.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
  AND k.conrelid = ANY(%(oids)s::oid[]) AND k.confrelid = ANY(%(oids)s::oid[])
  AND r.relkind = 'r' AND p.relkind = 'r'
  AND pg_has_role(r.relowner, 'USAGE') AND has_table_privilege(p.oid, 'REFERENCES')
  AND pg_has_role(p.relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                  AND d.deptype IN ('x', 'e'))
ORDER BY k.conname
"""

# What a table has from another one is dropped and made there, and so in all tables that have it from there.
_LOOSE: Final = """
WITH RECURSIVE up(oid, relation, name, depth) AS (
    SELECT k.oid, k.conrelid, k.conname, 0 FROM pg_constraint k
     WHERE k.contype IN ('c', 'f', 'n') AND NOT k.convalidated AND k.conrelid = ANY(%(oids)s::oid[])
       AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
    UNION
    SELECT p.oid, up.relation, up.name, up.depth + 1
      FROM up JOIN pg_constraint k ON k.oid = up.oid
      JOIN pg_constraint p ON p.oid = k.conparentid
        OR (k.contype IN ('c', 'n') AND p.contype = k.contype AND (k.contype = 'n' OR p.conname = k.conname)
            AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = k.conrelid AND i.inhparent = p.conrelid)
            AND (k.contype = 'c' OR EXISTS (
                SELECT FROM pg_attribute a JOIN pg_attribute b ON b.attname = a.attname
                 WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
                   AND b.attrelid = p.conrelid AND b.attnum = p.conkey[1])))
)
SELECT u.relation::bigint AS oid, u.name, s.nspname AS schema, r.relname AS relation, k.conname AS there,
       pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
FROM up u
JOIN pg_constraint k ON k.oid = u.oid
JOIN pg_class r ON r.oid = k.conrelid
JOIN pg_namespace s ON s.oid = r.relnamespace
WHERE k.conislocal AND k.conparentid = 0 AND NOT k.convalidated
  AND pg_has_role(r.relowner, 'USAGE')
  AND (k.confrelid = 0 OR has_table_privilege(k.confrelid, 'REFERENCES'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid
                  AND d.deptype NOT IN ('i', 'P', 'S'))
ORDER BY u.depth DESC, k.conname
"""

_OF_DOMAINS: Final = """
WITH RECURSIVE used(type, relation) AS (
    SELECT a.atttypid, a.attrelid FROM pg_attribute a
     WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
    UNION
    SELECT n.need, used.relation FROM used JOIN pg_type y ON y.oid = used.type
     CROSS JOIN LATERAL (
        SELECT y.typelem WHERE y.typcategory = 'A' UNION ALL SELECT y.typbasetype WHERE y.typtype = 'd'
        UNION ALL SELECT a.atttypid FROM pg_attribute a
         WHERE y.typrelid <> 0 AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
     ) AS n(need)
     WHERE n.need >= 16384
)
SELECT u.relation::bigint AS oid, k.conname AS name, s.nspname AS schema, y.typname AS relation, k.conname AS there,
       pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
FROM (SELECT type, min(relation) AS relation FROM used GROUP BY type) AS u
JOIN pg_type y ON y.oid = u.type
JOIN pg_namespace s ON s.oid = y.typnamespace
JOIN pg_constraint k ON k.contypid = y.oid AND k.contype = 'c' AND NOT k.convalidated
WHERE pg_has_role(y.typowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                  AND d.deptype IN ('x', 'e'))
ORDER BY k.conname
"""
