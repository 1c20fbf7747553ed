"""What a set defines, judged before any row is touched: whether a server prints such, and what it would run.

Whoever restores runs what the set defines: a check is evaluated for every row, an index's expression too, a generated
column's as well, all of it with the rights of the connection's role. So each text has to be one definition of its kind
(see `grammar`), and each function in it one that cannot do more than compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.load import grammar, own_types
from pgvector_backup.engine.load.attempts import execute_one
from pgvector_backup.engine.load.called import suspicious
from pgvector_backup.engine.load.definitions import index_definition
from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.load.relocation import relocated
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.sets.table_entry import TableEntry


def vet_texts(places: Sequence[Place]) -> None:
    """Hold every definition of the tables that are going to be made against the grammar.

    :raises IntegrityFault: naming the first that is none
    """
    for place in places:
        if place.created and place.stored.entry is not None:
            _vet_entry(place.stored.entry)


def _vet_entry(entry: TableEntry) -> None:
    for one in entry.types:
        own_types.vet(one)
    for column in entry.columns:
        what = f"{entry.name}: column {column.name}"
        grammar.type_name(column.type, what)
        if column.default is not None:
            grammar.expression(column.default, what)
    for constraint in entry.constraints:
        # Kinds that nobody here knows are not made.
        if constraint.type in grammar.KINDS:
            what = f"{entry.name}: constraint {constraint.name}"
            grammar.constraint(constraint.type, constraint.definition, what)
    for index in entry.indexes:
        grammar.index(index.definition, f"{entry.name}: index {index.name}")
    known = entry.properties
    if known is None:
        return
    for policy in known.policies:
        for text in (policy.using, policy.check):
            if text is not None:
                grammar.expression(text, f"{entry.name}: policy {policy.name}")
    for statistics in known.statistics:
        for text in statistics.expressions:
            grammar.expression(text, f"{entry.name}: statistics {statistics.name}")


def vet_functions(conn: Connection[Any], places: Sequence[Place], left_out: dict[str, list[str]] | None = None) -> None:
    """Look at what tables just made, still empty, would run once they had rows.

    Checks and indexes are made for that, and undone.

    :param left_out: where given, defaults that would be refused are dropped instead, and noted there by the table's
        label: nobody inserts into what a drill has made
    :raises Conflict: naming a function that is neither the server's own nor of an extension nor immutable, or that
        does more than compute
    """
    for place in places:
        entry = place.stored.entry
        if place.created and entry is not None:
            if left_out is not None:
                left_out.setdefault(place.stored.label, []).extend(_without_defaults(conn, entry, place.name))
            _vet_table(conn, entry, place.name)


def _without_defaults(conn: Connection[Any], entry: TableEntry, name: TableName) -> Iterator[str]:
    """Drop the defaults of a table that call what is not to be trusted, and say so."""
    refused = {what: (function, why) for what, function, why in _found(conn, name.identifier.as_string(conn))}
    for column in entry.columns:
        function, why = refused.get(f"{_DEFAULT_OF}{column.name}", ("", ""))
        if function:
            conn.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT").format(
                    name.identifier, sql.Identifier(column.name)
                )
            )
            yield (
                f"{entry.name}: column {column.name} has no default any more ({column.default}): it calls {function}, "
                f"which is {why}"
            )


def _vet_table(conn: Connection[Any], entry: TableEntry, name: TableName) -> None:
    table = name.identifier.as_string(conn)
    _refuse(entry, _found(conn, table))
    for constraint in entry.constraints:
        if constraint.type in ("check", "exclusion"):
            definition = sql.SQL(relocated(conn, constraint.definition))
            statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                name.identifier, sql.Identifier(constraint.name), definition
            )
            _try(conn, entry, f"constraint {constraint.name}", table, statement)
    for index in entry.indexes:
        if index.constraint is None:
            _try(conn, entry, f"index {index.name}", table, index_definition(conn, entry, index, name))


def _try(conn: Connection[Any], entry: TableEntry, what: str, table: str, statement: sql.Composed) -> None:
    """Make something of an empty table, look at it, undo it."""
    conn.execute("SAVEPOINT vetting")
    try:
        execute_one(conn, statement)
        _refuse(entry, _found(conn, table))
    except psycopg.Error as fault:
        _go_on(entry, what, fault)
    conn.execute("ROLLBACK TO SAVEPOINT vetting")


def _go_on(entry: TableEntry, what: str, fault: psycopg.Error) -> None:
    """What cannot be made now cannot be made later either, which is then said; a lost connection is another matter."""
    if isinstance(fault, psycopg.errors.InsufficientPrivilege):
        # It names what this role may not call, or not use: nobody's own table did, and a drill's role may call less.
        raise Conflict(
            f"{entry.name}: {what} of the set is refused: {fault.diag.message_primary}; look at the manifest. Nothing "
            "was changed"
        ) from None
    if isinstance(fault, psycopg.OperationalError) and not isinstance(fault, psycopg.errors.ProgramLimitExceeded):
        raise fault


def _found(conn: Connection[Any], table: str) -> list[tuple[str, str, str]]:
    """What a table's expressions call that is not to be trusted: what it is in, its name, why."""
    found = []
    for what, tree, later in conn.execute(_TREES, {"table": table}).fetchall():
        found += [(what, function, why) for function, why in suspicious(conn, tree, later=later)]
    return found


def _refuse(entry: TableEntry, found: Sequence[tuple[str, str, str]]) -> None:
    for what, function, why in found:
        raise Conflict(
            f"{entry.name}: {what} of the set calls {function}, which is {why}; look at the manifest, and set "
            "trust_definitions if whoever wrote the set may run it as this connection's role. Nothing was changed"
        )


# A node tree is text; nothing else tells which of the server's own functions an expression calls, for those are not
# noted in pg_depend.
_DEFAULT_OF: Final = "the default of column "

_TREES: Final = f"""
SELECT CASE WHEN a.attgenerated <> '' THEN 'generated column ' ELSE '{_DEFAULT_OF}' END || a.attname,
       d.adbin::text, a.attgenerated = ''
FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE d.adrelid = pg_catalog.to_regclass(%(table)s)
UNION ALL
SELECT 'constraint ' || c.conname, c.conbin::text, false FROM pg_catalog.pg_constraint c
WHERE c.conrelid = pg_catalog.to_regclass(%(table)s) AND c.conbin IS NOT NULL
UNION ALL
SELECT 'index ' || c.relname, coalesce(i.indexprs::text, '') || ' ' || coalesce(i.indpred::text, ''), false
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass(%(table)s)
"""
