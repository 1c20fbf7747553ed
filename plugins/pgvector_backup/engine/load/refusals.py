"""What the server's refusals mean for whoever restores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pgvector_backup.engine.base.errors import Conflict, DatabaseFault, IntegrityFault
from pgvector_backup.engine.postgres.errors import database_fault

_UNCHANGED = "nothing was changed"


@contextmanager
def load_fault(label: str, *, on_conflict: str) -> Iterator[None]:
    """Let the server's errors leave the block as this project's, with the table's name and the remedy."""
    try:
        yield
    except psycopg.errors.UniqueViolation as fault:
        remedy = (
            "set on_conflict to skip, which puts back what is missing and leaves the rows that are there, or to "
            "update, which overwrites them; truncate_before_restore replaces all rows of the table"
            if on_conflict == "error"
            else "it is of another constraint than the one that on_conflict goes by; set truncate_before_restore"
        )
        raise Conflict(f"{label}: {_detail(fault, 'a key is there already')}; {remedy}; {_UNCHANGED}") from fault
    except psycopg.errors.CardinalityViolation as fault:
        raise Conflict(f"{label}: the set holds two rows with one key; {_UNCHANGED}") from fault
    except psycopg.errors.ForeignKeyViolation as fault:
        raise Conflict(
            f"{label}: {_detail(fault, 'a foreign key finds no row')}; restore the other table too; {_UNCHANGED}"
        ) from fault
    except psycopg.IntegrityError as fault:
        raise Conflict(f"{label}: {_said(fault)}{_where(fault)}; {_UNCHANGED}") from fault
    except psycopg.errors.DiskFull as fault:
        raise DatabaseFault(
            f"{label}: the server's disk is full: {_said(fault)}; free some there; {_UNCHANGED}", can_retry=True
        ) from fault
    except psycopg.errors.InsufficientPrivilege as fault:
        raise DatabaseFault(
            f"{label}: {_said(fault)}; a restore needs the table's owner, or INSERT and SELECT on it, TRUNCATE to "
            f"empty it, CREATE and TEMP on schema and database; {_UNCHANGED}",
            can_retry=False,
        ) from fault
    except (psycopg.DataError, psycopg.errors.DatatypeMismatch) as fault:
        # Dimensions, an infinity, text that is no number, a composite type of other columns, a character that this
        # database's encoding lacks: no row of this set will ever fit.
        raise Conflict(f"{label}: {_said(fault)}{_where(fault)}; {_UNCHANGED}") from fault
    except psycopg.errors.SyntaxError as fault:
        # The project's own statements have none: it came with a definition.
        raise IntegrityFault(
            f"{label}: the manifest defines what the server cannot read: {_said(fault)}; {_UNCHANGED}"
        ) from fault
    except psycopg.errors.UndefinedTable as fault:
        raise database_fault(fault, table=label) from fault
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as fault:
        # What a statement may not do has to do with definitions, so that the detail tells no row's value.
        detail = f" ({fault.diag.message_detail.rstrip('.')})" if fault.diag.message_detail else ""
        raise DatabaseFault(f"{label}: {_said(fault)}{detail}; {_UNCHANGED}", can_retry=False) from fault
    except psycopg.Error as fault:
        raise database_fault(fault, table=label) from fault


@contextmanager
def commit_fault() -> Iterator[None]:
    """Say that nobody knows, when the connection is lost on the way to the commit's answer."""
    try:
        yield
    except psycopg.OperationalError as fault:
        raise DatabaseFault(
            f"the connection was lost while the restore was being committed ({_said(fault)}): it may have taken effect "
            "as a whole, or not at all; look at the tables before trying again",
            can_retry=False,
        ) from fault


def _said(fault: psycopg.Error) -> str:
    return (fault.diag.message_primary or str(fault)).strip()


def _detail(fault: psycopg.Error, otherwise: str) -> str:
    """The one place where a row's value is told: which key it is that collides is what the user has to know."""
    detail = fault.diag.message_detail
    name = fault.diag.constraint_name
    about = f" (constraint {name})" if name else ""
    return f"{detail.rstrip('.') if detail else otherwise}{about}"


def _where(fault: psycopg.Error) -> str:
    """Line and column out of a COPY's context, without the value that it quotes."""
    context = fault.diag.context or ""
    first = context.splitlines()[0] if context else ""
    if not first.startswith("COPY "):
        return ""
    head, _, _ = first.partition(": ")
    return f" ({head})"
