"""A table as the server's catalog describes it.

Source of every query here: the `pg_catalog` chapter of the PostgreSQL manual. All of them run in the
caller's transaction, so that the description is of the same moment as the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import dict_row

from pgvector_backup.engine.base.errors import DatabaseFault, NotFound
from pgvector_backup.engine.codec.type_names import VECTOR_TYPES
from pgvector_backup.engine.postgres.properties import Properties, SequenceState, properties_of, sequences_of
from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.table_name import TableName

_KINDS: Final = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}

WITH_CHILDREN: Final = "table with children"
"""The kind of a table whose rows are those of the tables that inherit from it as well."""


@dataclass(frozen=True)
class Column:
    """A column; ``dimensions`` is set for pgvector's types that declare it.

    :param collation: schema and name, where it is not the type's own
    :param virtual: of a generated column, whether it is computed when it is read
    :param storage: ``plain``, ``external``, ``extended`` or ``main``, where it is not the type's own
    :param statistics: the target of ANALYZE, where one was set
    :param options: attribute options, each as ``name=value``
    """

    name: str
    type: str
    dimensions: int | None
    not_null: bool
    default: str | None
    generated: bool
    identity: str | None
    collation: tuple[str, str] | None = None
    virtual: bool = False
    storage: str | None = None
    compression: str | None = None
    statistics: int | None = None
    options: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True)
class Constraint:
    """A constraint and the SQL that makes it anew.

    :param columns: that it is of, in its order; those that an index merely includes are not among them
    :param references: of a foreign key, schema and table that it points at
    :param validated: whether every row is known to fulfil it
    :param enforced: whether new rows are held to it
    :param checked: false for a foreign key whose triggers are disabled
    """

    name: str
    type: str
    definition: str
    columns: tuple[str, ...] = ()
    references: tuple[str, str] | None = None
    validated: bool = True
    enforced: bool = True
    checked: bool = True
    no_inherit: bool = False
    comment: str | None = None


@dataclass(frozen=True)
class Index:
    """An index and the SQL that makes it anew; ``constraint`` names the constraint that owns it, if one does.

    :param valid: false for what CREATE INDEX CONCURRENTLY left behind: nothing is found by it
    :param clustered: whether CLUSTER goes by it
    :param replica_identity: whether logical replication tells rows by it
    :param tablespace: where it is not the database's own
    :param statistics: pairs of the number of a column and its target, where one was set
    """

    name: str
    method: str
    definition: str
    constraint: str | None
    valid: bool = True
    clustered: bool = False
    replica_identity: bool = False
    tablespace: str | None = None
    statistics: tuple[tuple[int, int], ...] = ()
    comment: str | None = None


@dataclass(frozen=True)
class Heap:
    """A relation that keeps rows in pages: an ordinary table, or a partition of one. Sizes in pages."""

    schema: str
    table: str
    pages: int

    @property
    def identifier(self) -> sql.Identifier:
        """The name, quoted for SQL."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True)
class Table:
    """What is known of a table at the moment of the snapshot.

    :param name: how the configuration calls it
    :param kind: ``table``, ``partitioned table``, ``view``, ``materialized view``, ``foreign table``; `WITH_CHILDREN`
        of a table that is read together with those that inherit from it
    :param heaps: the parts that can be read by page; empty where there is nothing to cut
    :param relations: oids of what keeps its rows: its own, or those of its partitions
    :param planned_rows: the server's own estimate, for want of a better one
    """

    name: TableName
    oid: int
    schema: str
    table: str
    kind: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    indexes: tuple[Index, ...]
    heaps: tuple[Heap, ...]
    relations: tuple[int, ...]
    planned_rows: int | None
    properties: Properties = field(default_factory=Properties)
    sequences: tuple[SequenceState, ...] = ()

    @property
    def identifier(self) -> sql.Identifier:
        """The name, quoted for SQL."""
        return sql.Identifier(self.schema, self.table)

    @property
    def source(self) -> sql.Composable:
        """What stands after FROM. ONLY, unless inheriting tables are meant as well."""
        only = sql.SQL("ONLY ") if self.kind == "table" else sql.SQL("")
        return sql.SQL("{}{}").format(only, self.identifier)

    @property
    def column_list(self) -> sql.Composable:
        """The columns that COPY would write: all but the generated ones."""
        return sql.SQL(", ").join(sql.Identifier(c.name) for c in self.columns if not c.generated)

    @property
    def has_rows_of_its_own(self) -> bool:
        """Whether its rows carry the transaction that wrote them (a view's do not)."""
        return self.kind in ("table", "partitioned table", WITH_CHILDREN)


def place(conn: Connection[Any], name: TableName) -> TableName | None:
    """Where a table is, by schema: the first schema of the role's own search path that has one of the name.

    :return: schema and table; None when there is no such table. A name with a schema is taken as it is
    """
    if name.schema is not None:
        return name
    row = conn.execute(
        "SELECT n.nspname FROM unnest(%s::text[]) WITH ORDINALITY AS path(schema, position)"
        " JOIN pg_namespace n ON n.nspname = path.schema JOIN pg_class c ON c.relnamespace = n.oid"
        " WHERE c.relname = %s ORDER BY path.position LIMIT 1",
        [list(own_path(conn)), name.table],
    ).fetchone()
    return None if row is None else TableName(row[0], name.table)


def resolve(conn: Connection[Any], name: TableName) -> tuple[int, str, str]:
    """Find a table by name, through the role's own search path where no schema is given.

    :return: oid, schema, table
    :raises NotFound: naming the table, and a near miss where there is one
    """
    there = place(conn, name)
    row = None
    if there is not None:
        row = conn.execute(
            "SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            [there.schema, there.table],
        ).fetchone()
    if row is None:
        raise NotFound(missing(conn, name))
    return row[0], row[1], row[2]


def missing(conn: Connection[Any], name: TableName) -> str:
    """Say that a table is missing, and where one of that name lives, if anywhere."""
    near = conn.execute(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE lower(c.relname) = lower(%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " ORDER BY 1 LIMIT 3",
        [name.table],
    ).fetchall()
    remedy = f"did you mean {', '.join(row[0] for row in near)}?" if near else "check `tables`"
    return f"table {name.label} does not exist in database {conn.info.dbname}: {remedy}"


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
        heaps = cursor.execute(_HEAPS, [oid, with_children]).fetchall()
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
    return replace(table, properties=properties_of(conn, table.oid), sequences=sequences_of(conn, table.oid))


def count_rows(conn: Connection[Any], source: sql.Composable) -> int:
    """Rows of a table.

    :param source: the table as it stands after FROM
    """
    row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(source)).fetchone()
    assert row is not None
    return int(row[0])


def extension_schema(conn: Connection[Any]) -> str | None:
    """Where pgvector's types, functions and operators are; None where the database has no pgvector."""
    row = conn.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    ).fetchone()
    return None if row is None else str(row[0])


def referencing_keys(conn: Connection[Any], oids: Sequence[int]) -> list[tuple[str, str]]:
    """The foreign keys that point at these tables, or at partitions of them, from outside.

    :return: pairs of constraint and the table it belongs to
    """
    rows = conn.execute(
        "WITH inside AS (SELECT unnest(%s::oid[]) AS oid"
        "  UNION SELECT p.relid FROM unnest(%s::oid[]) AS whole, pg_partition_tree(whole) AS p)"
        " SELECT conname, conrelid::regclass::text FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND confrelid IN (SELECT oid FROM inside)"
        " AND conrelid NOT IN (SELECT oid FROM inside) ORDER BY 2, 1",
        [list(oids), list(oids)],
    ).fetchall()
    return [(row[0], row[1]) for row in rows]


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
_HEAPS: Final = """
WITH RECURSIVE part(oid) AS (
    SELECT %s::oid
    UNION
    SELECT i.inhrelid FROM part p
    JOIN pg_class c ON c.oid = p.oid AND (c.relkind = 'p' OR (%s AND c.relkind = 'r'))
    JOIN pg_inherits i ON i.inhparent = p.oid
)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS table,
       CASE WHEN c.relkind IN ('r', 'm')
            THEN pg_relation_size(c.oid) / current_setting('block_size')::int ELSE 0 END AS pages,
       c.relkind IN ('r', 'm') AND has_table_privilege(c.oid, 'SELECT')
           AND has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid) AS readable
FROM part JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY n.nspname, c.relname
"""
