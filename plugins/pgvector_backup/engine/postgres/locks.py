"""Who holds a lock that somebody waits for: which session, since when, and with what query."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import psycopg
from psycopg import Connection, sql
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
_HIDDEN: Final = "<insufficient privilege>"


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
    """A session, or a transaction that was prepared and left, in one line; what a session last said is cut short."""
    if row["gid"] is not None:
        gid = sql.Literal(row["gid"]).as_string(None)
        return (
            f"transaction {gid} of {row['user']}, prepared at {row['since']} and left, which no session holds: COMMIT "
            f"PREPARED {gid} or ROLLBACK PREPARED {gid} ends it"
        )
    parts = [_named(row["pid"], row["user"], row["application"])]
    if row["since"]:
        parts.append(f"in its transaction since {row['since']}")
    if row["query"] == _HIDDEN:
        parts.append("which does not show this role what it does (pg_read_all_stats would)")
    else:
        parts.append(row["state"] or "state unknown")
    line = ", ".join(parts) + _quoted(row["query"])
    if row["granted"]:
        return line
    behind = row["behind_pid"]
    if behind is None:
        return f"{line}; it waits itself"
    first = _named(behind, row["behind_user"], row["behind_application"])
    return f"{line}; it waits itself, behind {first}{_quoted(row['behind_query'])}"


def _named(pid: int, user: str | None, application: str | None) -> str:
    return f"session {pid}{f' of {user}' if user else ''}{f' ({application})' if application else ''}"


def _quoted(query: str | None) -> str:
    what = " ".join((query or "").split())
    if what in ("", _HIDDEN):
        return ""
    return f": {what[:_QUERY_CHARACTERS]}…" if len(what) > _QUERY_CHARACTERS else f": {what}"


# Whoever waits for a lock of its own stands in the way too: requests are granted in their order. Who prepared a
# transaction is gone, and its locks have no session. Source: the manual's pages on pg_locks and pg_prepared_xacts.
_HOLDERS: Final = """
SELECT DISTINCT ON (NOT l.granted, a.xact_start, p.prepared, l.pid) l.pid, l.granted, p.gid,
       coalesce(a.usename, p.owner) AS user, nullif(a.application_name, '') AS application, a.state,
       to_char(coalesce(a.xact_start, p.prepared), 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since, a.query,
       b.pid AS behind_pid, b.usename AS behind_user, nullif(b.application_name, '') AS behind_application,
       b.query AS behind_query
FROM unnest(%s::text[], %s::text[]) AS wanted(schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
JOIN pg_locks l ON l.relation = c.oid AND l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
    AND x.locktype = 'transactionid' AND x.granted
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
LEFT JOIN LATERAL (
    SELECT s.pid, s.usename, s.application_name, s.query FROM pg_stat_activity s
    WHERE NOT l.granted AND s.pid = ANY(pg_blocking_pids(l.pid)) ORDER BY s.xact_start, s.pid LIMIT 1
) AS b ON true
WHERE l.mode <> ALL(%s::text[]) AND (l.pid IS NULL OR l.pid <> ALL(ARRAY[pg_backend_pid(), %s]))
ORDER BY NOT l.granted, a.xact_start, p.prepared, l.pid LIMIT %s
"""
