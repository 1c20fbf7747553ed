"""What psycopg's errors mean, by SQLSTATE, as this project's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pgvector_backup.engine.base.errors import BackupError, DatabaseFault, NotFound, storage_translated


def database_fault(fault: psycopg.Error, *, table: str | None = None) -> BackupError:
    """What a server's error means for whoever asked, by its SQLSTATE.

    Only the primary message is kept: DETAIL and CONTEXT may quote rows, which are the user's data.
    """
    about = f"{table}: " if table else ""
    said = (fault.diag.message_primary or str(fault)).strip()
    match fault:
        case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
            return NotFound(f"{about}{said}; check `tables` and the schema")
        case psycopg.errors.InsufficientPrivilege():
            return DatabaseFault(
                f"{about}{said}; grant it to the connection's role: SELECT for a backup, TRUNCATE for emptying",
                can_retry=False,
            )
        case psycopg.errors.LockNotAvailable():
            return DatabaseFault(f"{about}{said}: another session holds a lock on the table; try again later")
    return DatabaseFault(f"{about}{said}")


@contextmanager
def translated(*, table: str | None = None) -> Iterator[None]:
    """Let psycopg's errors and the operating system's leave the block as this family."""
    try:
        with storage_translated():
            yield
    except psycopg.Error as fault:
        raise database_fault(fault, table=table) from fault
