"""A request to stop, heard by every connection that is at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, Protocol

import psycopg

from pgvector_backup.engine.base.errors import Cancelled

_CANCEL_SECONDS: Final = 3.0


class Cancellable(Protocol):
    """What has a query at work on a server, such as a psycopg connection."""

    def cancel_safe(self, *, timeout: float) -> None:
        """Cancel the query; any thread may call this."""


class Cancel:
    """Asked for once, from any thread or a signal handler; heard at every block and by the server's queries."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._watched: set[Cancellable] = set()

    @property
    def asked(self) -> bool:
        """Whether the work is to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Stop the work: cancel what runs on the server, and let nothing new begin.

        The cancelling has a thread of its own: a signal handler must not wait for a lock that the very
        thread it interrupted may hold.
        """
        self._asked.set()
        threading.Thread(target=self._cancel_queries, name="cancel", daemon=True).start()

    def check(self) -> None:
        """Go on only if nobody has asked.

        :raises Cancelled: otherwise
        """
        if self.asked:
            raise Cancelled("cancelled on request; nothing of this run is left on disk")

    def wait(self, seconds: float) -> None:
        """Sleep, unless the work is to stop.

        :raises Cancelled: when it is
        """
        if seconds > 0:
            self._asked.wait(seconds)
        self.check()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let whatever `pause`s inside the block, however deep, hear of it."""
        before = _heard.set(self)
        try:
            yield
        finally:
            _heard.reset(before)

    @contextmanager
    def watching(self, conn: Cancellable) -> Iterator[None]:
        """Cancel this one's query too, should it be asked for inside the block."""
        with self._lock:
            self._watched.add(conn)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._watched.discard(conn)

    def _cancel_queries(self) -> None:
        with self._lock:
            watched = list(self._watched)
        for conn in watched:
            with suppress(psycopg.Error):
                conn.cancel_safe(timeout=_CANCEL_SECONDS)


_heard: Final[ContextVar[Cancel | None]] = ContextVar("heard", default=None)


def pause(seconds: float) -> None:
    """Wait for others; the run whose story this is may be asked to stop meanwhile.

    For what waits far below the story that a request to stop is made to: for a lock of a file, for an object's turn.

    :raises Cancelled: when it is, see `Cancel.heard`
    """
    cancel = _heard.get()
    if cancel is None:
        time.sleep(seconds)
    else:
        cancel.wait(seconds)
