"""Questions that a server may leave open: the function may be forbidden, or raise as Aurora's do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg import Connection

_log: Final = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


def is_standby(conn: Connection[Any]) -> bool:
    """Whether a server replays another one's log; where it may not be asked, it has said so by itself."""
    row = told(conn, lambda: conn.execute("SELECT pg_is_in_recovery()").fetchone())
    return conn.info.parameter_status("in_hot_standby") == "on" if row is None else bool(row[0])


def told(conn: Connection[Any], ask: Callable[[], _Answer]) -> _Answer | None:
    """What a server says of itself; None where it does not. The transaction goes on either way.

    :param ask: asks over that connection
    :raises psycopg.Error: when the connection is lost, or the question was cancelled
    """
    try:
        with conn.transaction():
            return ask()
    except psycopg.Error as fault:
        if conn.broken or isinstance(fault, psycopg.errors.QueryCanceled):
            raise
        _log.debug("the server does not tell: %s", fault)
        return None
