"""Which tables a restore may fill: those that the configuration lists, and those that the caller names.

A set says itself which tables it is of, and somebody else may have written it. Without this, whoever can write to the
backup root could have a nightly restore empty and fill any table that its role may write to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Connection

from pgvector_backup.engine.base.errors import InvalidParams, NotFound
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import resolve


def require(conn: Connection[Any], places: Sequence[Place], request: RestoreRequest, settings: Settings) -> None:
    """Refuse a restore into a table that nobody but the set has named.

    :raises InvalidParams: naming it, and what to do if it is meant
    """
    names = [*settings.tables, *(TableName.parse(label) for label in request.tables or ())]
    for place in places:
        if not any(_is_meant(conn, name, place, request.schema) for name in _called(names, place.name.table)):
            raise InvalidParams(
                f"tables: the set would be restored into {place.name.label}, which `tables` of [pgvector_backup] does "
                "not list; name it in the request's `tables` if that is meant. Nothing was changed"
            )


def _called(names: Iterable[TableName], table: str) -> list[TableName]:
    return [name for name in names if name.table == table]


def _is_meant(conn: Connection[Any], name: TableName, place: Place, schema: str | None) -> bool:
    """Whether a name that was given is that of the place; it has the same table's name already."""
    if schema is not None and place.name.schema == schema:
        return True  # the caller said where to
    if name.schema is not None:
        return name.schema == place.name.schema
    if place.created:
        return True  # nothing is there that could be lost
    try:
        _, found_schema, found_table = resolve(conn, name)
    except NotFound:
        return False
    return TableName(found_schema, found_table) == place.name
