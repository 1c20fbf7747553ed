"""From Airflow's ``AIRFLOW_CONN_…`` to what an object store wants to know, without Airflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.store.options import StorageOptions, from_connection

_log: Final = logging.getLogger(__name__)


def options_of(connection_id: str, environment: Mapping[str, str]) -> StorageOptions:
    """What ``AIRFLOW_CONN_…`` says of a store; where it is not set, what the store's own variables say.

    :raises InvalidParams: when it cannot be read, or is not of a store; nothing of it is repeated
    """
    variable = f"AIRFLOW_CONN_{connection_id.upper()}"
    stored = environment.get(variable)
    if not stored:
        _log.info("%s is not set, so the environment's own credentials are used", variable)
        return StorageOptions()
    try:
        body = json.loads(stored) if stored.lstrip().startswith("{") else _of_uri(stored)
        extra = body.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        words = {key: body.get(key) or None for key in ("login", "password", "host")}
        conn_type = str(body["conn_type"]).replace("-", "_")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise InvalidParams(f"{variable}: neither a URI nor Airflow's JSON of a connection") from None
    return from_connection(conn_type, **words, extra=extra)


def _of_uri(uri: str) -> dict[str, Any]:
    """Airflow writes each part percent-encoded, and what is in `extra` as the query, or whole as ``__extra__``."""
    parts = urlsplit(uri)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    authority = parts.netloc.rpartition("@")[2]
    return {
        "conn_type": parts.scheme,
        "login": None if parts.username is None else unquote(parts.username),
        "password": None if parts.password is None else unquote(parts.password),
        "host": unquote(authority),
        "extra": query.get("__extra__") or query,
    }
