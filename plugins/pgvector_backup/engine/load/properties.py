"""What a table was besides its rows and keys, made anew; what cannot be is noted and stops nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.load import grammar
from pgvector_backup.engine.load.attempts import attempt
from pgvector_backup.engine.load.relocation import relocated
from pgvector_backup.engine.postgres.properties import ExtendedStatistics, Policy, Properties
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Column, Index
from pgvector_backup.engine.sets.table_entry import TableEntry

_OPTION: Final = re.compile(r"(?P<name>[a-z_][a-z0-9_.]*)=(?P<value>.*)", re.DOTALL)
_INDEX_OPTIONS: Final = re.compile(
    r"\) WITH \((?P<options>[a-z_]+='?[A-Za-z0-9_.]+'?(?:, [a-z_]+='?[A-Za-z0-9_.]+'?)*)\)(?: WHERE .*)?", re.DOTALL
)
_WORDS: Final = {
    "storage": ("plain", "external", "extended", "main"),
    "compression": ("pglz", "lz4"),
    "replica identity": ("full", "nothing"),
    "command": ("all", "select", "insert", "update", "delete"),
    "kind of statistics": ("ndistinct", "dependencies", "mcv"),
}

_COMPRESSION: Final = 140000
"""The first server version in which a column's compression can be chosen."""


def head(conn: Connection[Any], entry: TableEntry, name: TableName) -> sql.Composed:
    """``CREATE TABLE`` and the name."""
    unlogged = entry.properties is not None and entry.properties.unlogged
    return sql.SQL("CREATE {}TABLE {}").format(sql.SQL("UNLOGGED " if unlogged else ""), name.identifier)


def tail(conn: Connection[Any], entry: TableEntry, notes: list[str]) -> sql.Composed:
    """What stands behind the columns: access method and tablespace, as far as this server has them."""
    parts = sql.SQL("").format()
    known = entry.properties
    for kind, wanted, query, word in (
        ("access method", known and known.access_method, _ACCESS_METHOD, "USING"),
        ("tablespace", known and known.tablespace, _TABLESPACE, "TABLESPACE"),
    ):
        if not wanted:
            continue
        if conn.execute(query, [wanted]).fetchone() is None:
            notes.append(f"{entry.name}: {kind} {wanted} is not to be had here; the table has the default one")
        else:
            parts += sql.SQL(" {} {}").format(sql.SQL(word), sql.Identifier(wanted))
    return parts


def before_rows(conn: Connection[Any], entry: TableEntry, name: TableName, notes: list[str]) -> None:
    """What decides how rows are kept: storage, compression, storage parameters."""
    for what, statement in beginning(entry, name):
        if what.startswith("compression") and conn.info.server_version < _COMPRESSION:
            continue
        if (refused := attempt(conn, statement)) is not None:
            notes.append(f"{entry.name}: {what} was left out: {refused}")


def beginning(entry: TableEntry, name: TableName) -> Iterator[tuple[str, sql.Composed]]:
    """What decides how rows are kept: what it is, and the statement."""
    for column in entry.columns:
        alter = sql.SQL("ALTER TABLE {} ALTER COLUMN {} ").format(name.identifier, sql.Identifier(column.name))
        if column.storage is not None:
            yield f"storage of column {column.name}", alter + _word("SET STORAGE {}", column.storage, "storage")
        if column.compression is not None:
            word = _word("SET COMPRESSION {}", column.compression, "compression")
            yield f"compression of column {column.name}", alter + word
        if column.options:
            yield f"options of column {column.name}", alter + sql.SQL("SET ({})").format(_options(column.options))
    if entry.properties is not None:
        for prefix, options in (("", entry.properties.options), ("toast.", entry.properties.toast_options)):
            for option in options:
                yield (
                    f"storage parameter {prefix}{option}",
                    sql.SQL("ALTER TABLE {} SET ({})").format(name.identifier, _options([option], prefix)),
                )


def after_rows(conn: Connection[Any], entry: TableEntry, name: TableName, notes: list[str]) -> None:
    """What comes last: statistics, comments, row security. The table is closed to others by it, so it ends the work."""
    for what, statements in finishing(entry, name):
        if (refused := attempt(conn, *statements)) is not None:
            notes.append(f"{entry.name}: {what} was left out: {refused}")
    known = entry.properties
    if known is None:
        return
    for statistics in known.statistics:
        _make_statistics(conn, entry, statistics, name, notes)
    for policy in known.policies:
        _make_policy(conn, entry, policy, name, notes)
    notes += _left_out(entry)


def finishing(entry: TableEntry, name: TableName) -> Iterator[tuple[str, list[sql.Composed]]]:
    """What comes last but for policies and statistics of several columns: what it is, and its statements."""
    for column in entry.columns:
        yield from _of_column(column, name.identifier)
    for index in entry.indexes:
        if index.valid:
            yield from _of_index(index, name)
    for constraint in entry.constraints:
        if constraint.comment is not None:
            yield (
                f"comment on constraint {constraint.name}",
                [
                    sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
                        sql.Identifier(constraint.name), name.identifier, sql.Literal(constraint.comment)
                    )
                ],
            )
    if entry.properties is not None:
        yield from _of_table(entry.properties, name.identifier)


def _of_table(known: Properties, table: sql.Identifier) -> Iterator[tuple[str, list[sql.Composed]]]:
    if known.comment is not None:
        yield "comment on the table", [sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(known.comment))]
    if known.replica_identity in _WORDS["replica identity"]:
        yield (
            f"replica identity {known.replica_identity}",
            [sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(table, sql.SQL(known.replica_identity))],
        )
    for on, word in ((known.row_security, "ENABLE"), (known.force_row_security, "FORCE")):
        if on:
            yield "row security", [sql.SQL("ALTER TABLE {} {} ROW LEVEL SECURITY").format(table, sql.SQL(word))]


def _of_index(index: Index, name: TableName) -> Iterator[tuple[str, list[sql.Composed]]]:
    here = sql.Identifier(*((name.schema,) if name.schema else ()), index.name)
    # ADD CONSTRAINT's definition has none of them.
    options = _INDEX_OPTIONS.search(index.definition) if index.constraint is not None else None
    if options is not None:
        yield (
            f"storage parameters of index {index.name}",
            [sql.SQL("ALTER INDEX {} SET ({})").format(here, sql.SQL(options["options"]))],
        )
    if index.tablespace is not None:
        yield (
            f"tablespace {index.tablespace} of index {index.name}",
            [sql.SQL("ALTER INDEX {} SET TABLESPACE {}").format(here, sql.Identifier(index.tablespace))],
        )
    for number, target in index.statistics:
        yield (
            f"statistics target of index {index.name}",
            [
                sql.SQL("ALTER INDEX {} ALTER COLUMN {} SET STATISTICS {}").format(
                    here, sql.SQL(str(int(number))), sql.SQL(str(int(target)))
                )
            ],
        )
    if index.comment is not None:
        yield (
            f"comment on index {index.name}",
            [sql.SQL("COMMENT ON INDEX {} IS {}").format(here, sql.Literal(index.comment))],
        )
    alone = sql.Identifier(index.name)
    for on, what in ((index.clustered, "CLUSTER ON"), (index.replica_identity, "REPLICA IDENTITY USING INDEX")):
        if on:
            yield (
                f"{what} {index.name}",
                [sql.SQL("ALTER TABLE {} {} {}").format(name.identifier, sql.SQL(what), alone)],
            )


def _of_column(column: Column, table: sql.Identifier) -> Iterator[tuple[str, list[sql.Composed]]]:
    named = sql.Identifier(column.name)
    if column.statistics is not None:
        yield (
            f"statistics target of column {column.name}",
            [
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {}").format(
                    table, named, sql.SQL(str(int(column.statistics)))
                )
            ],
        )
    if column.comment is not None:
        yield (
            f"comment on column {column.name}",
            [sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(table, named, sql.Literal(column.comment))],
        )


def _make_statistics(
    conn: Connection[Any], entry: TableEntry, one: ExtendedStatistics, name: TableName, notes: list[str]
) -> None:
    moved = name.schema != entry.schema
    here = TableName(name.schema if moved or one.schema == entry.schema else one.schema, one.name)
    columns: list[sql.Composable] = [sql.Identifier(column) for column in one.columns]
    columns += [
        sql.SQL("({})").format(sql.SQL(relocated(conn, grammar.expression(text, f"statistics {one.name}"))))
        for text in one.expressions
    ]
    # A single expression has no kinds.
    kinds = sql.SQL(", ").join(_word("{}", kind, "kind of statistics") for kind in one.kinds)
    shown = sql.SQL(" ({})").format(kinds) if len(columns) > 1 and one.kinds else sql.SQL("")
    statements = [
        sql.SQL("CREATE STATISTICS {}{} ON {} FROM {}").format(
            here.identifier, shown, sql.SQL(", ").join(columns), name.identifier
        )
    ]
    if one.target is not None:
        statements.append(
            sql.SQL("ALTER STATISTICS {} SET STATISTICS {}").format(here.identifier, sql.SQL(str(int(one.target))))
        )
    if one.comment is not None:
        statements.append(sql.SQL("COMMENT ON STATISTICS {} IS {}").format(here.identifier, sql.Literal(one.comment)))
    if (refused := attempt(conn, *statements)) is not None:
        notes.append(f"{entry.name}: statistics {one.name} were left out: {refused}")


def _make_policy(conn: Connection[Any], entry: TableEntry, one: Policy, name: TableName, notes: list[str]) -> None:
    """Never for more roles than it was: where one of them is missing, nobody is let in by it."""
    roles = sql.SQL(", ").join(sql.SQL("PUBLIC") if role == "public" else sql.Identifier(role) for role in one.roles)
    statement = sql.SQL("CREATE POLICY {} ON {} AS {} FOR {} TO {}").format(
        sql.Identifier(one.name),
        name.identifier,
        sql.SQL("PERMISSIVE" if one.permissive else "RESTRICTIVE"),
        _word("{}", one.command, "command"),
        roles,
    )
    for word, text in (("USING", one.using), ("WITH CHECK", one.check)):
        if text is not None:
            statement += sql.SQL(" {} ({})").format(
                sql.SQL(word), sql.SQL(relocated(conn, grammar.expression(text, f"policy {one.name}")))
            )
    if (refused := attempt(conn, statement)) is not None:
        notes.append(f"{entry.name}: policy {one.name} was left out: {refused}")
    elif one.comment is not None:
        conn.execute(policy_comment(one, one.comment, name))


def policy_comment(one: Policy, comment: str, name: TableName) -> sql.Composed:
    """The statement that comments on a policy."""
    return sql.SQL("COMMENT ON POLICY {} ON {} IS {}").format(
        sql.Identifier(one.name), name.identifier, sql.Literal(comment)
    )


def _left_out(entry: TableEntry) -> Iterator[str]:
    """What a set names and does not keep."""
    known = entry.properties
    assert known is not None
    for what, names in (
        ("triggers", known.triggers),
        ("rules", known.rules),
        ("membership in publications", known.publications),
        ("inheritance from", [".".join(parent) for parent in known.parents] if entry.kind == "table" else []),
    ):
        if names:
            yield f"{entry.name}: a set does not keep {what} {', '.join(names)}; make them again if they are needed"
    if known.of_type is not None:
        yield f"{entry.name}: it was a table of type {known.of_type}, and has the same columns by itself now"
    if known.granted:
        yield f"{entry.name}: a set does not keep who was granted what on it; grant it again"


def _options(options: list[str] | tuple[str, ...], prefix: str = "") -> sql.Composed:
    """Storage parameters as ALTER TABLE takes them, each value in quotes."""
    parts = []
    for option in options:
        match = _OPTION.fullmatch(option)
        if match is None:
            raise IntegrityFault(f"the manifest's option {option!r} is none")
        parts.append(sql.SQL("{}{} = {}").format(sql.SQL(prefix), sql.SQL(match["name"]), sql.Literal(match["value"])))
    return sql.SQL(", ").join(parts)


def _word(statement: str, word: str, kind: str) -> sql.Composed:
    """A statement with a word of the grammar in it, which is one of those that it may be."""
    if word not in _WORDS[kind]:
        raise IntegrityFault(f"the manifest's {kind} is {word!r}, which there is not")
    return sql.SQL(statement).format(sql.SQL(word))


_ACCESS_METHOD: Final = "SELECT 1 FROM pg_catalog.pg_am WHERE amname = %s AND amtype = 't'"
_TABLESPACE: Final = """
SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = %s AND pg_catalog.has_tablespace_privilege(oid, 'CREATE')
"""
