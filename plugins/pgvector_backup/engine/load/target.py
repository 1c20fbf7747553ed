"""Whether a table can take the rows of a set: its columns held against the file's."""

from __future__ import annotations

from typing import Final

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.codec.type_names import bare_type
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN, Column, Table
from pgvector_backup.engine.sets.stored_set import StoredTable

_TEXTS: Final = ("text", "character varying")


def check(stored: StoredTable, table: Table) -> list[str]:
    """Refuse a table whose columns cannot take the rows of the file.

    :return: what should be known of it all the same
    :raises Conflict: naming the column, what the set has and what the table has, and the remedy
    """
    label = stored.label
    if table.kind not in ("table", "partitioned table", WITH_CHILDREN):
        raise Conflict(
            f"{label}: {table.schema}.{table.table} is a {table.kind}, into which no rows can be restored; name "
            "another `schema` to have a table made there"
        )
    here = {column.name: column for column in table.columns}
    for name in stored.columns:
        if name not in here:
            raise Conflict(_unknown_column(label, name, stored, table))
        if here[name].generated:
            raise Conflict(
                f"{label}: column {name} is generated in the table, and an ordinary one in the set; {_elsewhere(name)}"
            )
    if stored.entry is not None:
        for column in stored.entry.columns:
            if not column.generated:
                _check_type(label, column, here[column.name])
    notes = []
    for column in table.columns:
        if column.name in stored.columns or column.generated:
            continue
        if column.not_null and column.default is None and column.identity is None:
            raise Conflict(
                f"{label}: column {column.name} of the table must not be NULL, and the set does not have it; give it "
                f"a default, or restore into another `schema` and copy from there"
            )
        notes.append(f"{label}: column {column.name} is not in the set; its rows got the table's default there")
    return notes


def _unknown_column(label: str, name: str, stored: StoredTable, table: Table) -> str:
    spare = [column.name for column in table.columns if column.name not in stored.columns and not column.generated]
    renamed = f"; if it is now called {spare[0]}, rename it for the time of the restore" if len(spare) == 1 else ""
    return (
        f"{label}: column {name} of the set is not in the table, which has "
        f"{', '.join(column.name for column in table.columns)}{renamed}; or restore into another `schema` and copy "
        "from there with INSERT … SELECT"
    )


def _check_type(label: str, stored: Column, here: Column) -> None:
    if _fits(stored.type, here.type):
        return
    if stored.dimensions != here.dimensions and bare_type(stored.type)[0] == bare_type(here.type)[0]:
        raise Conflict(
            f"{label}: column {stored.name} has {_dimensions(stored)} in the set and {_dimensions(here)} in the "
            "table; restore into another `schema`, or into a table for that embedding model"
        )
    raise Conflict(
        f"{label}: column {stored.name} is of type {stored.type} in the set and {here.type} in the table; "
        f"{_elsewhere(f'{stored.name}::{here.type}')}"
    )


def _elsewhere(expression: str) -> str:
    return f"restore into another `schema` and copy from there with INSERT … SELECT …, {expression}"


def _dimensions(column: Column) -> str:
    return f"{column.dimensions:,} dimensions" if column.dimensions is not None else "no declared dimensions"


def _fits(stored: str, here: str) -> bool:
    """Whether values of the one type are values of the other, in text and in binary alike."""
    (base, modifier), (base_here, modifier_here) = bare_type(stored), bare_type(here)
    if base != base_here:
        return base in _TEXTS and base_here in _TEXTS and modifier_here is None
    # What declares nothing may hold what is declared here: the server checks each row.
    return modifier == modifier_here or modifier is None or modifier_here is None
