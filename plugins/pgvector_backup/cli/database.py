"""From what a command line and its environment say of a database to psycopg connections."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgvector_backup.cli.configuration import Configuration
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.parameters import query_names, strange, with_defaults
from pgvector_backup.engine.postgres.session import Connect

_log: Final = logging.getLogger(__name__)

_OF_THE_HOOK: Final = (
    "cursor",
    "sqlalchemy_scheme",
    "sqlalchemy_query",
    "aws_conn_id",
    "azure_conn_id",
    "cluster-identifier",
    "workgroup-name",
)
"""Extras of an Airflow connection that are for its hook, not for libpq."""

_TOKENS: Final = ("iam", "redshift", "redshift-serverless")
"""Extras with which the hook gets a password elsewhere."""


def connect_to(dsn: str | None, configuration: Configuration) -> Connect:
    """How to connect to the database that a command is about.

    The first that is there counts: ``--dsn``, ``DATABASE_URL``, Airflow's connection in ``AIRFLOW_CONN_…``; then what
    libpq finds by itself, in ``PGHOST`` and the like, a service or a password file.

    :param dsn: a URI, or libpq's ``key=value`` words
    :raises InvalidParams: when it cannot be read; it is not quoted, for it may hold a password
    """
    environment, variable = configuration.environment, _variable(configuration)
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
    parameters = with_defaults(given, environment)
    return lambda: psycopg.connect(**parameters)


def named_by(dsn: str | None, configuration: Configuration) -> str:
    """What says which database a command is about, as `connect_to` finds it."""
    if dsn:
        return "--dsn"
    found = [name for name in ("DATABASE_URL", _variable(configuration)) if configuration.environment.get(name)]
    return found[0] if found else "libpq's own settings"


def _variable(configuration: Configuration) -> str:
    return f"AIRFLOW_CONN_{(configuration.given('connection_id') or 'pgvector_default').upper()}"


def _read(dsn: str, source: str) -> dict[str, Any]:
    # SQLAlchemy's spelling names its driver too.
    plain = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", _unquoted(dsn))
    if "://" in plain and not plain.startswith(("postgres://", "postgresql://")):
        other = re.match(r"[A-Za-z][A-Za-z0-9+.:-]{0,30}://", plain)
        raise InvalidParams(f"{source}: a URI begins with postgresql://{f', not with {other[0]}' if other else ''}")
    if "://" in plain and (why := strange(query_names(plain))) is not None:
        raise InvalidParams(f"{source}: {why}")
    try:
        return {name: value for name, value in conninfo_to_dict(plain).items() if value is not None}
    except psycopg.Error:
        raise InvalidParams(
            f"{source}: libpq cannot read it; write postgresql://user@host:port/database, special characters "
            "percent-encoded"
        ) from None


def _unquoted(text: str) -> str:
    """As a file of variables has it that a shell would have read: with quotes around, or a line's end."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _of_airflow(stored: str, variable: str) -> dict[str, Any]:
    """Airflow keeps a connection as a URI, its extra in the query or in ``__extra__``, or as JSON."""
    try:
        stored = _unquoted(stored)
        if stored.startswith("{"):
            body = json.loads(stored)
            kind = body.get("conn_type") or "postgres"
            extra = body.get("extra") or {}
            given = _words(body)
        else:
            kind, parts = "postgres", urlsplit(stored)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            extra = json.loads(query.pop("__extra__", "{}") or "{}")
            given = _read(urlunsplit(parts._replace(query="")), variable)
            extra = {**(json.loads(extra) if isinstance(extra, str) else extra), **query}
        if isinstance(extra, str):
            extra = json.loads(extra)
        extra = dict(extra)
    except (ValueError, AttributeError, TypeError):
        raise InvalidParams(f"{variable}: neither a URI nor Airflow's JSON of a connection") from None
    if kind not in ("postgres", "postgresql"):
        raise InvalidParams(f"{variable}: it is of type {kind!r}; postgres is needed")
    if wanted := [name for name in _TOKENS if str(extra.pop(name, "")).lower() in ("true", "1")]:
        raise InvalidParams(
            f"{variable}: its extra {', '.join(wanted)} has Airflow's hook fetch a password, which the command line "
            "does not; set PGPASSWORD, or run the DAG"
        )
    mine = {name: value for name, value in extra.items() if name not in _OF_THE_HOOK and isinstance(value, (str, int))}
    if (why := strange(mine)) is not None:
        raise InvalidParams(f"{variable}: in its extra, {why}")
    return {**given, **mine}


def _words(body: Mapping[str, Any]) -> dict[str, Any]:
    names = {"host": "host", "port": "port", "login": "user", "password": "password", "schema": "dbname"}
    return {
        word: unquote(value) if word == "host" else value
        for name, word in names.items()
        if (value := body.get(name)) not in (None, "")
    }
