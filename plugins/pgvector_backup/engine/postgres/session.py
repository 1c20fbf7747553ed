"""A connection made ready: exact text, no surprises from the role's or the database's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault

Connect = Callable[[], Connection[Any]]
"""Opens a new psycopg 3 connection; each call another one."""

CONNECT_SECONDS: Final = 10
"""How long a server may take to answer before it counts as unreachable."""

# As pg_dump does (`setup_connection` in pg_dump.c): whatever the role or the database has set, the same
# rows give the same bytes. row_security is off so that a policy cannot thin a backup out in silence: the
# query fails instead. The time limits would end a long transaction that has to last.
_SETTINGS: Final = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "row_security": "off",
    # A truncate counts rows after its lock was granted: an older snapshot would miss the latest of them.
    "default_transaction_isolation": "read committed",
    "synchronize_seqscans": "off",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}


@contextmanager
def session(connect: Connect, cancel: Cancel, *, lock_timeout: float) -> Iterator[Connection[Any]]:
    """Open a connection, make it ready, close it in the end; an open transaction is rolled back.

    :param lock_timeout: seconds to wait for another session's lock
    :raises DatabaseFault: when the server cannot be reached
    """
    cancel.check()
    try:
        conn = connect()
    except psycopg.Error as fault:
        # Not chained: the text of a malformed URI or option may hold its password.
        raise DatabaseFault(f"{messages.CONNECTION_FAILED}: {_first_line(fault)}") from None
    try:
        conn.autocommit = True
        conn.row_factory = tuple_row
        with cancel.watching(conn):
            conn.execute("SET statement_timeout = 0")  # first, so that no limit ends the rest
            conn.execute(
                "SELECT set_config(s.name, s.value, false)"
                " FROM unnest(%s::text[], %s::text[]) AS s(name, value)"
                # Not all of them are known to every version; to look that up in pg_settings takes ten times as long.
                " WHERE current_setting(s.name, true) IS NOT NULL",
                [
                    [*_SETTINGS, "lock_timeout"],
                    [*_SETTINGS.values(), f"{round(lock_timeout * 1000)}ms"],
                ],
            )
            yield conn
    except (psycopg.errors.QueryCanceled, DatabaseFault):
        cancel.check()
        raise
    finally:
        conn.close()


def parameters_of(conn: Connection[Any]) -> dict[str, str]:
    """What to open another connection to the same server with, in libpq's words, the password among them.

    :raises UnicodeDecodeError: when a value is not UTF-8
    """
    info = conn.info
    known = {option.keyword.decode(): option.val.decode() for option in conn.pgconn.info if option.val}
    # Of several servers the one that was reached: no other one has the snapshot.
    here = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port), "password": info.password}
    # An empty password is said too: left out, libpq would look for one in the environment and offer it.
    return {key: value for key, value in {**known, **here}.items() if value or key == "password"}


def _first_line(fault: psycopg.Error) -> str:
    """What libpq says, without what a misspelt connection string makes it take for something else."""
    line = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
    # What cannot be parsed is quoted, and a password that holds an unescaped @ ends up in the host's name.
    unread = isinstance(fault, psycopg.ProgrammingError) or ": invalid " in line
    if unread or ("@" in line and "FATAL" not in line):
        return "its URI or an option cannot be read; percent-encode special characters in the password"
    return line
