"""Who holds a lock that somebody waits for: which session, since when, and with what query."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.postgres.session import parameters_of, session
from pgvector_backup.engine.postgres.table_name import TableName

_log: Final = logging.getLogger(__name__)

_NAMED_AT_MOST: Final = 3
_READING: Final = ("AccessShareLock", "RowShareLock")
_HARMLESS: Final = {
    "ACCESS SHARE": (
        *_READING,
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
    ),
    "SHARE ROW EXCLUSIVE": _READING,
    "ACCESS EXCLUSIVE": (),
}
"""By what is asked for, the locks of others that do not stand in its way."""

_QUERY_CHARACTERS: Final = 80


@contextmanager
def holders_named(conn: Connection[Any], tables: Sequence[TableName], mode: str, *, label: str) -> Iterator[None]:
    """Let a lock that was not granted in time leave the block as an error that names who holds it.

    :param conn: that waits; another one looks, for this one's transaction is aborted, or has no snapshot yet
    :param tables: what was to be locked, with their schemas
    :param mode: of the lock that was asked for, in SQL
    :raises DatabaseFault: worth a retry once the others are done
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable as fault:
        said = (fault.diag.message_primary or str(fault)).strip()
        holders = _holders(conn, tables, mode)
        who = f" ({'; '.join(holders)})" if holders else ""
        raise DatabaseFault(
            f"{label}: {said}: another session holds a lock on the table{who}; wait for it or end it with "
            "pg_terminate_backend, and try again"
        ) from fault


def _holders(waiting: Connection[Any], tables: Sequence[TableName], mode: str) -> list[str]:
    connect = partial(psycopg.connect, **cast("dict[str, Any]", parameters_of(waiting)))
    asked = [
        [table.schema for table in tables],
        [table.table for table in tables],
        list(_HARMLESS[mode]),
        waiting.info.backend_pid,
        _NAMED_AT_MOST,
    ]
    try:
        with session(connect, Cancel(), lock_timeout=1) as conn, conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_HOLDERS, asked).fetchall()
    except (psycopg.Error, DatabaseFault) as fault:
        _log.debug("who holds the lock is not known: %s", fault)
        return []
    return [_line(row) for row in rows]


def _line(row: dict[str, Any]) -> str:
    """A session in one line; what it last said is cut short."""
    parts = [f"session {row['pid']}"]
    if row["user"]:
        parts[0] += f" of {row['user']}"
    if row["application"]:
        parts[0] += f" ({row['application']})"
    if row["since"]:
        parts.append(f"in its transaction since {row['since']}")
    parts.append(row["state"] or "state unknown")
    what = " ".join((row["query"] or "").split())
    if len(what) > _QUERY_CHARACTERS:
        what = what[:_QUERY_CHARACTERS] + "…"
    return ", ".join(parts) + (f": {what}" if what else "")


_HOLDERS: Final = """
SELECT DISTINCT ON (a.xact_start, l.pid) l.pid, a.usename AS user,
       nullif(a.application_name, '') AS application, a.state,
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since, a.query
FROM unnest(%s::text[], %s::text[]) AS wanted(schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
JOIN pg_locks l ON l.relation = c.oid AND l.granted AND l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.mode <> ALL(%s::text[]) AND l.pid <> ALL(ARRAY[pg_backend_pid(), %s])
ORDER BY a.xact_start, l.pid LIMIT %s
"""
