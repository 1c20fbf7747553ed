"""A connection made ready: nothing between us and the server's own functions, exact text, no surprising settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.postgres.connecting import unreachable

Connect = Callable[[], Connection[Any]]
"""Opens a new psycopg 3 connection; each call another one."""

_log: Final = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10
"""How long a server may take to answer before it counts as unreachable."""

# Nobody can put anything between us and these: SET is no function, and the one function is named in full. What the
# role's own search path was is looked up for the names of `tables` that have no schema. From then on every function,
# operator, cast and type of ours is the server's own: whoever may create objects in a schema of the role's path could
# otherwise have them run with the role's rights. Temporary objects come last, for they would come first unnamed.
# Source: CVE-2007-2138, CVE-2018-1058; `setup_connection` in pg_dump.c.
_PATH: Final = "pg_catalog, pg_temp"
_FIRST: Final = (
    "SET statement_timeout = 0; SET client_encoding = 'UTF8'; SELECT pg_catalog.current_schemas(false),"
    " pg_catalog.pg_backend_pid();"
    f" SET search_path = {_PATH}"
)

# As pg_dump does: whatever the role or the database has set, the same rows give the same bytes, and what is made is
# made alike. row_security is off so that a policy cannot thin a backup out in silence: the query fails instead. The
# time limits would end a long transaction that has to last. Each setting that a user may change was looked at.
_SETTINGS: Final = {
    # What values look like, and how they are read.
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "array_nulls": "on",
    "xmloption": "content",
    # What statements mean.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "escape_string_warning": "off",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    # Which rows are seen.
    "row_security": "off",
    "gin_fuzzy_search_limit": "0",
    "synchronize_seqscans": "off",
    # What a transaction is.
    # A truncate counts rows after its lock was granted: an older snapshot would miss the latest of them.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # Where and how tables and indexes are made.
    "default_tablespace": "",
    "default_table_access_method": "heap",
    # How much is said, and ranges of pages.
    "client_min_messages": "warning",
    "enable_tidscan": "on",
    # How the catalog is read: without hash joins, or with joins in their written order, that takes minutes.
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_nestloop": "on",
    "enable_hashagg": "on",
    "enable_sort": "on",
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "enable_material": "on",
    "join_collapse_limit": "8",
    "from_collapse_limit": "8",
}

_PRIVILEGED: Final = {
    "session_replication_role": "origin",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
}
"""What only a superuser sets, and may have set for everybody: keys unchecked, rows left out in silence."""

_paths: Final[WeakKeyDictionary[Connection[Any], tuple[str, ...]]] = WeakKeyDictionary()


@contextmanager
def session(connect: Connect, cancel: Cancel, *, lock_timeout: float, views: bool = True) -> Iterator[Connection[Any]]:
    """Open a connection, make it ready, close it in the end; an open transaction is rolled back.

    :param lock_timeout: seconds to wait for another session's lock
    :param views: whether views and foreign tables may be read, which runs what their owners wrote
    :raises DatabaseFault: when the server cannot be reached
    """
    cancel.check()
    try:
        conn = connect()
    except psycopg.Error as fault:
        # Not chained: the text of a malformed URI or option may hold its password.
        raise unreachable(fault) from None
    pooled = False
    try:
        conn.autocommit = True
        conn.row_factory = tuple_row
        with cancel.watching(conn):
            pooled = _make_ready(conn, lock_timeout=lock_timeout, views=views)
            yield conn
    except (psycopg.errors.QueryCanceled, DatabaseFault):
        cancel.check()
        raise
    finally:
        if pooled:
            _leave_clean(conn)
        conn.close()


def _leave_clean(conn: Connection[Any]) -> None:
    """Put a pooler's session back to what it was: another client gets it next, who expects its own search path."""
    with suppress(psycopg.Error):
        conn.execute("ROLLBACK")
        conn.execute("RESET ALL")


def begin(conn: Connection[Any]) -> None:
    """Begin a transaction; see `require_settings`."""
    conn.execute("BEGIN")
    require_settings(conn)


def require_settings(conn: Connection[Any]) -> None:
    """See that a transaction is in the session that was made ready: a pooler may have given it another one.

    :raises DatabaseFault: naming the remedy; what is read there might look otherwise, and run code of others
    """
    row = conn.execute("SHOW search_path").fetchone()
    # It was set before the role's quote_all_identifiers was put back.
    if row is None or row[0].replace('"', "") != _PATH:
        raise DatabaseFault(
            "a pooler gives each transaction another session, in which nothing of this one's settings holds; connect "
            "to the server itself, or to the pooler in session mode (another port, as a rule 5432)",
            can_retry=False,
        )


def _make_ready(conn: Connection[Any], *, lock_timeout: float, views: bool) -> bool:
    """Two round trips; a third one where a superuser has set what had better not be set.

    :return: whether a pooler is in between
    """
    # As bytes: of a server whose encoding Python does not know, no text can be sent yet.
    cursor = conn.execute(_FIRST.encode())
    while cursor.description is None:
        cursor.nextset()
    found = cursor.fetchone()
    assert found is not None
    _paths[conn] = tuple(found[0])
    pooled = bool(found[1] != conn.info.backend_pid)
    if pooled:
        _log.info("the connection goes through a pooler")
    settings = {
        **_SETTINGS,
        "lock_timeout": f"{round(lock_timeout * 1000)}ms",
        # A view that takes the place of a table after it was looked at.
        "restrict_nonsystem_relation_kind": "" if views else "view, foreign-table",
    }
    rows = conn.execute(
        "SELECT s.name, current_setting(s.name, true), set_config(s.name, s.value, false)"
        " FROM unnest(%s::text[], %s::text[]) AS s(name, value)"
        # Not all of them are known to every version; to look that up in pg_settings takes ten times as long.
        " WHERE current_setting(s.name, true) IS NOT NULL"
        # A restore that says it is done is on disk.
        " UNION ALL SELECT '', '', set_config('synchronous_commit', 'local', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
        " UNION ALL SELECT p.name, current_setting(p.name, true), NULL FROM unnest(%s::text[]) AS p(name)",
        [list(settings), list(settings.values()), list(_PRIVILEGED)],
    ).fetchall()
    for name, value, _ in rows:
        if name in _PRIVILEGED and value not in (None, _PRIVILEGED[name]):
            try:
                conn.execute("SELECT set_config(%s, %s, false)", [name, _PRIVILEGED[name]])
            except psycopg.errors.InsufficientPrivilege:
                _log.warning(
                    "%s is %s for this role, and only a superuser may set it back to %s", name, value, _PRIVILEGED[name]
                )
    return pooled


def isolate(conn: Connection[Any]) -> None:
    """Let every name on a connection that is to be no session be the server's own."""
    conn.execute(f"SET search_path = {_PATH}")


def own_path(conn: Connection[Any]) -> tuple[str, ...]:
    """The schemas of the role's own search path, those that exist and may be used, first things first."""
    return _paths[conn]


@contextmanager
def on_own_path(conn: Connection[Any]) -> Iterator[None]:
    """Have triggers and checks of a table find what they name without a schema, as they do for the application.

    Inside a transaction, for statements that name everything by its schema themselves.
    """
    path = sql.SQL(", ").join([*map(sql.Identifier, own_path(conn)), sql.SQL("pg_temp")])
    conn.execute(sql.SQL("SET LOCAL search_path = {}").format(path))
    yield
    conn.execute(f"SET LOCAL search_path = {_PATH}")  # after a failure the transaction's end does it


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


def pinned(connect: Connect, leader: Connection[Any]) -> Connect:
    """A way to connect that ends up on the server of a connection that is there, and on no other.

    A name may stand for several servers, and so may a list of hosts; only one of them has the leader's snapshot.
    """

    def connect_there() -> Connection[Any]:
        conn = connect()
        if (conn.info.host, conn.info.hostaddr, conn.info.port) == (
            leader.info.host,
            leader.info.hostaddr,
            leader.info.port,
        ):
            return conn
        conn.close()
        return psycopg.connect(**cast("dict[str, Any]", parameters_of(leader)))

    return connect_there
