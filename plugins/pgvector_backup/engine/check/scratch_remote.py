"""A scratch database on a server that a connection leads to, dropped with the drill."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.check import scratch_role
from pgvector_backup.engine.check.limits import Limits, watched
from pgvector_backup.engine.check.scratch_role import NAME_PREFIX
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect, isolate, session

_log: Final = logging.getLogger(__name__)

_FORCED_DROP: Final = 130000
"""The first server version that drops a database somebody is connected to."""

_ELSEWHERE: Final = "or leave db_connection out to drill on an embedded server"


@contextmanager
def remote_database(connect: Connect, limits: Limits, cancel: Cancel, lock_timeout: float) -> Iterator[Connect]:
    """Make a database there, and a role that owns it and nothing else; both go with the block.

    A role that may make databases and no roles is an ordinary one already: then the drill is held as that role itself.

    :raises DatabaseFault: when the connection's role may make no database, or is too powerful to hold a drill as
    """
    name = f"{NAME_PREFIX}{secrets.token_hex(8)}"
    with translated(), session(connect, cancel, lock_timeout=lock_timeout) as conn:
        # By this others know, from the first moment, that somebody is at work on the database of that name.
        conn.execute("SELECT set_config('application_name', %s, false)", [name])
        sweep_databases(conn)
        password = secrets.token_urlsafe(24)
        role = name if _makes_roles(conn) else None
        try:
            _create(conn, name, role, password)
            login = make_conninfo(conn.info.dsn, dbname=name, password=conn.info.password or None)
            _prepare(login, conn.info.user)
            if role is not None:
                login = make_conninfo(conn.info.dsn, dbname=name, user=role, password=password)
                _check_login(login)
            _log.info("drilling in scratch database %s on the server of database %s", name, conn.info.dbname)
            with (
                _own(connect) as other,
                watched(limits, cancel, taken=lambda: _size(other, name), end=lambda: _end(other, name)),
            ):
                yield lambda: psycopg.connect(login)
        finally:
            _drop(connect, name, role)


def _makes_roles(conn: Connection[Any]) -> bool:
    superuser, may_make_roles, powerful = scratch_role.powers_of(conn)
    if powerful and not superuser and not may_make_roles:
        raise DatabaseFault(
            f"role {conn.info.user} is a member of {', '.join(powerful)}, and what a set defines would run with those "
            f"rights; name a connection whose role has CREATEDB and nothing more, {_ELSEWHERE}",
            can_retry=False,
        )
    return superuser or may_make_roles


def _create(conn: Connection[Any], name: str, role: str | None, password: str) -> None:
    try:
        if role is not None:
            scratch_role.create(conn, role, password)
            superuser, _, _ = scratch_role.powers_of(conn)
            if not superuser:  # only a member may make a database for it; its maker may make itself one
                conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
            owned = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0")
            conn.execute(owned.format(sql.Identifier(name), sql.Identifier(role)))
        else:  # of template1, where an administrator can put the extension that an ordinary role may not make
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege:
        raise DatabaseFault(
            f"role {conn.info.user} may make no scratch database; give it CREATEDB, {_ELSEWHERE}", can_retry=False
        ) from None


def _prepare(login: str, user: str) -> None:
    try:
        with psycopg.connect(login, autocommit=True) as inside:
            scratch_role.prepare_database(inside)
    except psycopg.errors.InsufficientPrivilege:
        raise DatabaseFault(
            f"role {user} may not create extension vector in a scratch database; have an administrator run CREATE "
            f"EXTENSION vector in template1, {_ELSEWHERE}",
            can_retry=False,
        ) from None


def _check_login(login: str) -> None:
    """See that the drill's role can come in by itself; to come in as another and SET ROLE is no wall."""
    try:
        psycopg.connect(login).close()
    except psycopg.OperationalError:
        raise DatabaseFault(
            "the server does not let the drill's own role log in with its password (pg_hba.conf); name a connection "
            f"whose role has CREATEDB and nothing more, {_ELSEWHERE}",
            can_retry=False,
        ) from None


def sweep_databases(conn: Connection[Any]) -> list[str]:
    """Drop the scratch databases of runs that were killed, and their roles: those that nobody is at work on.

    :return: the names of the databases
    """
    pattern = f"^{NAME_PREFIX}[0-9a-f]{{16}}$"
    abandoned = conn.execute(
        "SELECT datname FROM pg_database d WHERE datname ~ %s AND NOT EXISTS"
        " (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname OR a.application_name = d.datname)",
        [pattern],
    ).fetchall()
    removed = []
    for (name,) in abandoned:
        try:
            conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
        except psycopg.Error as fault:  # another role's, or taken up again
            _log.warning("scratch database %s was left by a drill and cannot be dropped: %s", name, fault)
        else:
            _log.warning("dropped scratch database %s, left over by a drill that was killed", name)
            removed.append(name)
    idle = conn.execute(
        "SELECT rolname FROM pg_roles r WHERE rolname ~ %s"
        " AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = r.rolname)"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = r.rolname)",
        [pattern],
    ).fetchall()
    for (name,) in idle:
        with suppress(psycopg.Error):  # another role's
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    return removed


def _own(connect: Connect) -> Connection[Any]:
    """A connection for whoever looks on: the other is at work, or waits."""
    conn = connect()
    conn.autocommit = True
    isolate(conn)
    return conn


def _size(conn: Connection[Any], name: str) -> int:
    row = conn.execute("SELECT pg_catalog.pg_database_size(%s::pg_catalog.name)", [name]).fetchone()
    assert row is not None
    return int(row[0])


def _end(conn: Connection[Any], name: str) -> None:
    conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def _drop(connect: Connect, name: str, role: str | None) -> None:
    """Drop database and role over a connection of its own: the other may be lost or cancelled."""
    try:
        conn = _own(connect)
        try:
            if conn.info.server_version >= _FORCED_DROP:
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            else:
                _end(conn, name)
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            if role is not None:
                conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
        finally:
            conn.close()
    except psycopg.Error as fault:
        _log.error("scratch database %s could not be dropped, the next drill will: %s", name, type(fault).__name__)
