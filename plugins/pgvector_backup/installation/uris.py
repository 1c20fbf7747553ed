"""What a URI that somebody sends may say: the server, the database, the login, and how safely; nothing of the worker's.

Libpq takes much from a URI that is not about a server: files of the machine it runs on (``passfile``, ``sslkey``,
``service``), and, where the URI is silent, that machine's environment and home directory. Whoever may send a URI must
not read, use or send away any of it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Final

import psycopg
from airflow.sdk.log import mask_secret
from psycopg.conninfo import conninfo_to_dict

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.parameters import query_names, strange
from pgvector_backup.installation.configuration import ConnectionRules

_ANY: Final = re.compile(r"[^\x00-\x1f]*")
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.,!-]+")

_ALLOWED: Final[dict[str, re.Pattern[str]]] = {
    **dict.fromkeys(("host", "dbname", "user", "password", "application_name", "fallback_application_name"), _ANY),
    "port": re.compile(r"[0-9]{0,5}(?:,[0-9]{0,5})*"),
    **dict.fromkeys(("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval"), _NUMBER),
    **dict.fromkeys(("keepalives_count", "tcp_user_timeout", "sslcompression", "sslsni"), _NUMBER),
    **dict.fromkeys(("sslmode", "sslnegotiation", "channel_binding", "target_session_attrs"), _WORD),
    **dict.fromkeys(("load_balance_hosts", "client_encoding"), _WORD),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), _WORD),
    **dict.fromkeys(("min_protocol_version", "max_protocol_version"), _WORD),
    # The certificates that the machine trusts anyway; any other value is a file.
    "sslrootcert": re.compile(r"system"),
    # How some hosted services tell databases of one address apart; not `-c`, which would set our session.
    "options": re.compile(r"(?:endpoint|project|reference|databaseName)=[A-Za-z0-9_.-]+"),
}
"""Libpq's parameters that a URI may have, and what each may say."""

# What libpq would otherwise take from the worker: its passwords, its certificate, its Kerberos ticket.
_NOTHING_OF_THE_WORKER: Final = {
    "passfile": "/dev/null",
    "sslcertmode": "disable",
    "gssencmode": "disable",
    "require_auth": "scram-sha-256,md5,password,none",
}


def read_uri(uri: str, rules: ConnectionRules) -> tuple[dict[str, Any], str]:
    """What a URI says, as libpq's parameters, and its password apart from them; both are masked in logs from here on.

    :raises InvalidParams: when it is none, or says what it may not; its text is not repeated
    """
    mask_secret(uri)
    scheme = uri.split("://", 1)[0]
    if scheme not in ("postgresql", "postgres"):
        raise InvalidParams(f"db_connection: a URI begins with postgresql://, not with {scheme[:20]}://")
    if (why := strange(query_names(uri))) is not None:
        raise InvalidParams(f"db_connection: {why}")
    try:
        # libpq itself reads it: what a URI means is what libpq takes it for.
        given = {key: str(value) for key, value in conninfo_to_dict(uri).items() if value is not None}
    except (psycopg.Error, ValueError):
        raise InvalidParams(
            "db_connection: libpq cannot read this URI; write postgresql://user:password@host:port/database, "
            "special characters percent-encoded"
        ) from None
    if given.get("password"):
        mask_secret(given["password"])
    _check_parameters(given)
    _check_hosts(given.get("host", ""), rules)
    return given, given.pop("password", "")


def with_nothing_of_the_worker(given: dict[str, Any], *, password: str | None) -> dict[str, Any]:
    """The parameters, and those that keep libpq from adding what lies on the machine it runs on."""
    # Empty where the URI has none: where it is not said at all, libpq offers the worker's own.
    return {**given, **_NOTHING_OF_THE_WORKER, "password": password or ""}


def _check_parameters(given: dict[str, str]) -> None:
    for key, value in given.items():
        allowed = _ALLOWED.get(key)
        if allowed is None:
            raise InvalidParams(
                f"db_connection: a URI may not have the parameter {key}, which is about the machine that connects; "
                "leave it out, or store an Airflow connection and name that"
            )
        if not allowed.fullmatch(value):
            raise InvalidParams(f"db_connection: the URI's parameter {key} has a value that a URI may not have")


def _check_hosts(text: str, rules: ConnectionRules) -> None:
    """Refuse sockets of the worker, and hosts that the installation does not allow."""
    hosts = text.split(",")
    for host in hosts:
        if not host.strip():
            raise InvalidParams("db_connection: the URI names no host; write postgresql://user:password@host/database")
        named = any(fnmatchcase(host.lower(), glob.lower()) for glob in rules.uri_hosts)
        # "*" is for hosts: a socket has to be meant, or URIs be trusted as such (`allow_connection_uri`).
        meant = any(glob.startswith(host[0]) and fnmatchcase(host, glob) for glob in rules.uri_hosts)
        meant = meant or (rules.uri_allowed and not rules.uri_hosts)
        if (host.startswith(("/", "@", ".")) or "\\" in host) and not meant:
            raise InvalidParams(
                "db_connection: a URI may not name a socket of the machine that connects; name a host, or have the "
                "socket's directory in allowed_uri_hosts in [pgvector_backup]"
            )
        if rules.uri_hosts and not named:
            raise InvalidParams(
                "db_connection: the URI's host is not one of those that may be named "
                "(allowed_uri_hosts in [pgvector_backup])"
            )
