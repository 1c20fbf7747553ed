"""Constraints as a manifest defines them, added to a table that may lie in another schema now.

Each definition has to be of its kind; what the server or the rows do not allow is left out, and told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.load.attempts import attempt
from pgvector_backup.engine.load.grammar import QUALIFIED
from pgvector_backup.engine.load.relocation import relocated
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Constraint
from pgvector_backup.engine.sets.table_entry import TableEntry

_FOREIGN_KEY: Final = re.compile(
    rf"FOREIGN KEY \((?P<columns>(?:\"(?:[^\"]|\"\")+\"|[^()\"])+)\) REFERENCES (?P<table>{QUALIFIED})(?P<rest>\(.+)",
    re.DOTALL,
)
CONSTRAINTS_OF_18: Final = 180000
"""The first server version with constraints that are not enforced, of time, or NOT NULL with states of its own."""

_KINDS: Final = {
    "primary key": "PRIMARY KEY ",
    "unique": "UNIQUE ",
    "check": "CHECK ",
    "exclusion": "EXCLUDE ",
    "foreign key": "FOREIGN KEY ",
    "not null": "NOT NULL ",
}
"""What a constraint's definition begins with."""


def add_constraint(
    conn: Connection[Any],
    entry: TableEntry,
    constraint: Constraint,
    name: TableName,
    renamed: Mapping[TableName, TableName],
) -> str | None:
    """Add a constraint as it was: with its rows checked, unless it was not valid.

    :param renamed: where tables of the set are now, by where they were
    :return: why it was left out, or is other than it was; None: it is what it was
    """
    begins = _KINDS.get(constraint.type)
    if begins is None or (constraint.type == "not null" and constraint.validated):
        return None  # a NOT NULL that every row fulfils is the column's; further kinds are not known
    if not constraint.definition.startswith(begins):
        raise IntegrityFault(f"{entry.name}: constraint {constraint.name} is defined as something else")
    what = f"{entry.name}: {constraint.type} {constraint.name}"
    if conn.info.server_version < CONSTRAINTS_OF_18 and _needs_18(constraint):
        return f"{what} was left out, for this server does not know its kind: {constraint.definition}"
    definition: sql.Composable = sql.SQL(relocated(conn, constraint.definition))
    if constraint.type == "foreign key":
        match = _FOREIGN_KEY.fullmatch(constraint.definition)
        if match is None:
            raise IntegrityFault(f"{entry.name}: constraint {constraint.name} cannot be read")
        there = _parent(entry, constraint, match["table"], renamed)
        found = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [there.identifier.as_string(conn)]).fetchone()
        if found != (True,):
            return f"{what} was left out, for {there.label} is not there"
        definition = sql.SQL("FOREIGN KEY ({}) REFERENCES {}{}").format(
            sql.SQL(match["columns"]), there.identifier, sql.SQL(match["rest"])
        )
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
        name.identifier, sql.Identifier(constraint.name), definition
    )
    refused = attempt(conn, add)
    if refused is None:
        return None
    # Rows that came while its triggers were disabled, or whose parents are not restored, do not fulfil it.
    unchecked = constraint.type in ("foreign key", "check") and constraint.validated
    if unchecked and attempt(conn, add + sql.SQL(" NOT VALID")) is None:
        return f"{what} is not valid now, for rows break it: {refused}"
    return f"{what} was left out: {refused}"


def _needs_18(constraint: Constraint) -> bool:
    temporal = re.search(r"\bWITHOUT OVERLAPS\b|\bPERIOD ", constraint.definition) is not None
    return not constraint.enforced or constraint.type == "not null" or temporal


def _parent(entry: TableEntry, constraint: Constraint, text: str, renamed: Mapping[TableName, TableName]) -> TableName:
    """The table that a foreign key points at, where it is now."""
    if constraint.references is None:
        return referenced(entry, text, renamed)
    was = TableName(*constraint.references)
    return renamed.get(was, was)


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


def references(entry: TableEntry, renamed: Mapping[TableName, TableName]) -> list[TableName]:
    """The tables that an entry's foreign keys point at, where they are now."""
    return [
        _parent(entry, constraint, match["table"], renamed)
        for constraint in entry.constraints
        if constraint.type == "foreign key" and (match := _FOREIGN_KEY.fullmatch(constraint.definition))
    ]
