"""A table as the server's catalog describes it.

Source of every query here: the `pg_catalog` chapter of the PostgreSQL manual. All of them run in the
caller's transaction, so that the description is of the same moment as the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import NotFound
from pgvector_backup.engine.postgres.own_types import OwnType
from pgvector_backup.engine.postgres.properties import Properties
from pgvector_backup.engine.postgres.sequences import SequenceState
from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.table_name import TableName

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

    @property
    def unique(self) -> bool:
        """Whether no two rows may have the same key."""
        return self.definition.startswith("CREATE UNIQUE ")


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
    types: tuple[OwnType, ...] = ()

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
    if name.schema is None and (closed := _closed(conn, name)):
        remedy = f"it is in schema {closed}, on which the connection's role has no USAGE; have it granted"
    return f"table {name.label} does not exist in database {conn.info.dbname}: {remedy}"


def _closed(conn: Connection[Any], name: TableName) -> str | None:
    """A schema with a table of exactly that name, if the role may not look into it; None: there is none."""
    row = conn.execute(
        "SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%%'"
        " AND NOT has_schema_privilege(n.oid, 'USAGE') ORDER BY n.nspname <> 'public', 1 LIMIT 1",
        [name.table],
    ).fetchone()
    return None if row is None else str(row[0])


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
        " SELECT k.conname, n.nspname, c.relname FROM pg_constraint k"
        " JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid IN (SELECT oid FROM inside)"
        " AND k.conrelid NOT IN (SELECT oid FROM inside) ORDER BY 2, 3, 1",
        [list(oids), list(oids)],
    ).fetchall()
    path = own_path(conn)
    return [(key, TableName(None if schema in path else schema, table).label) for key, schema, table in rows]
