"""How a table is described: read from the server's catalog in the caller's transaction, as of the moment of its rows.

Source of every query here: the `pg_catalog` chapter of the PostgreSQL manual.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import dict_row

from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.codec.type_names import VECTOR_TYPES
from pgvector_backup.engine.postgres.own_types import own_types_of
from pgvector_backup.engine.postgres.properties import properties_of
from pgvector_backup.engine.postgres.sequences import sequences_of
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN, Column, Constraint, Heap, Index, Table, resolve
from pgvector_backup.engine.postgres.untold import told

_KINDS: Final = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}


def describe(
    conn: Connection[Any], name: TableName, *, at: TableName | None = None, with_children: bool = False
) -> Table:
    """Read a table's description from the catalog.

    :param with_children: whether the rows of tables that inherit from it count as its own
    :param name: how the table is called in the description
    :param at: its schema and name, where they are known already
    :raises NotFound: when there is no such table
    :raises DatabaseFault: when it is something that holds no rows, such as an index
    """
    oid, schema, table = resolve(conn, at or name)
    with conn.cursor(row_factory=dict_row) as cursor:
        relation = cursor.execute(
            "SELECT relkind::text AS kind, reltuples::bigint AS planned_rows FROM pg_class WHERE oid = %s",
            [oid],
        ).fetchone()
        assert relation is not None
        if relation["kind"] not in _KINDS:
            raise DatabaseFault(f"{name.label} is not a table; take it out of `tables`", can_retry=False)
        columns = cursor.execute(_COLUMNS, [list(VECTOR_TYPES), oid]).fetchall()
        constraints = cursor.execute(_CONSTRAINTS, [oid]).fetchall()
        primary_key = cursor.execute(_PRIMARY_KEY, [oid]).fetchall()
        indexes = cursor.execute(_INDEXES, [oid]).fetchall()
        heaps = told(conn, lambda: cursor.execute(_HEAPS, [oid, with_children]).fetchall())
        if heaps is None:
            # Not cut into pages then, but read as a whole over one connection.
            heaps = cursor.execute(_UNMEASURED, [oid, with_children]).fetchall()
    relations = tuple(heap.pop("oid") for heap in heaps)
    readable = all(heap.pop("readable") for heap in heaps)
    kind = _KINDS[relation["kind"]]
    if kind == "table" and len(heaps) > 1:
        kind = WITH_CHILDREN
    return Table(
        name=name,
        oid=oid,
        schema=schema,
        table=table,
        kind=kind,
        columns=tuple(Column(**row | {"options": tuple(row["options"])}) for row in columns),
        primary_key=tuple(row["name"] for row in primary_key),
        constraints=tuple(_constraint(row) for row in constraints),
        indexes=tuple(_index(row) for row in indexes),
        heaps=tuple(Heap(**row) for row in heaps) if readable else (),
        relations=relations,
        planned_rows=relation["planned_rows"] if relation["planned_rows"] >= 0 else None,
    )


def _constraint(row: dict[str, Any]) -> Constraint:
    references = row["references"]
    return Constraint(
        **row
        | {
            "columns": tuple(row["columns"]),
            "references": None if references is None else (references[0], references[1]),
        }
    )


def _index(row: dict[str, Any]) -> Index:
    return Index(**row | {"statistics": tuple((one[0], one[1]) for one in row["statistics"])})


def recorded(conn: Connection[Any], table: Table) -> Table:
    """The same table with what a set keeps of it besides: its properties, and its sequences as they stand now."""
    return replace(
        table,
        properties=properties_of(conn, table.oid),
        sequences=sequences_of(conn, table.oid),
        types=own_types_of(conn, table.oid),
    )


# atttypmod of pgvector's types is the number of dimensions, -1 where none is declared;
# of `bit` it is the number of bits, which pgvector's binary vectors are. Types are named with their schema, for the
# search path has pg_catalog alone; pgvector's without: where the extension is, the manifest says once, and it may be
# another schema in another database.
_COLUMNS: Final = """
SELECT a.attname AS name,
       CASE WHEN e.oid IS NULL OR tn.nspname = 'pg_catalog' THEN format_type(a.atttypid, a.atttypmod)
            ELSE substr(format_type(a.atttypid, a.atttypmod), length(quote_ident(tn.nspname)) + 2)
       END AS type,
       CASE WHEN a.atttypmod > 0 AND (t.typname = ANY(%s) OR t.typname = 'bit') THEN a.atttypmod
       END AS dimensions,
       a.attnotnull AS not_null,
       pg_get_expr(d.adbin, d.adrelid) AS default,
       a.attgenerated <> '' AS generated,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity,
       CASE WHEN a.attcollation <> t.typcollation THEN
           (SELECT jsonb_build_array(n.nspname, c.collname) FROM pg_collation c
              JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = a.attcollation) END AS collation,
       a.attgenerated = 'v' AS virtual,
       CASE WHEN a.attstorage <> t.typstorage THEN
           CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended' END
       END AS storage,
       CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS compression,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget::int END AS statistics,
       coalesce(a.attoptions, '{}') AS options,
       col_description(a.attrelid, a.attnum) AS comment
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN pg_depend dep ON dep.classid = 'pg_type'::regclass AND dep.deptype = 'e'
    AND dep.objid = CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
LEFT JOIN pg_extension e ON dep.refclassid = 'pg_extension'::regclass AND e.oid = dep.refobjid AND e.extname = 'vector'
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

# A foreign key to a partitioned table has a row for each partition besides its own: those are the server's affair.
_CONSTRAINTS: Final = """
SELECT k.conname AS name,
       CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key'
                      WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion' WHEN 'n' THEN 'not null'
                      ELSE k.contype::text END AS type,
       pg_get_constraintdef(k.oid) AS definition,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS c(attnum, place)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.attnum ORDER BY c.place) AS columns,
       (SELECT jsonb_build_array(n.nspname, r.relname) FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
         WHERE r.oid = k.confrelid) AS references,
       k.convalidated AS validated,
       coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) AS enforced,
       NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgrelid = k.conrelid
                   AND t.tgenabled = 'D') AS checked,
       k.connoinherit AND k.contype IN ('c', 'n') AS no_inherit,
       obj_description(k.oid, 'pg_constraint') AS comment
FROM pg_constraint k
WHERE k.conrelid = %s AND k.contype <> 't'
  AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)
ORDER BY k.contype, k.conname
"""

_PRIMARY_KEY: Final = """
SELECT a.attname AS name
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisprimary AND k.position <= i.indnkeyatts
ORDER BY k.position
"""

_INDEXES: Final = """
SELECT c.relname AS name, am.amname AS method, pg_get_indexdef(i.indexrelid) AS definition, con.conname AS constraint,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       i.indisclustered AS clustered, i.indisreplident AS replica_identity, t.spcname AS tablespace,
       ARRAY(SELECT jsonb_build_array(a.attnum, a.attstattarget) FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attstattarget >= 0 ORDER BY a.attnum) AS statistics,
       obj_description(c.oid, 'pg_class') AS comment
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
LEFT JOIN pg_constraint con
    ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %s
ORDER BY c.relname
"""

# A partitioned table keeps no rows itself, its leaves do. A leaf that is a foreign table, or that the role
# may not read directly, cannot be cut into pages: `readable` is false and the table is read as a whole. So does one
# with row-level security of its own, which does not apply to whoever reads the parent.
_PARTS: Final = """
WITH RECURSIVE part(oid) AS (
    SELECT %s::oid
    UNION
    SELECT i.inhrelid FROM part p
    JOIN pg_class c ON c.oid = p.oid AND (c.relkind = 'p' OR (%s AND c.relkind = 'r'))
    JOIN pg_inherits i ON i.inhparent = p.oid AND coalesce(to_jsonb(i) ->> 'inhdetachpending', '') <> 'true'
)"""

_HEAPS: Final = f"""{_PARTS}
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS table,
       CASE WHEN c.relkind IN ('r', 'm')
            THEN pg_relation_size(c.oid) / current_setting('block_size')::int ELSE 0 END AS pages,
       c.relkind IN ('r', 'm') AND has_table_privilege(c.oid, 'SELECT')
           AND has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid) AS readable
FROM part JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY n.nspname, c.relname
"""

# Of a server that does not tell how large a relation is, or what the role may do to it.
_UNMEASURED: Final = f"""{_PARTS}
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS table, 0 AS pages, false AS readable
FROM part JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p' ORDER BY n.nspname, c.relname
"""
