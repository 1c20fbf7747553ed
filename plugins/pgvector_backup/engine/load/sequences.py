"""The sequences that a table's columns count by, made with the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.load.attempts import attempt
from pgvector_backup.engine.postgres.sequences import SequenceState
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.sets.table_entry import TableEntry

NEXTVAL: Final = re.compile(r"nextval\(\(?'(?P<name>(?:[^']|'')+)'(?:::text\))?::regclass\)")
"""A draw from a sequence, as the server writes it in a default."""
COUNTING_TYPES: Final = {"smallint": 2, "integer": 4, "bigint": 8}
"""Types that count, and their bytes."""

_UNLOGGED: Final = 150000
"""The first server version with unlogged sequences."""


@dataclass(frozen=True)
class Counters:
    """The sequences of a table that is being made.

    :param known: as the set has them
    :param now: by schema and name in the set, where each is here
    """

    known: tuple[SequenceState, ...]
    now: Mapping[tuple[str, str], TableName]

    def expression(self, conn: Connection[Any], text: str) -> str:
        """A default's expression, its sequences called as they are called here."""

        def here(match: re.Match[str]) -> str:
            one = self._named(TableName.parse(match["name"].replace("''", "'")))
            if one is None or (one.schema, one.name) not in self.now:
                return match[0]
            name = self.now[one.schema, one.name].identifier.as_string(conn)
            return f"nextval({sql.Literal(name).as_string(conn)}::regclass)"

        return NEXTVAL.sub(here, text)

    def identity(self, column: str) -> sql.Composable:
        """The options of an identity column's own sequence, in brackets; nothing where the set does not tell them."""
        for one in self.known:
            if one.identity and one.owned_by == column:
                here = self.now.get((one.schema, one.name))
                called = sql.SQL("") if here is None else sql.SQL("SEQUENCE NAME {} ").format(here.identifier)
                return sql.SQL(" ({}{})").format(called, options(one))
        return sql.SQL("")

    def _named(self, name: TableName) -> SequenceState | None:
        same = [one for one in self.known if one.name == name.table and name.schema in (None, one.schema)]
        return same[0] if same else None


def make(conn: Connection[Any], entry: TableEntry, name: TableName, notes: list[str]) -> Counters:
    """Make the sequences that a table needs and that are not there; those of identity columns come with it.

    :param name: of the table that is going to be made
    :param notes: gets a word about each that is called otherwise now
    """
    known = entry.sequences or _of_defaults(entry)
    now = {}
    for one in known:
        wanted = _place(conn, one, entry, name)
        there = _about(conn, wanted)
        if one.identity:
            if there is None:  # otherwise the server names it
                now[one.schema, one.name] = wanted
            continue
        if there is not None and (there.kind != "S" or (one.owned_by is not None and there.owned)):
            free = _free(conn, wanted)
            why = f"belongs to {there.owned}" if there.owned else "is taken by something else"
            counting = ", ".join(one.columns)
            notes.append(f"{entry.name}: {counting} counts by a new sequence {free.label}, for {wanted.label} {why}")
            wanted, there = free, None
        if there is None:
            unlogged = one.unlogged and conn.info.server_version >= _UNLOGGED
            conn.execute(
                sql.SQL("CREATE {}SEQUENCE {} AS {} {}").format(
                    sql.SQL("UNLOGGED " if unlogged else ""), wanted.identifier, _type(one), options(one)
                )
            )
        now[one.schema, one.name] = wanted
    return Counters(known, now)


def adopt(conn: Connection[Any], counters: Counters, entry: TableEntry, name: TableName, notes: list[str]) -> None:
    """Let sequences belong to the columns of the new table that they belonged to, and have their comments."""
    for one in counters.known:
        here = counters.now.get((one.schema, one.name))
        if here is not None and one.comment is not None:
            remark = sql.SQL("COMMENT ON SEQUENCE {} IS {}").format(here.identifier, sql.Literal(one.comment))
            if (refused := attempt(conn, remark)) is not None:
                notes.append(f"{entry.name}: comment on sequence {here.label} was left out: {refused}")
        if one.owned_by is None or one.identity or here is None:
            continue
        refused = attempt(
            conn,
            sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{}").format(
                here.identifier, name.identifier, sql.Identifier(one.owned_by)
            ),
        )
        if refused is not None:
            notes.append(f"{entry.name}: sequence {here.label} does not belong to the table now: {refused}")


def _of_defaults(entry: TableEntry) -> tuple[SequenceState, ...]:
    """What the defaults alone tell, of a set whose manifest does not list sequences."""
    found: dict[tuple[str, str], SequenceState] = {}
    for column in entry.columns:
        text = column.default or ""
        if column.generated:
            continue
        for match in NEXTVAL.finditer(text):
            name = TableName.parse(match["name"].replace("''", "'"))
            key = (name.schema or entry.schema, name.table)
            plain = NEXTVAL.fullmatch(text) is not None and column.type in COUNTING_TYPES
            kind = column.type if plain else "bigint"
            one = found.get(key) or SequenceState(
                schema=key[0],
                name=key[1],
                type=kind,
                start=1,
                increment=1,
                minimum=1,
                maximum=(1 << (8 * COUNTING_TYPES[kind] - 1)) - 1,
                cache=1,
                cycle=False,
                unlogged=False,
                identity=False,
                columns=(),
                owned_by=column.name if plain else None,
                owned_elsewhere=None,
            )
            found[key] = replace(one, columns=(*one.columns, column.name))
    return tuple(found.values())


def _place(conn: Connection[Any], one: SequenceState, entry: TableEntry, name: TableName) -> TableName:
    """Where a sequence goes: where it was, or with its table into another schema."""
    if name.schema != entry.schema or one.schema == entry.schema:
        return TableName(name.schema, one.name)
    there = conn.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", [one.schema]).fetchone()
    if there != (True,):
        refused = attempt(conn, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(one.schema)))
        if refused is not None:
            return TableName(name.schema, one.name)
    return TableName(one.schema, one.name)


@dataclass(frozen=True)
class _Taken:
    """What has a name already: its ``relkind``, and the table that owns it, if it is a sequence that one owns."""

    kind: str
    owned: str | None


def _about(conn: Connection[Any], name: TableName) -> _Taken | None:
    row = conn.execute(_ABOUT, [name.identifier.as_string(conn)]).fetchone()
    return None if row is None else _Taken(*row)


def _free(conn: Connection[Any], name: TableName) -> TableName:
    number = 1
    while _about(conn, TableName(name.schema, f"{name.table}{number}")) is not None:
        number += 1
    return TableName(name.schema, f"{name.table}{number}")


def _type(one: SequenceState) -> sql.SQL:
    if one.type not in COUNTING_TYPES:
        raise IntegrityFault(f"the manifest's sequence {one.label} counts in {one.type!r}")
    return sql.SQL(one.type)


def options(one: SequenceState) -> sql.Composed:
    """The options of CREATE SEQUENCE, or of an identity column in brackets."""
    return sql.SQL("INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {} {}CYCLE").format(
        *(sql.SQL(str(int(number))) for number in (one.increment, one.minimum, one.maximum, one.start, one.cache)),
        sql.SQL("" if one.cycle else "NO "),
    )


_ABOUT: Final = """
SELECT c.relkind::text,
       (SELECT n.nspname || '.' || t.relname FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_class t ON t.oid = d.refobjid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)
FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(%s)
"""
