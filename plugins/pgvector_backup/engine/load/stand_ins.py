"""Types that a drill's server does not have, stood in for: the rows come back, byte for byte, as text or as bytes.

A set's database may have extensions, domains, enums and types of its own that a scratch database knows nothing of. What
is to be proven is that the rows can be read back as they were written, and for that a column of texts will do: COPY
writes them as it read them. In the binary format it is a column of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import Connection

from pgvector_backup.engine.load import own_types
from pgvector_backup.engine.load.relocation import relocated_type
from pgvector_backup.engine.sets.stored_set import StoredTable
from pgvector_backup.engine.sets.table_entry import TableEntry


def stand_in(
    conn: Connection[Any], tables: Sequence[StoredTable], notes: dict[str, tuple[str, ...]]
) -> list[StoredTable]:
    """The tables with columns of types that this database has.

    :param notes: by label, is told of each column whose type was stood in for
    """
    made = []
    for table in tables:
        told: list[str] = []
        made.append(table if table.entry is None else _of_table(conn, table, table.entry, told))
        notes[table.label] = tuple(told)
    return made


def _of_table(conn: Connection[Any], table: StoredTable, entry: TableEntry, notes: list[str]) -> StoredTable:
    kind = entry.file_kind.format.any_value
    own_types.make(conn, entry, notes)
    missing = {name for name in {column.type for column in entry.columns} if _is_missing(conn, name)}
    columns = []
    for column in entry.columns:
        if column.type not in missing:
            columns.append(column)
        elif column.generated:
            notes.append(
                f"{entry.name}: generated column {column.name} is of type {column.type}, which this server does not "
                "have; it was left out"
            )
        else:
            notes.append(
                f"{entry.name}: column {column.name} is of type {column.type}, which this server does not have; its "
                f"values were restored and compared as {kind}"
            )
            columns.append(
                replace(column, type=kind, dimensions=None, default=None, collation=None, storage=None, options=())
            )
    return replace(table, entry=replace(entry, columns=tuple(columns)))


def _is_missing(conn: Connection[Any], name: str) -> bool:
    row = conn.execute("SELECT to_regtype(%s) IS NULL", [relocated_type(conn, name)]).fetchone()
    return row == (True,)
