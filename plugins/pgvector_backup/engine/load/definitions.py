"""What a manifest says of a table, made anew: extension, schema, table, indexes; `constraints` makes those.

A manifest is trusted as a dump is: what it defines is made with the rights of whoever restores. It still cannot do what
it does not say. Names are quoted, each definition has to be of its kind, and each goes to the server as one statement
by the extended protocol, which refuses a second one behind it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import DatabaseFault, IntegrityFault, NotFound
from pgvector_backup.engine.codec.type_names import VECTOR_TYPES
from pgvector_backup.engine.load import grammar, own_types, properties, sequences
from pgvector_backup.engine.load.attempts import attempt, execute_one
from pgvector_backup.engine.load.constraints import CONSTRAINTS_OF_18
from pgvector_backup.engine.load.relocation import relocated, relocated_type
from pgvector_backup.engine.load.sequences import Counters
from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Column, Index, extension_schema
from pgvector_backup.engine.sets.table_entry import TableEntry

_log: Final = logging.getLogger(__name__)

_INDEX: Final = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?P<name>{grammar.NAME}) ON (?:ONLY )?{grammar.QUALIFIED} USING (?P<rest>.+)",
    re.DOTALL,
)
_BASE: Final = re.compile(rf"(?:{grammar.NAME}\.)?(?P<base>\w+)(?:\(\d+\))?(?:\[\])*")

_VECTOR_METHODS: Final = ("hnsw", "ivfflat")
_PGVECTOR_CAST: Final = re.compile(rf"::(?:{grammar.NAME}\.)?(?:{'|'.join(VECTOR_TYPES)})\b")
_VIRTUAL: Final = 180000
"""The first server version with columns that are computed when they are read."""


def create_extension(conn: Connection[Any], entries: Sequence[TableEntry]) -> bool:
    """Make pgvector available, if a table needs it.

    :return: whether it was not there before
    :raises NotFound: when the server has no pgvector
    """
    if not any(_needs_pgvector(entry) for entry in entries) or extension_schema(conn) is not None:
        return False
    if not conn.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
        raise NotFound("extension vector is not available on this server; install pgvector there")
    try:
        conn.execute(sql.SQL("CREATE EXTENSION vector SCHEMA {}").format(sql.Identifier(_home_of_extension(conn))))
    except psycopg.errors.InsufficientPrivilege:
        raise DatabaseFault(
            "the connection's role may not create extension vector; have an administrator run CREATE EXTENSION "
            "vector in this database",
            can_retry=False,
        ) from None
    return True


def _needs_pgvector(entry: TableEntry) -> bool:
    """Whether a column's type is pgvector's, or an index or an expression has to do with it."""
    texts = [index.definition for index in entry.indexes]
    texts += [constraint.definition for constraint in entry.constraints]
    texts += [column.default for column in entry.columns if column.default]
    texts += [text for own in entry.types for _, text in own.checks]
    if (known := entry.properties) is not None:
        texts += [text for one in known.statistics for text in one.expressions]
        texts += [text for policy in known.policies for text in (policy.using, policy.check) if text]
    types = [column.type for column in entry.columns]
    types += [name for own in entry.types for name in (own.base, *(kind for _, kind in own.columns)) if name]
    return (
        any((match := _BASE.fullmatch(name)) and match["base"] in VECTOR_TYPES for name in types)
        or any(index.method in _VECTOR_METHODS for index in entry.indexes)
        or any(_PGVECTOR_CAST.search(text) for text in texts)
    )


def _home_of_extension(conn: Connection[Any]) -> str:
    """Where CREATE EXTENSION would put it for this role, but never into a schema that is the role's alone."""
    path = own_path(conn)
    return next((schema for schema in path if schema != conn.info.user), "public")


def create_table(conn: Connection[Any], entry: TableEntry, name: TableName) -> list[str]:
    """Make a table, its columns and the sequences that they count by; keys and indexes are made faster after the rows.

    :return: what of it could not be made, or is otherwise now
    :raises NotFound: when a type is missing
    """
    notes: list[str] = []
    if name.schema is not None:
        there = conn.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", [name.schema]).fetchone()
        if there != (True,):
            conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name.schema)))
    counters = sequences.make(conn, entry, name, notes)
    own_types.make(conn, entry, notes)
    types = {name: _type(conn, name) for name in {column.type for column in entry.columns}}
    columns = [
        (column, _column(conn, entry, column, counters, type_name=types[column.type], notes=notes))
        for column in entry.columns
    ]
    head = properties.head(conn, entry, name)
    tail = properties.tail(conn, entry, notes)
    whole = sql.SQL("{} ({}){}").format(head, sql.SQL(", ").join(made for _, made in columns), tail)
    generated = [(column, made) for column, made in columns if column.generated]
    if not generated:
        execute_one(conn, whole)
    elif attempt(conn, whole) is not None:
        # One of them cannot be computed here: each is tried by itself, at the end of the table.
        ordinary = sql.SQL(", ").join(made for column, made in columns if not column.generated)
        execute_one(conn, sql.SQL("{} ({}){}").format(head, ordinary, tail))
        for column, made in generated:
            refused = attempt(conn, sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(name.identifier, made))
            if refused is not None:
                notes.append(f"{entry.name}: generated column {column.name} was left out: {refused}")
    for column in entry.columns:
        if column.default is not None and not column.generated:
            expression = relocated(conn, counters.expression(conn, _expression(column)))
            if (refused := _set_default(conn, name, column, expression)) is not None:
                notes.append(
                    f"{entry.name}: column {column.name} has no default any more ({column.default}): {refused}"
                )
    sequences.adopt(conn, counters, entry, name, notes)
    properties.before_rows(conn, entry, name, notes)
    return notes


def _type(conn: Connection[Any], name: str) -> str | None:
    """A type as this database calls it; None where it has none of that name."""
    here = relocated_type(conn, name)
    # What `to_regtype` accepts is the name of a type and nothing else.
    known = conn.execute("SELECT to_regtype(%s) IS NOT NULL", [here]).fetchone()
    return here if known == (True,) else None


def _column(
    conn: Connection[Any],
    entry: TableEntry,
    column: Column,
    counters: Counters,
    *,
    type_name: str | None,
    notes: list[str],
) -> sql.Composed:
    """A column's definition but for its default, which the server may not be able to evaluate."""
    if type_name is None:
        raise NotFound(
            f"{entry.name}: column {column.name} is of type {column.type}, which this database does not have; create "
            "the type or its extension first"
        )
    parts: list[sql.Composable] = [sql.Identifier(column.name), sql.SQL(type_name)]
    if column.collation is not None:
        if conn.execute(_COLLATION, list(column.collation)).fetchone() is None:
            notes.append(
                f"{entry.name}: column {column.name} has no collation {'.'.join(column.collation)} any more, which "
                "this database does not have; texts may be sorted and compared otherwise"
            )
        else:
            parts.append(sql.SQL("COLLATE {}").format(sql.Identifier(*column.collation)))
    if column.generated:
        virtual = column.virtual and conn.info.server_version >= _VIRTUAL
        if column.virtual and not virtual:
            notes.append(
                f"{entry.name}: generated column {column.name} is stored now; this server knows no virtual ones"
            )
        kind = sql.SQL("VIRTUAL" if virtual else "STORED")
        parts.append(sql.SQL("GENERATED ALWAYS AS ({}) {}").format(sql.SQL(relocated(conn, _expression(column))), kind))
    elif column.identity is not None:
        always = sql.SQL("ALWAYS" if column.identity == "always" else "BY DEFAULT")
        parts.append(sql.SQL("GENERATED {} AS IDENTITY{}").format(always, counters.identity(column.name)))
    if column.not_null:
        parts.append(_not_null(conn, entry, column))
    return sql.Composed(parts).join(" ")


def _not_null(conn: Connection[Any], entry: TableEntry, column: Column) -> sql.Composable:
    """NOT NULL as the set has it; nothing where rows may break it, for it is added after them."""
    named = next((one for one in entry.constraints if one.type == "not null" and one.columns == (column.name,)), None)
    if named is None:
        return sql.SQL("NOT NULL")
    if not named.validated:
        return sql.SQL("")
    alone = named.no_inherit and conn.info.server_version >= CONSTRAINTS_OF_18
    return sql.SQL("CONSTRAINT {} NOT NULL{}").format(
        sql.Identifier(named.name), sql.SQL(" NO INHERIT" if alone else "")
    )


def _set_default(conn: Connection[Any], name: TableName, column: Column, expression: str) -> str | None:
    return attempt(
        conn,
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT ({})").format(
            name.identifier, sql.Identifier(column.name), sql.SQL(expression)
        ),
    )


def _expression(column: Column) -> str:
    """A default's or a generated column's expression, which cannot leave the brackets that it is put into."""
    return grammar.expression(column.default or "", f"column {column.name}")


def index_definition(conn: Connection[Any], entry: TableEntry, index: Index, name: TableName) -> sql.Composed:
    """The statement that makes an index of the set on a table that may lie in another schema now."""
    match = _INDEX.fullmatch(index.definition)
    if match is None:
        raise IntegrityFault(f"{entry.name}: the definition of index {index.name} cannot be read")
    rest = relocated(conn, match["rest"], index=True)
    return sql.SQL("CREATE {}INDEX {} ON {} USING {}").format(
        sql.SQL(match["unique"] or ""), sql.Identifier(index.name), name.identifier, sql.SQL(rest)
    )


_COLLATION: Final = """
SELECT 1 FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
WHERE n.nspname = %s AND c.collname = %s
  AND c.collencoding IN (-1, (SELECT encoding FROM pg_catalog.pg_database WHERE datname = current_database()))
"""
