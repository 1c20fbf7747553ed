"""Statements that a restore can do without: what the server refuses is undone, and told of."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql


def execute_one(conn: Connection[Any], statement: sql.Composed) -> None:
    """Execute one statement, whatever its text holds: `binary` has psycopg use the extended protocol."""
    conn.execute(statement, binary=True)


def attempt(conn: Connection[Any], *statements: sql.Composed) -> str | None:
    """Execute statements, all of them or none.

    :return: what the server has against it; None: they are done
    :raises psycopg.Error: for what is no refusal: a lost connection, a full disk, a cancelled query, bad syntax
    """
    conn.execute("SAVEPOINT attempt")
    try:
        for statement in statements:
            execute_one(conn, statement)
    except psycopg.errors.SyntaxError:
        raise
    except (
        psycopg.ProgrammingError,
        psycopg.NotSupportedError,
        psycopg.DataError,
        psycopg.IntegrityError,
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.ObjectNotInPrerequisiteState,
    ) as fault:
        conn.execute("ROLLBACK TO SAVEPOINT attempt")
        conn.execute("RELEASE SAVEPOINT attempt")
        return (fault.diag.message_primary or str(fault)).strip()
    conn.execute("RELEASE SAVEPOINT attempt")
    return None
