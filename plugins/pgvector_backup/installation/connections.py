"""From what a conf says of a database to psycopg connections, through Airflow's `PostgresHook`."""

from __future__ import annotations

import json
import logging
import os
from functools import partial
from typing import Any, Final, cast

import psycopg
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import DatabaseFault, InvalidParams, NotFound
from pgvector_backup.engine.postgres.parameters import strange, with_defaults
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.installation.configuration import ConnectionRules, restore_connection
from pgvector_backup.installation.temporary import is_temporary
from pgvector_backup.installation.uris import read_uri, with_nothing_of_the_worker

_log: Final = logging.getLogger(__name__)

_URI_CONNECTION_ID: Final = "pgvector_backup_uri"
_RESTORES: Final = "pgvector_restore"


def connect_to(
    asked: str | None,
    configured: str | None,
    rules: ConnectionRules,
    *,
    own: str | None = None,
    seconds: int | None = None,
) -> Connect:
    """How to connect to the database that a run is about.

    :param asked: ``db_connection`` of the run's conf: a connection id, or a URI
    :param configured: the connection id that the DAG's author gave the operator
    :param own: id of the temporary connection that the run may name, being its own
    :param seconds: that a server may take to answer, whatever the connection says; None: as the connection says
    :raises InvalidParams: when conf may not name it, or it is not of PostgreSQL
    :raises NotFound: when Airflow has no such connection
    :raises DatabaseFault: when it holds what libpq does not know
    """
    if asked is not None and "://" in asked:
        connection = _from_uri(asked, rules)
    else:
        if asked is not None:
            check_admitted(asked, rules, own=own)
        connection = _stored(asked or configured or rules.default)
    _log.info(
        "using %s",
        f"connection {connection.conn_id}" if connection.conn_id != _URI_CONNECTION_ID else "the URI of conf",
    )
    of_libpq = [name for name in connection.extra_dejson if name not in PostgresHook.ignored_extra_options]
    if (why := strange(of_libpq)) is not None:
        told = f"connection {connection.conn_id!r}: in its extra, {why}"
        raise DatabaseFault(messages.CONNECTION_FAILED.followed_by(told), can_retry=False)
    from_uri = connection.conn_id == _URI_CONNECTION_ID or is_temporary(connection.conn_id)
    known = with_defaults(connection.extra_dejson, os.environ)
    extra = {**known, **({} if seconds is None else {"connect_timeout": seconds})}
    if from_uri:
        extra = with_nothing_of_the_worker(extra, password=connection.password)
    hook = PostgresHook(
        connection=Connection(
            conn_id=connection.conn_id,
            conn_type="postgres",
            host=connection.host,
            login=connection.login,
            password=connection.password,
            schema=connection.schema,
            port=connection.port,
            extra=json.dumps(extra),
        )
    )
    return partial(_open_untold if from_uri and not rules.uri_hosts else _open, hook)


def name_of(asked: str | None, configured: str | None, rules: ConnectionRules) -> str:
    """What results call the connection that `connect_to` takes: its id; of a URI nothing is told.

    :param asked: ``db_connection`` of the run's conf
    """
    named = asked or configured or rules.default
    return "URI" if "://" in named or is_temporary(named) else named


def of_restores() -> str | None:
    """The connection id of a restore that names none itself: a role that may write has its own; None: the default."""
    if (configured := restore_connection()) is not None:
        return configured
    try:
        PostgresHook.get_connection(_RESTORES)
    except AirflowNotFoundException:
        return None
    return _RESTORES


def check_admitted(asked: str, rules: ConnectionRules, *, own: str | None = None) -> None:
    """Refuse a connection id that conf may not name.

    :param own: see `connect_to`
    :raises InvalidParams: saying which ones it may
    """
    if not rules.admits(asked) or (is_temporary(asked) and asked != own):
        raise InvalidParams(
            f"db_connection: {asked!r} may not be named; allowed are {', '.join(rules.allowed)} "
            "(allowed_connections in [pgvector_backup])"
        )


def _open(hook: PostgresHook) -> psycopg.Connection[Any]:
    conn = hook.get_conn()
    if not isinstance(conn, psycopg.Connection):
        raise InvalidParams("PostgresHook does not use psycopg 3: install psycopg[binary] and SQLAlchemy 2")
    return conn


def _open_untold(hook: PostgresHook) -> psycopg.Connection[Any]:
    """Connect to what a user has named, and may know nothing of: no port or host is to be found out by what failed."""
    try:
        return _open(hook)
    except psycopg.Error:
        raise psycopg.OperationalError(
            "the server that the URI names did not let us in; whether it is there at all is told only where "
            "allowed_uri_hosts in [pgvector_backup] says which hosts may be named"
        ) from None


def _stored(connection_id: str) -> Connection:
    try:
        connection = PostgresHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise NotFound(
            f"Airflow has no connection {connection_id!r} that it can read; "
            f"add it, or set AIRFLOW_CONN_{connection_id.upper()}"
        ) from None
    except Exception as fault:
        # Not chained, not quoted: what cannot be read as a connection may hold its password.
        raise InvalidParams(
            f"connection {connection_id!r} cannot be read ({type(fault).__name__}); store it anew"
        ) from None
    if connection.conn_type not in ("postgres", "postgresql"):
        raise InvalidParams(f"connection {connection_id!r} is of type {connection.conn_type!r}; postgres is needed")
    return cast("Connection", connection)


def _from_uri(uri: str, rules: ConnectionRules) -> Connection:
    mask_secret(uri)
    if not rules.uri_allowed:
        raise InvalidParams(
            "db_connection: a URI is not allowed here, because conf is stored in clear; name an Airflow "
            "connection, or set allow_connection_uri in [pgvector_backup]"
        )
    given, password = read_uri(uri, rules)
    return Connection(conn_id=_URI_CONNECTION_ID, conn_type="postgres", password=password, extra=json.dumps(given))
