"""One lease: an object that its holder keeps fresh, and how others tell whether it does.

What was not renewed for `DEAD_AFTER` seconds, by the store's own clock, is dead; a holder that was a process of this
very system and has ended is known to be dead at once.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pgvector_backup.engine.base.errors import BackupError, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.store import liveness
from pgvector_backup.engine.store.naming import STAGED
from pgvector_backup.engine.store.remote import RemoteStore, Version
from pgvector_backup.engine.store.store import Entry

_log: Final = logging.getLogger(__name__)

BEAT: Final = 20.0
"""Seconds between two renewals of a lease."""

DEAD_AFTER: Final = 180.0
"""Seconds without a renewal after which a lease is nobody's."""

LEASE_BYTES: Final = 1 << 16
"""A lease is not longer; what is, is none of ours."""

TAKEN_OVER: Final = b'{"taken_over"'
"""How a claim begins whose run was found dead: it cannot be renewed any more."""


class Renewal:
    """Renews a lease every `BEAT` seconds in a thread of its own, until it is ended or lost."""

    def __init__(self, renew: Callable[[int], bool]) -> None:
        self._renew = renew
        self._ended = threading.Event()
        self._renewing = threading.Lock()
        self._beats = 0
        self._last = time.monotonic()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Renew it now.

        :raises StorageFault: when it has been taken over by a run that found it dead, or the store does not answer
        """
        with self._renewing:
            if not self._lost:
                self._beats += 1
                self._lost = not self._renew(self._beats)
            if self._lost:
                raise StorageFault(
                    "the store was out of reach for so long that another run took this one for dead and removed what "
                    "it had written; run again"
                )
            self._last = time.monotonic()

    def require_fresh(self) -> None:
        """Refuse to go on where the last renewal is so long ago that others may soon take the lease for dead."""
        if time.monotonic() - self._last > DEAD_AFTER / 2:
            self.renew()

    def end(self) -> bool:
        """Stop; nothing is renewed after this returns.

        :return: whether the lease is still one's own, as far as is known
        """
        self._ended.set()
        with self._renewing:
            own, self._lost = not self._lost, True
        return own

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.renew()
            except BackupError as fault:
                if self._lost:
                    return
                _log.warning("a lease could not be renewed, it is tried again: %s", fault.message)


def lives(store: RemoteStore, lease: Entry, now: float) -> bool:
    """Whether somebody still renews it, as far as can be told."""
    if lease.modified and now - lease.modified > DEAD_AFTER:
        return False
    try:
        content, _ = store.read(lease.name, limit=LEASE_BYTES)
    except NotFound:
        return False
    except IntegrityFault:  # nobody of us wrote that; it is as old as it is
        return bool(lease.modified)
    if content.startswith(TAKEN_OVER) or liveness.is_known_dead(content):
        return False
    if lease.modified:
        return True
    # The store does not tell when it was written; its holder does, by another clock.
    when = liveness.written(content)
    return when is not None and time.time() - when <= DEAD_AFTER


def take_over(store: RemoteStore, claim: str, content: bytes) -> Version | None:
    """Lock out the run that made a claim which can be renewed conditionally, by writing something else in its place.

    :return: None when it has shown itself alive, or somebody else has taken it over
    :raises IntegrityFault: when it is none of ours
    """
    try:
        there, version = store.read(claim, limit=LEASE_BYTES)
    except NotFound:
        return None
    entry = store.entry(claim)
    if entry is None or (not there.startswith(TAKEN_OVER) and lives(store, entry, clock(store))):
        return None
    return store.replace(claim, content, version)


def clock(store: RemoteStore) -> float:
    """The store's time: what it says of an object written just now."""
    token = secrets.token_hex(8)
    name = f"clock_0{token}.json{STAGED}"
    store.put(name, liveness.signature(token, 0))
    try:
        entry = store.entry(name)
        return time.time() if entry is None or not entry.modified else entry.modified
    finally:
        with suppress(BackupError):
            store.delete(name)
