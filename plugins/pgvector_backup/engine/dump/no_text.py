"""Which row holds bytes that are no UTF-8, where a database of encoding SQL_ASCII has let them in."""

from __future__ import annotations

import logging
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.postgres.errors import NO_TEXT
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.tables import Table

_log: Final = logging.getLogger(__name__)


def named(snapshot: Snapshot, table: Table, failure: BackupError, cancel: Cancel) -> BackupError:
    """The failure of a table; if it holds such bytes, with where the first are, and what puts them right.

    It reads the table once more, up to that row.
    """
    if not failure.message.endswith(NO_TEXT):
        return failure
    try:
        with snapshot.joined() as conn:
            found = _find(conn, table, cancel)
    except BackupError as fault:
        cancel.check()
        _log.warning("%s: the row that holds them was not found: %s", table.name.label, fault.english)
        return failure
    return failure if found is None else DatabaseFault(f"{failure.message}. {found}", can_retry=False)


def _find(conn: Connection[Any], table: Table, cancel: Cancel) -> str | None:
    """The first such row in words, with the statement that would read its bytes as LATIN1."""
    columns = [column.name for column in table.columns if not column.generated]
    key = list(table.primary_key) or ["ctid"]
    with conn.cursor("pgvector_backup_bytes", binary=True) as cursor:
        cursor.execute(
            sql.SQL("SELECT {} FROM {}").format(
                sql.SQL(", ").join(_BYTES.format(sql.Identifier(name)) for name in (*key, *columns)), table.source
            )
        )
        cursor.itersize = _ROWS
        for row in cursor:
            cancel.check()
            for name, value in zip(columns, row[len(key) :], strict=True):
                if not _is_text(value):
                    return _in_words(table, name, dict(zip(key, row, strict=False)), conn)
    return None


def _is_text(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _in_words(table: Table, column: str, key: dict[str, bytes], conn: Connection[Any]) -> str:
    where = " AND ".join(f"{sql.Identifier(name).as_string(conn)} = {_literal(value)}" for name, value in key.items())
    quoted = sql.Identifier(column).as_string(conn)
    return (
        f"The first are in column {column} of the row with {where}; if they are LATIN1: UPDATE "
        f"{table.identifier.as_string(conn)} SET {quoted} = convert_from(convert(convert_to({quoted}, 'SQL_ASCII'), "
        f"'LATIN1', 'UTF8'), 'SQL_ASCII') WHERE {where}"
    )


def _literal(value: bytes) -> str:
    return "'" + value.decode(errors="backslashreplace").replace("'", "''") + "'"


_ROWS: Final = 100

# The text of a value as its bytes, whatever they are; `format` uses the type's output function, as COPY does.
_BYTES: Final = sql.SQL("convert_to(format('%s', {}), 'SQL_ASCII')")
