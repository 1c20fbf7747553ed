"""What psycopg's errors mean, by SQLSTATE, as this project's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from pgvector_backup.engine.base.errors import BackupError, DatabaseFault, NotFound, storage_translated

_OTHER_SERVER: Final = (
    "the snapshot of the backup's first connection is not known to another one: a pooler or a load balancer has led it "
    "to another server, or to another session; name one server's own address in the connection"
)


def database_fault(fault: psycopg.Error, *, table: str | None = None) -> BackupError:
    """What a server's error means for whoever asked, by its SQLSTATE.

    Only the primary message is kept: DETAIL and CONTEXT may quote rows, which are the user's data.
    """
    about = f"{table}: " if table else ""
    said = (fault.diag.message_primary or str(fault)).strip()
    if isinstance(fault, (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)):
        return NotFound(f"{about}{said}; check `tables` and the schema")
    remedy, can_retry = _remedy(fault, said)
    return DatabaseFault(f"{about}{said}{remedy}", can_retry=can_retry)


def _remedy(fault: psycopg.Error, said: str) -> tuple[str, bool]:
    """What to do about it, and whether the same may succeed later without that."""
    match fault:
        case psycopg.errors.InsufficientPrivilege():
            told = _grant(said), False
        case psycopg.errors.LockNotAvailable():
            told = ": another session holds a lock on the table; try again later", True
        case psycopg.errors.ReadOnlySqlTransaction():
            told = (
                (
                    ": the server is a standby, or takes no writes; connect to the primary, with "
                    "target_session_attrs=read-write where several hosts are named"
                ),
                False,
            )
        case psycopg.errors.UndefinedObject() | psycopg.errors.InvalidParameterValue() if "snapshot" in said:
            told = f": {_OTHER_SERVER}", False
        case psycopg.errors.ObjectNotInPrerequisiteState() if "replica identity" in said:
            told = "; give the table one, or let on_conflict be skip, which updates nothing", False
        case psycopg.errors.CharacterNotInRepertoire() | psycopg.errors.UntranslatableCharacter():
            told = NO_TEXT, False
        case _ if any(words in said for words in _TOO_LARGE):
            told = _SMALLER, False
        case _ if "non-system" in said:
            told = "; set back_up_views if you trust its owner", False
        case _:
            told = "", not _lasts(fault)
    return told


NO_TEXT: Final = (
    ": a text holds bytes that are no text in UTF-8, as databases of encoding SQL_ASCII allow, so no file could hold "
    "it in either format; put right what holds them, or keep such bytes in a bytea"
)
_SMALLER: Final = (
    ": a row is too large for the one gigabyte that a server sends at once; a bytea takes twice its size in csv, so "
    "use file_format binary; what is larger there as well has to be split up"
)
_TOO_LARGE: Final = ("invalid memory alloc request size", "maximum allowed length", "enlarge string buffer")


def _lasts(fault: psycopg.Error) -> bool:
    """Whether the same statement fails for good: what it is, or a function that raises on purpose, stays as it is."""
    spoken = isinstance(fault, (psycopg.ProgrammingError, psycopg.NotSupportedError))
    return spoken or (fault.sqlstate or "").startswith(("P0", "55000"))


def _grant(said: str) -> str:
    if "row-level security" in said:
        return (
            "; a backup that a policy thins out would be none: give the connection's role BYPASSRLS, or, if it owns "
            "the table, ALTER TABLE … NO FORCE ROW LEVEL SECURITY"
        )
    if "for function" in said:
        return "; have EXECUTE on it granted to the connection's role"
    return "; grant it to the connection's role: SELECT for a backup, TRUNCATE for emptying"


@contextmanager
def translated(*, table: str | None = None) -> Iterator[None]:
    """Let psycopg's errors and the operating system's leave the block as this family."""
    try:
        with storage_translated():
            yield
    except psycopg.Error as fault:
        raise database_fault(fault, table=table) from fault
