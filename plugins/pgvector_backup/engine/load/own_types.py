"""Types that a set's columns are of and that its database had made for itself, made where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.load import grammar
from pgvector_backup.engine.load.attempts import attempt
from pgvector_backup.engine.load.called import suspicious
from pgvector_backup.engine.load.relocation import relocated, relocated_type
from pgvector_backup.engine.postgres.own_types import OwnType
from pgvector_backup.engine.sets.table_entry import TableEntry

_NOT_VALID: Final = "it was not valid when the set was made, so that its rows may break it"


def vet(one: OwnType) -> None:
    """Hold every definition of a type against the grammar.

    :raises IntegrityFault: naming the first that is none
    """
    what = f"type {one.label}"
    if one.kind not in ("enum", "domain", "composite", "range") or (one.base is None) != (
        one.kind in ("enum", "composite")
    ):
        raise IntegrityFault(f"{what}: the manifest says nothing that a type could be")
    for name in (*(kind for _, kind in one.columns), *([] if one.base is None else [one.base])):
        grammar.type_name(name, what)
    if one.default is not None:
        grammar.expression(one.default, what)
    for _, definition in one.checks:
        grammar.constraint("check", definition, what)


def make(conn: Connection[Any], entry: TableEntry, notes: list[str]) -> None:
    """Make the types that a table needs and that are not there; what is refused is noted, and missed by its column."""
    for one in entry.types:
        vet(one)
        here = sql.Identifier(one.schema, one.name)
        if conn.execute("SELECT to_regtype(%s) IS NOT NULL", [here.as_string(conn)]).fetchone() == (True,):
            continue
        statements = []
        if conn.execute("SELECT to_regnamespace(quote_ident(%s)) IS NULL", [one.schema]).fetchone() == (True,):
            statements.append(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(one.schema)))
        statements.append(_definition(one, here, partial(relocated_type, conn)))
        refused = attempt(conn, *statements)
        if refused is not None:
            notes.append(f"{entry.name}: {one.kind} {one.label} was left out: {refused}")
            continue
        for what, change, valid in _additions(one, here, partial(relocated, conn)):
            refused = _add(conn, here, change) if valid else f"{_NOT_VALID}: {change.as_string(conn)}"
            if refused is not None:
                notes.append(f"{entry.name}: {what} of domain {one.label} was left out: {refused}")


def plain(one: OwnType) -> list[sql.Composed]:
    """The statements that make a type whose names are all as they were."""
    here = sql.Identifier(one.schema, one.name)
    additions = (change for _, change, valid in _additions(one, here, str) if valid and not _draws(change))
    return [_definition(one, here, str), *additions]


def not_plain(one: OwnType) -> Iterator[str]:
    """What `plain` leaves out: for rows may break it, or for it draws from a sequence that may not be there."""
    for what, change, valid in _additions(one, sql.Identifier(one.schema, one.name), str):
        if not valid or _draws(change):
            yield f"{one.label}: {what}: {change.as_string(None)}"


def _draws(change: sql.Composed) -> bool:
    return "nextval(" in change.as_string(None)


def _definition(one: OwnType, here: sql.Identifier, type_name: Callable[[str], str]) -> sql.Composed:
    """The statement that makes a type, without what a domain has besides.

    :param type_name: how another type is called here
    """
    if one.kind == "enum":
        return sql.SQL("CREATE TYPE {} AS ENUM ({})").format(here, sql.SQL(", ").join(map(sql.Literal, one.labels)))
    if one.kind == "composite":
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_name(kind))) for name, kind in one.columns
        ]
        return sql.SQL("CREATE TYPE {} AS ({})").format(here, sql.SQL(", ").join(columns))
    assert one.base is not None
    base = sql.SQL(type_name(one.base))
    if one.kind == "range":
        return sql.SQL("CREATE TYPE {} AS RANGE (SUBTYPE = {})").format(here, base)
    return sql.SQL("CREATE DOMAIN {} AS {}{}").format(here, base, sql.SQL(" NOT NULL" if one.not_null else ""))


def _additions(
    one: OwnType, here: sql.Identifier, expression: Callable[[str], str]
) -> Iterator[tuple[str, sql.Composed, bool]]:
    """Default and checks of a domain: what it is, the statement, and whether every value fulfils it.

    :param expression: how an expression is written here
    """
    alter = sql.SQL("ALTER DOMAIN {} ").format(here)
    if one.default is not None:
        yield "the default", alter + sql.SQL("SET DEFAULT {}").format(sql.SQL(expression(one.default))), True
    for name, definition in one.checks:
        check = sql.SQL("ADD CONSTRAINT {} {}").format(sql.Identifier(name), sql.SQL(expression(definition)))
        yield f"check {name}", alter + check, not definition.endswith(" NOT VALID")


def _add(conn: Connection[Any], here: sql.Identifier, change: sql.Composed) -> str | None:
    """Make a part of a domain, unless it would run what could do more than compute.

    :return: what is against it; None: it is made
    """
    conn.execute("SAVEPOINT addition")
    refused = attempt(conn, change)
    if refused is None:
        for (tree,) in conn.execute(_TREES, {"type": here.as_string(conn)}).fetchall():
            for function, why in suspicious(conn, tree, later=False):
                refused = f"it calls {function}, which is {why}"
    if refused is not None:
        conn.execute("ROLLBACK TO SAVEPOINT addition")
    conn.execute("RELEASE SAVEPOINT addition")
    return refused


_TREES: Final = """
SELECT typdefaultbin::text FROM pg_catalog.pg_type
WHERE oid = pg_catalog.to_regtype(%(type)s) AND typdefaultbin IS NOT NULL
UNION ALL
SELECT conbin::text FROM pg_catalog.pg_constraint
WHERE contypid = pg_catalog.to_regtype(%(type)s) AND conbin IS NOT NULL
"""
