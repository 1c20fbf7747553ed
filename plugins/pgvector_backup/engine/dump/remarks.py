"""What has to be said of a table that is backed up, so that nobody takes a green result for more than it is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.postgres.tables import WITH_CHILDREN, Table

_NAMED_AT_MOST: Final = 5


def of_children(conn: Connection[Any], table: Table, described: Collection[Table]) -> str | None:
    """Say that rows of the table lie in others which inherit from it, and where the set has them.

    :param conn: joined to the snapshot
    :param described: the tables that are backed up
    :return: None where there are no such rows, or where each of those tables is backed up by itself
    """
    if table.kind == WITH_CHILDREN:
        others = [child.label for child in table.properties.children]
        return (
            f"{table.name.label}: holds the rows of {_named(others)} as well, which inherit from it: they come back as "
            "rows of the one table"
        )
    listed = {(one.schema, one.table) for one in described}
    apart = [child for child in table.properties.children if (child.schema, child.table) not in listed]
    if table.kind != "table" or not apart:
        return None
    rows = conn.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE tableoid = ANY(%s::regclass[]::oid[]))").format(table.identifier),
        [[sql.Identifier(child.schema, child.table).as_string(conn) for child in apart]],
    ).fetchone()
    if rows != (True,):
        return None
    return (
        f"{table.name.label}: NOT IN THE SET are the rows of {_named([child.label for child in apart])}, which inherit "
        "from it; set include_children to take them along, or add them to `tables`"
    )


def of_fall(label: str, rows: int, before: int | None, set_before: str) -> str | None:
    """Say that a table holds far fewer rows than in the last set: the set may be of a table that was lost.

    :param before: rows in that set; None where it does not have the table
    """
    if before is None or rows * 2 >= before:
        return None
    now = f"has fallen to {rows:,} rows" if rows else "IS EMPTY"
    return f"{label}: {now}; the last set, {set_before}, holds {before:,}. Keep that one until you know why"


def _named(labels: list[str]) -> str:
    shown = ", ".join(labels[:_NAMED_AT_MOST])
    more = len(labels) - _NAMED_AT_MOST
    return f"{shown} and {more:,} more" if more > 0 else shown
