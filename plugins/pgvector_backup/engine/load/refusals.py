"""What the server's refusals mean for whoever restores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from pgvector_backup.engine.base.errors import BackupError, Conflict, DatabaseFault, IntegrityFault
from pgvector_backup.engine.postgres.errors import database_fault, said_by

_UNCHANGED = "nothing was changed"

Where = Callable[[psycopg.Error], str]
"""Says where in a set's files an error of the server's is, in brackets; empty where nobody knows."""

_IN_COPY: Final = re.compile(r"^COPY [^\n]*?, line (?P<line>\d+)(?:, column (?P<column>[^\n:]+))?", re.MULTILINE)
"""Where in a COPY an error is, as its context has it; what runs inside of it, such as JSON's parser, comes first."""

_NOT_OF_VALUES: Final = ("08", "25", "28", "40", "53", "55", "57", "58", "XX", "42501")
"""Beginnings of SQLSTATEs that tell of the server and not of what it was sent."""


@contextmanager
def load_fault(label: str, *, on_conflict: str, where: Where | None = None, alone: bool = False) -> Iterator[None]:
    """Let the server's errors leave the block as this project's, with the table's name and the remedy.

    :param where: None: an error there is of no row's
    :param alone: whether the set's rows meet no others, so that only one of their own can have the same key
    """
    try:
        yield
    except psycopg.Error as fault:
        place = "" if where is None else where(fault)
        raise _refusal(fault, label, on_conflict=on_conflict, place=place, alone=alone) from fault


def _refusal(fault: psycopg.Error, label: str, *, on_conflict: str, place: str, alone: bool) -> BackupError:
    said = said_by(fault)
    kind: type[BackupError]
    retry = False
    match fault:
        case _ if _is_of_a_value(fault) or "index row" in said:
            kind, told = Conflict, f"{said}{place}"
        case psycopg.errors.UniqueViolation():
            about = f"{_detail(fault, 'a key is there already')}{place}"
            kind, told = Conflict, f"{about}; {_of_key(on_conflict, alone=alone)}"
        case psycopg.errors.CardinalityViolation():
            kind, told = Conflict, "the set holds two rows with one key"
        case psycopg.errors.ForeignKeyViolation():
            about = f"{_detail(fault, 'a foreign key finds no row')}{place}"
            kind, told = Conflict, f"{about}; {_of_reference(on_conflict)}"
        case psycopg.errors.DiskFull():
            kind, told, retry = DatabaseFault, f"the server's disk is full: {said}; free some there", True
        case psycopg.errors.InsufficientPrivilege() if "for function" not in said and "row-level" not in said:
            kind = DatabaseFault
            told = (
                f"{said}; a restore needs the table's owner, or INSERT and SELECT on it, TRUNCATE to empty it, CREATE "
                "and TEMP on schema and database"
            )
        case psycopg.IntegrityError() | psycopg.DataError() | psycopg.errors.DatatypeMismatch():
            # Dimensions, an infinity, text that is no number, a composite type of other columns, a character that this
            # database's encoding lacks: no row of this set will ever fit.
            kind, told = Conflict, f"{said}{place}"
        case psycopg.errors.SyntaxError():
            # The project's own statements have none: it came with a definition.
            kind, told = IntegrityFault, f"the manifest defines what the server cannot read: {said}"
        case psycopg.errors.RaiseException():
            kind = DatabaseFault
            told = f"{said}{place}: a trigger, or a function that the table calls, refuses the row"
        case psycopg.errors.UndefinedTable() | psycopg.errors.InsufficientPrivilege():
            return database_fault(fault, table=label)
        case psycopg.ProgrammingError() | psycopg.NotSupportedError():
            # What a statement may not do has to do with definitions, so that the detail tells no row's value.
            detail = f" ({fault.diag.message_detail.rstrip('.')})" if fault.diag.message_detail else ""
            kind, told = DatabaseFault, f"{said}{place}{detail}"
        case _:
            return database_fault(fault, table=label)
    return kind(f"{label}: {told}; {_UNCHANGED}", can_retry=retry)


def _is_of_a_value(fault: psycopg.Error) -> bool:
    """Whether a column's type did not take what a COPY sent it: no retry makes it fit."""
    return bool(place_told(fault)[1]) and not (fault.sqlstate or "XX").startswith(_NOT_OF_VALUES)


def _of_reference(on_conflict: str) -> str:
    """What to do about a row whose other one is not there."""
    if on_conflict != "skip":
        return "restore the other table too"
    return (
        "restore the other table too; if it is restored, its row gave way to one that is there, as a collection does "
        "to another of the same name: restore collections under new names (rename_collection)"
    )


def _of_key(on_conflict: str, *, alone: bool) -> str:
    """What to do about a key that is there twice."""
    if alone:
        return (
            "another row of the set has it, so the set cannot fulfil this constraint of the table; drop the "
            "constraint, or restore into another `schema` and look there"
        )
    if on_conflict == "error":
        return (
            "set on_conflict to skip, which puts back what is missing and leaves the rows that are there, or to "
            "update, which overwrites them; truncate_before_restore replaces all rows of the table"
        )
    return "it is of another constraint than the one that on_conflict goes by; set truncate_before_restore"


@contextmanager
def commit_fault() -> Iterator[None]:
    """Say that nobody knows, when the connection is lost on the way to the commit's answer."""
    try:
        yield
    except psycopg.OperationalError as fault:
        said = said_by(fault)
        raise DatabaseFault(
            f"the connection was lost while the restore was being committed ({said}): it may have taken effect "
            "as a whole, or not at all; look at the tables before trying again",
            can_retry=False,
        ) from fault


def _detail(fault: psycopg.Error, otherwise: str) -> str:
    """The one place where a row's value is told: which key it is that collides is what the user has to know."""
    detail = fault.diag.message_detail
    name = fault.diag.constraint_name
    about = f" (constraint {name})" if name else ""
    return f"{detail.rstrip('.') if detail else otherwise}{about}"


def place_told(fault: psycopg.Error) -> tuple[int | None, str | None]:
    """The line of a COPY and the column that the server names in an error."""
    found = _IN_COPY.search(fault.diag.context or "")
    return (None, None) if found is None else (int(found["line"]), found["column"])


def in_file(file: str, place: str | None = None, columns: str | None = None) -> str:
    """A place in a file, in brackets."""
    of_columns = f"column{'s' if columns and ', ' in columns else ''} {columns}" if columns else None
    return f" ({', '.join(part for part in (file, place, of_columns) if part)})"
