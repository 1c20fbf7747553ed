"""Something that another connection does exactly when a story has come to a certain statement."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from pgvector_backup.engine.postgres.session import Connect
from tests.helpers.database import Database
from tests.helpers.house import House


def said_to_server(connect: Connect, see: Callable[[str, str], None]) -> Connect:
    """Connections that tell of every statement ``before`` and ``after`` it: that word, and its text."""

    class Seen(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **more: Any) -> Any:
            text = _text(query, self.connection)
            see("before", text)
            super().execute(query, *args, **more)
            see("after", text)
            return self

        @contextmanager
        def copy(self, statement: Any, *args: Any, **more: Any) -> Iterator[Any]:
            text = _text(statement, self.connection)
            see("before", text)
            with super().copy(statement, *args, **more) as copying:
                yield copying
            see("after", text)

    def connected() -> psycopg.Connection[Any]:
        conn = connect()
        conn.cursor_factory = Seen
        return conn

    return connected


def at_statement(
    house: House, pattern: str, action: Callable[[], object], *, when: str = "before", number: int = 1
) -> threading.Event:
    """Call ``action`` once, before or after the ``number``-th statement of the house's stories that fits.

    :param pattern: a regular expression, found anywhere in the statement's text
    :return: set once that has happened
    """
    happened = threading.Event()
    lock = threading.Lock()
    seen = 0

    def see(moment: str, text: str) -> None:
        nonlocal seen
        if moment != when or happened.is_set() or not re.search(pattern, text):
            return
        with lock:
            seen += 1
            if seen == number:
                action()
                happened.set()

    house.connect = said_to_server(house.database.connect, see)
    return happened


def kept_out(database: Database, statement: str) -> bool:
    """Whether a lock keeps another connection from executing a statement now."""
    with psycopg.connect(database.uri(), autocommit=True) as conn:
        conn.execute("SET lock_timeout = '50ms'")
        try:
            conn.execute(statement.encode())
        except psycopg.errors.LockNotAvailable:
            return True
        return False


def wait_until_kept_waiting(database: Database, table: str) -> None:
    """Until somebody waits for a lock on this table."""
    deadline = time.monotonic() + 60
    waiting = f"SELECT 1 FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    while not database.run(waiting):
        assert time.monotonic() < deadline, f"nobody waits for {table}"
        time.sleep(0.01)


def _text(query: Any, conn: psycopg.Connection[Any]) -> str:
    if isinstance(query, sql.Composable):
        return query.as_string(conn)
    return query.decode() if isinstance(query, bytes) else str(query)
