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
    said = said_by(fault)
    if isinstance(fault, (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)):
        return NotFound(f"{about}{said}; check `tables` and the schema")
    remedy, can_retry = _remedy(fault, said)
    return DatabaseFault(f"{about}{said}{remedy}", can_retry=can_retry)


def said_by(fault: psycopg.Error) -> str:
    """What the server says; of a connection that was lost, what libpq says of it in one line."""
    return (fault.diag.message_primary or next(iter(str(fault).strip().splitlines()), type(fault).__name__)).strip()


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
            told = _known(fault, said) or ("", not _lasts(fault))
    return told


def _known(fault: psycopg.Error, said: str) -> tuple[str, bool] | None:
    for known, can_retry in ((_TRANSIENT, True), (_LASTING, False)):
        for words, remedy in known.items():
            if words == fault.sqlstate or said.endswith(words):
                return f"; {remedy}", can_retry
    return None


_ENDED: Final = "somebody ended the session (pg_terminate_backend), or the server is shutting down: try again"
_TRANSIENT: Final = {
    # By SQLSTATE, or by the words with which libpq ends where the server sent none.
    "57P01": _ENDED,
    "terminating connection due to administrator command": _ENDED,
    "server closed the connection unexpectedly": "the server, or what is in between, broke off: its log says why; "
    "try again",
    "57014": "another session cancelled it (pg_cancel_backend), or a time limit that a trigger or a pooler sets: "
    "try again",
    **dict.fromkeys(
        ("57P05", "25P03", "25P04"),
        "a time limit of the role, the database or the server is so short that the session ended before it was lifted: "
        "raise it, such as by ALTER ROLE … SET idle_session_timeout",
    ),
    "57P02": "the server has crashed and is recovering: try again, and look at its log",
    "57P03": "the server takes no connections yet: try again",
    "40001": "a standby cancels who reads for long and holds up its replay: set hot_standby_feedback, raise "
    "max_standby_streaming_delay, or back up the primary; otherwise try again",
    "40P01": "try again",
    "53100": "the server's disk is full: free some there, and try again",
    "53200": "the server has no memory to spare: lower jobs, or its work_mem, and try again",
    "58030": "the server cannot read or write its own files: look at its log and its disk",
}
"""What helps where the same may succeed later."""

_LASTING: Final = {
    "57P04": "the database was dropped",
    "53400": "a limit of the server's configuration is reached: have it raised for the connection's role, such as by "
    "ALTER ROLE … SET temp_file_limit",
    "58P01": "a file is missing on the server, as a rule the library of an extension: install it there",
    "XX001": "the table is damaged on the server, and no backup of it can be whole: pg_amcheck finds the pages, an "
    "earlier set has the rows",
    "XX002": "an index is damaged on the server: REINDEX it",
}
"""What helps where nothing else does."""


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
            "; rows that a policy hides would be missing unnoticed: give the connection's role BYPASSRLS, or, if it "
            "owns the table, ALTER TABLE … NO FORCE ROW LEVEL SECURITY"
        )
    privilege = next((known for words, known in _PRIVILEGES.items() if words in said), None)
    if privilege is not None:
        return f"; {privilege}"
    return "; grant it to the connection's role: SELECT for a backup, TRUNCATE for emptying"


_PRIVILEGES: Final = {
    **dict.fromkeys(
        ("for function", "for aggregate", "for procedure"), "have EXECUTE on it granted to the connection's role"
    ),
    **dict.fromkeys(
        ("for schema", "for type", "for foreign server", "for foreign-data wrapper"),
        "have USAGE on it granted to the connection's role",
    ),
    "for sequence": "have SELECT on it granted to the connection's role, and UPDATE for a restore",
    "for tablespace": "have CREATE on it granted to the connection's role",
    "for database": "have CONNECT on it granted to the connection's role, and CREATE and TEMP for a restore",
    "must be owner": "its owner alone may do that: make the connection's role a member of the owner",
    "create extension": "have somebody who may create it there: CREATE EXTENSION vector",
    "set parameter": "have it allowed: GRANT SET ON PARAMETER … TO the connection's role, or leave it out",
}
"""What to have granted, by what the server names."""


@contextmanager
def translated(*, table: str | None = None) -> Iterator[None]:
    """Let psycopg's errors and the operating system's leave the block as this family."""
    try:
        with storage_translated():
            yield
    except psycopg.Error as fault:
        raise database_fault(fault, table=table) from fault
