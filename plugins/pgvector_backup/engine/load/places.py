"""Where the rows of each table of a set go: the tables found, or named where they still have to be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection

from pgvector_backup.engine.base.errors import Conflict, NotFound
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.load.constraints import references
from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import missing, resolve
from pgvector_backup.engine.sets.stored_set import StoredTable


@dataclass
class Place:
    """Where the rows of one table of a set go.

    :param created: whether this restore makes the table
    :param exists: whether it is there by now
    :param notes: what should be known of it
    """

    stored: StoredTable
    name: TableName
    created: bool
    exists: bool
    notes: list[str] = field(default_factory=list)


def find(conn: Connection[Any], chosen: Sequence[StoredTable], request: RestoreRequest) -> list[Place]:
    """Where each table's rows go, parents first; nothing is made yet.

    A partition whose rows come with those of its table is left out, and noted there.

    :raises NotFound: when a table is not there and may not be made
    :raises Conflict: when two tables of the set would go into one
    """
    places: dict[str, Place] = {}
    taken: dict[TableName, str] = {}
    for stored in chosen:
        name = _find_one(conn, stored, request.schema)
        created = name is None
        if name is None:
            if not request.create_missing or stored.entry is None:
                raise _not_there(conn, stored, request.schema)
            name = _name_of(conn, stored, request.schema)
        if name in taken:
            raise Conflict(
                f"{stored.label} and {taken[name]} would both go into {name.label}; name one of them in `tables`"
            )
        taken[name] = stored.label
        places[stored.label] = Place(stored, name, created, exists=not created)
    for label, whole in _parts(conn, places).items():
        whole.notes.append(f"{whole.stored.label}: the rows of its partition {label} came back with it")
        del places[label]
    apart = [stored for stored in chosen if stored.label in places]
    return [places[stored.label] for stored in _in_order(apart, _parents(conn, places))]


def renamed(pairs: Sequence[tuple[StoredTable, TableName]]) -> dict[TableName, TableName]:
    """Where tables of the set are now, by where they were."""
    return {
        TableName(stored.entry.schema, stored.entry.table): name for stored, name in pairs if stored.entry is not None
    }


def _find_one(conn: Connection[Any], stored: StoredTable, schema: str | None) -> TableName | None:
    """Where a table's rows go: the place that it was backed up from, or the same name in another schema.

    :return: schema and table; None when there is no such table yet
    """
    try:
        _, found_schema, found_table = resolve(conn, _asked(stored, schema))
    except NotFound:
        return None
    return TableName(found_schema, found_table)


def _name_of(conn: Connection[Any], stored: StoredTable, schema: str | None) -> TableName:
    """What a table that is not there is to be called; without a schema, the role's own search path decides.

    :raises NotFound: when that path has no schema
    """
    asked = _asked(stored, schema)
    if asked.schema is not None:
        return asked
    path = own_path(conn)
    if not path:
        raise NotFound(f"{stored.label}: the role's search path has no schema to make the table in; name `schema`")
    return TableName(path[0], asked.table)


def _asked(stored: StoredTable, schema: str | None) -> TableName:
    return TableName(schema if schema is not None else stored.name.schema, stored.name.table)


def _not_there(conn: Connection[Any], stored: StoredTable, schema: str | None) -> NotFound:
    """The error for a table that is missing and may not be made."""
    remedy = (
        "set create_missing to have it made as the manifest tells"
        if stored.entry is not None
        else "no manifest tells its shape: have the application create it first"
    )
    return NotFound(f"{missing(conn, _asked(stored, schema))}; {remedy}")


def _parts(conn: Connection[Any], places: Mapping[str, Place]) -> dict[str, Place]:
    """By label, what is a partition of another table here as it was there, so that the file of that has its rows."""
    found: dict[str, Place] = {}
    for label, part in places.items():
        for whole in places.values():
            one, other = part.stored.entry, whole.stored.entry
            if part is whole or one is None or other is None or not (part.exists and whole.exists):
                continue
            if not one.relations or not set(one.relations) <= set(other.relations):
                continue
            names = [place.name.identifier.as_string(conn) for place in (part, whole)]
            if other.kind == "partitioned table" and conn.execute(_IS_PART, names).fetchone() == (True,):
                found[label] = whole
    return found


def _parents(conn: Connection[Any], places: Mapping[str, Place]) -> dict[str, set[str]]:
    """By label, the labels of the tables that foreign keys point at, in the set or in the database."""
    labels = {place.name: label for label, place in places.items()}
    was = renamed([(place.stored, place.name) for place in places.values()])
    parents: dict[str, set[str]] = {label: set() for label in places}
    for label, place in places.items():
        entry = place.stored.entry
        found = [] if entry is None else references(entry, was)
        rows = conn.execute(_REFERENCES, [place.name.identifier.as_string(conn)]).fetchall()
        found += [TableName(schema, table) for schema, table in rows]
        parents[label] |= {labels[name] for name in found if name in labels}
    return parents


def _in_order(tables: Sequence[StoredTable], parents: Mapping[str, set[str]]) -> list[StoredTable]:
    """Parents before children, otherwise as asked for; tables that refer to each other stay in that order.

    :param parents: by label, the labels that a table's foreign keys point at
    """
    ordered: list[StoredTable] = []
    waiting = list(tables)
    while waiting:
        names = {table.label for table in waiting}
        ready = [table for table in waiting if not (parents.get(table.label, set()) - {table.label}) & names]
        taken = ready or waiting[:1]
        ordered += taken
        waiting = [table for table in waiting if table not in taken]
    return ordered


_IS_PART: Final = """
SELECT EXISTS (SELECT FROM pg_partition_ancestors(to_regclass(%s)) AS a WHERE a.relid = to_regclass(%s))
"""

_REFERENCES: Final = """
SELECT n.nspname, p.relname FROM pg_constraint k
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conrelid = to_regclass(%s)
"""
