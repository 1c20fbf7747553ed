"""libpq's parameters: what is assumed of a connection, and whose words they are when they are not libpq's."""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from psycopg import pq

from pgvector_backup.engine.postgres.session import CONNECT_SECONDS

# What the connection, the environment or a service says wins. Keepalives tell a dead server from a slow one within a
# minute or so. Python does not know every encoding that a database may have.
_DEFAULTS: Final[Mapping[str, str | int]] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "pgvector_backup",
    "client_encoding": "UTF8",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_VARIABLES: Final = {
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "application_name": "PGAPPNAME",
    "client_encoding": "PGCLIENTENCODING",
}

_OF_OTHERS: Final = {
    "Prisma": {
        "schema",
        "connection_limit",
        "pool_timeout",
        "pgbouncer",
        "socket_timeout",
        "sslaccept",
        "sslidentity",
        "statement_cache_size",
        "single_use_connections",
    },
    "asyncpg": {
        "ssl",
        "command_timeout",
        "timeout",
        "server_settings",
        "prepared_statement_cache_size",
        "min_size",
        "max_size",
        "max_cached_statement_lifetime",
        "max_cacheable_statement_size",
        "prepared_statement_name_func",
        "direct_tls",
    },
    "JDBC": {
        "currentSchema",
        "loginTimeout",
        "socketTimeout",
        "prepareThreshold",
        "reWriteBatchedInserts",
        "sslfactory",
        "ApplicationName",
        "targetServerType",
        "loadBalanceHosts",
        "stringtype",
    },
    "node-postgres": {"uselibpqcompat", "query_timeout", "idle_in_transaction_session_timeout"},
    "SQLAlchemy": {"async_fallback", "charset", "driver"},
    "Rails": {"pool", "encoding", "prepared_statements", "reaping_frequency", "checkout_timeout"},
}
_REMEDIES: Final = {
    "schema": "name the schema in `tables`",
    "currentSchema": "name the schema in `tables`",
    "ssl": "write sslmode",
    "sslaccept": "write sslmode",
    "timeout": "write connect_timeout",
    "loginTimeout": "write connect_timeout",
    "server_settings": "write options=-c name=value",
}


def with_defaults(given: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A connection's parameters, and what is assumed where neither they nor libpq's own places say anything."""
    service = given.get("service") or environment.get("PGSERVICE")
    said = _of_service(str(service), given, environment) if service else {}
    assumed = {
        name: value
        for name, value in _DEFAULTS.items()
        if name not in said and not environment.get(_VARIABLES.get(name, ""))
    }
    # psycopg itself minds the time, and knows nothing of services.
    return {**assumed, **{name: value for name, value in said.items() if name == "connect_timeout"}, **given}


def strange(names: Iterable[str]) -> str | None:
    """Name the parameters that libpq does not know, whose they are as a rule, and what to write instead.

    :return: None where it knows all of them
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if not unknown:
        return None
    whose = [tool for tool, words in _OF_OTHERS.items() if words & set(unknown)]
    remedies = list(dict.fromkeys(_REMEDIES[name] for name in unknown if name in _REMEDIES))
    return "; ".join(
        [
            f"libpq knows no parameter {', '.join(unknown)}{f' (of {whose[0]})' if whose else ''}",
            *remedies,
            "leave it out" if not remedies else "and leave it out",
        ]
    )


def query_names(uri: str) -> list[str]:
    """The parameters that a URI names behind its question mark; none where it cannot be read."""
    try:
        return [name for name, _ in parse_qsl(urlsplit(uri).query, keep_blank_values=True)]
    except ValueError:
        return []


def _of_service(service: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """What a service sets, from the first of libpq's two files that has it."""
    own = given.get("servicefile") or environment.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf"
    everybody = Path(environment.get("PGSYSCONFDIR") or "/etc/postgresql-common") / "pg_service.conf"
    for path in (Path(own), everybody):
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        if parser.has_section(service):
            return dict(parser.items(service))
    return {}
