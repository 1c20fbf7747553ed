"""From what a command line and its environment say of a database to psycopg connections."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgvector_backup.cli.configuration import Configuration
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.session import CONNECT_SECONDS, Connect

_log: Final = logging.getLogger(__name__)

# What the DSN says wins. Keepalives tell a dead server from a slow one within a minute or so.
_DEFAULTS: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "pgvector_backup",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def connect_to(dsn: str | None, configuration: Configuration) -> Connect:
    """How to connect to the database that a command is about.

    The first that is there counts: ``--dsn``, ``DATABASE_URL``, Airflow's connection in ``AIRFLOW_CONN_…``; then what
    libpq finds by itself, in ``PGHOST`` and the like, a service or a password file.

    :param dsn: a URI, or libpq's ``key=value`` words
    :raises InvalidParams: when it cannot be read; it is not quoted, for it may hold a password
    """
    environment = configuration.environment
    connection_id = configuration.given("connection_id") or "pgvector_default"
    variable = f"AIRFLOW_CONN_{connection_id.upper()}"
    if dsn:
        given = _read(dsn, "--dsn")
        if "password" in given:
            _log.warning(
                "a password in --dsn is seen by everybody on this machine, in the list of processes; use PGPASSWORD, "
                "a password file or DATABASE_URL"
            )
    elif url := environment.get("DATABASE_URL"):
        given = _read(url, "DATABASE_URL")
    elif stored := environment.get(variable):
        given = _of_airflow(stored, variable)
    else:
        given = {}
    parameters: dict[str, Any] = {**_DEFAULTS, **given}
    return lambda: psycopg.connect(**parameters)


def _read(dsn: str, source: str) -> dict[str, Any]:
    # SQLAlchemy's spelling names its driver too.
    plain = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", dsn)
    if "://" in plain and not plain.startswith(("postgres://", "postgresql://")):
        raise InvalidParams(f"{source}: a URI begins with postgresql://")
    try:
        return {name: value for name, value in conninfo_to_dict(plain).items() if value is not None}
    except psycopg.Error:
        raise InvalidParams(
            f"{source}: libpq cannot read it; write postgresql://user@host:port/database, special characters "
            "percent-encoded"
        ) from None


def _of_airflow(stored: str, variable: str) -> dict[str, Any]:
    """Airflow keeps a connection as a URI or as JSON."""
    if not stored.lstrip().startswith("{"):
        return _read(stored, variable)
    try:
        body = json.loads(stored)
        extra = body.get("extra") or {}
        if isinstance(extra, str):
            extra = json.loads(extra)
        return {**_words(body), **{name: value for name, value in extra.items() if isinstance(value, (str, int))}}
    except (ValueError, AttributeError):
        raise InvalidParams(f"{variable}: neither a URI nor Airflow's JSON of a connection") from None


def _words(body: Mapping[str, Any]) -> dict[str, Any]:
    names = {"host": "host", "port": "port", "login": "user", "password": "password", "schema": "dbname"}
    return {
        word: unquote(value) if word == "host" else value
        for name, word in names.items()
        if (value := body.get(name)) not in (None, "")
    }
