"""What a manifest says of a table, made anew: extension, schema, table, constraints, indexes.

A manifest is trusted as a dump is: what it defines is made with the rights of whoever restores. It still cannot do what
it does not say. Names are quoted, each definition has to be of its kind, and each goes to the server as one statement
by the extended protocol, which refuses a second one behind it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import DatabaseFault, IntegrityFault, NotFound
from pgvector_backup.engine.codec.type_names import VECTOR_TYPES
from pgvector_backup.engine.load.relocation import relocated, relocated_type
from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Column, Constraint, Index, extension_schema
from pgvector_backup.engine.sets.manifest import TableEntry

_log: Final = logging.getLogger(__name__)

_NAME: Final = r'(?:"(?:[^"]|"")+"|[^\s".,()\[\]]+)'
_QUALIFIED: Final = rf"(?:{_NAME}\.)?{_NAME}"
_INDEX: Final = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?P<name>{_NAME}) ON (?:ONLY )?{_QUALIFIED} USING (?P<rest>.+)", re.DOTALL
)
_FOREIGN_KEY: Final = re.compile(
    rf"FOREIGN KEY \((?P<columns>[^()]+)\) REFERENCES (?P<table>{_QUALIFIED})(?P<rest>\(.+)", re.DOTALL
)
_NEXTVAL: Final = re.compile(rf"nextval\('(?P<name>(?:{_QUALIFIED}))'::regclass\)")
_BASE: Final = re.compile(rf"(?:{_NAME}\.)?(?P<base>\w+)(?:\(\d+\))?(?:\[\])*")

_VECTOR_METHODS: Final = ("hnsw", "ivfflat")
_PGVECTOR_CAST: Final = re.compile(rf"::(?:{_NAME}\.)?(?:{'|'.join(VECTOR_TYPES)})\b")

_KINDS: Final = {
    "primary key": "PRIMARY KEY ",
    "unique": "UNIQUE ",
    "check": "CHECK ",
    "exclusion": "EXCLUDE ",
    "foreign key": "FOREIGN KEY ",
}
"""What a constraint's definition begins with. The column list says NOT NULL already."""


def execute_one(conn: Connection[Any], statement: sql.Composed) -> None:
    """Execute one statement, whatever its text holds: `binary` has psycopg use the extended protocol."""
    conn.execute(statement, binary=True)


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
    return (
        any((match := _BASE.fullmatch(column.type)) and match["base"] in VECTOR_TYPES for column in entry.columns)
        or any(index.method in _VECTOR_METHODS for index in entry.indexes)
        or any(_PGVECTOR_CAST.search(text) for text in texts)
    )


def _home_of_extension(conn: Connection[Any]) -> str:
    """Where CREATE EXTENSION would put it for this role, but never into a schema that is the role's alone."""
    path = own_path(conn)
    return next((schema for schema in path if schema != conn.info.user), "public")


def create_table(conn: Connection[Any], entry: TableEntry, name: TableName) -> None:
    """Make a table with its columns, without constraints and indexes, which are made faster once it has its rows.

    :raises NotFound: when a type is missing
    """
    if name.schema is not None:
        there = conn.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", [name.schema]).fetchone()
        if there != (True,):
            conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name.schema)))
    made: list[tuple[TableName, str]] = []  # sequences, and the columns that count by them
    columns = [_column(conn, entry, column, name, made) for column in entry.columns]
    execute_one(conn, sql.SQL("CREATE TABLE {} ({})").format(name.identifier, sql.SQL(", ").join(columns)))
    for sequence, column_name in made:
        conn.execute(
            sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{}").format(
                sequence.identifier, name.identifier, sql.Identifier(column_name)
            )
        )


def _column(
    conn: Connection[Any], entry: TableEntry, column: Column, name: TableName, made: list[tuple[TableName, str]]
) -> sql.Composed:
    type_name = relocated_type(conn, column.type)
    # What `to_regtype` accepts is the name of a type and nothing else.
    known = conn.execute("SELECT to_regtype(%s) IS NOT NULL", [type_name]).fetchone()
    if known != (True,):
        raise NotFound(
            f"{entry.name}: column {column.name} is of type {column.type}, which this database does not have; create "
            "the type or its extension first"
        )
    parts: list[sql.Composable] = [sql.Identifier(column.name), sql.SQL(type_name)]
    if column.generated:
        parts.append(sql.SQL("GENERATED ALWAYS AS ({}) STORED").format(sql.SQL(relocated(conn, _expression(column)))))
    elif column.identity is not None:
        always = column.identity == "always"
        parts.append(sql.SQL("GENERATED {} AS IDENTITY").format(sql.SQL("ALWAYS" if always else "BY DEFAULT")))
    elif (sequence := _sequence(column, name)) is not None:
        there = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [sequence.identifier.as_string(conn)]).fetchone()
        if there != (True,):
            conn.execute(sql.SQL("CREATE SEQUENCE {}").format(sequence.identifier))
            made.append((sequence, column.name))
        literal = sql.Literal(sequence.identifier.as_string(conn))
        parts.append(sql.SQL("DEFAULT nextval({}::regclass)").format(literal))
    elif column.default is not None:
        parts.append(sql.SQL("DEFAULT ({})").format(sql.SQL(relocated(conn, _expression(column)))))
    if column.not_null:
        parts.append(sql.SQL("NOT NULL"))
    return sql.Composed(parts).join(" ")


def _expression(column: Column) -> str:
    """A default's or a generated column's expression, which cannot leave the brackets that it is put into."""
    text = column.default or ""
    if not _balanced(text):
        raise IntegrityFault(f"the manifest's definition of column {column.name} is no expression")
    return text


def _balanced(text: str) -> bool:
    depth = 0
    for char in re.sub(r"""E?'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*\"""", "", text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth < 0:
            return False
    return depth == 0


def _sequence(column: Column, name: TableName) -> TableName | None:
    """The sequence that a serial column counts by: of the same name, beside its table."""
    match = _NEXTVAL.fullmatch(column.default or "")
    if match is None or column.generated:
        return None
    return TableName(name.schema, TableName.parse(match["name"].replace("''", "'")).table)


def add_constraint(
    conn: Connection[Any],
    entry: TableEntry,
    constraint: Constraint,
    name: TableName,
    renamed: Mapping[TableName, TableName],
) -> str | None:
    """Add a constraint, its rows checked.

    :param renamed: where tables of the set are now, by where they were
    :return: why it was left out; None: it was not
    """
    begins = _KINDS.get(constraint.type)
    if begins is None:  # NOT NULL is the column's, further kinds are not known
        return None
    if not constraint.definition.startswith(begins):
        raise IntegrityFault(f"{entry.name}: constraint {constraint.name} is defined as something else")
    definition: sql.Composable = sql.SQL(relocated(conn, constraint.definition))
    if constraint.type == "foreign key":
        match = _FOREIGN_KEY.fullmatch(constraint.definition)
        if match is None:
            raise IntegrityFault(f"{entry.name}: constraint {constraint.name} cannot be read")
        there = referenced(entry, match["table"], renamed)
        found = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [there.identifier.as_string(conn)]).fetchone()
        if found != (True,):
            return f"{entry.name}: foreign key {constraint.name} was left out, for {there.label} is not there"
        definition = sql.SQL("FOREIGN KEY ({}) REFERENCES {}{}").format(
            sql.SQL(match["columns"]), there.identifier, sql.SQL(match["rest"])
        )
    execute_one(
        conn,
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
            name.identifier, sql.Identifier(constraint.name), definition
        ),
    )
    return None


def referenced(entry: TableEntry, text: str, renamed: Mapping[TableName, TableName]) -> TableName:
    """The table that a foreign key points at, where it is now.

    Without a schema, it is one of the search path at the time of the backup: as a rule the table's own.
    """
    there = TableName.parse(text)
    if there.schema is not None:
        return renamed.get(there, there)
    beside = TableName(entry.schema, there.table)
    if beside in renamed:
        return renamed[beside]
    for was, now in renamed.items():
        if was.table == there.table:
            return now
    return there


def references(entry: TableEntry) -> list[str]:
    """The tables that an entry's foreign keys point at, as its manifest writes them."""
    found = []
    for constraint in entry.constraints:
        if constraint.type == "foreign key" and (match := _FOREIGN_KEY.fullmatch(constraint.definition)):
            found.append(match["table"])
    return found


def add_index(conn: Connection[Any], entry: TableEntry, index: Index, name: TableName) -> None:
    """Make an index of the set on a table that may lie in another schema now."""
    match = _INDEX.fullmatch(index.definition)
    if match is None:
        raise IntegrityFault(f"{entry.name}: the definition of index {index.name} cannot be read")
    rest = relocated(conn, match["rest"], index=True)
    execute_one(
        conn,
        sql.SQL("CREATE {}INDEX {} ON {} USING {}").format(
            sql.SQL(match["unique"] or ""), sql.Identifier(index.name), name.identifier, sql.SQL(rest)
        ),
    )
