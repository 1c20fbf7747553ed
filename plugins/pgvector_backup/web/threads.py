"""Threads of our own for what blocks, so that our routes never take those that Airflow's own routes wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, Final, Generic, ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE: Final = 12
"""Threads that all our routes together may take; further requests wait without one."""

_TIMES_AT_MOST: Final = 10.0

_limiter: Final[RunVar[CapacityLimiter]] = RunVar("pgvector_backup_threads")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that blocks, in one of our threads."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), limiter=limiter)


def threaded(route: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """A route that blocks, as one that FastAPI need find no thread for."""

    @wraps(route)
    async def threaded_route(*args: P.args, **kwargs: P.kwargs) -> T:
        return await in_thread(route, *args, **kwargs)

    return threaded_route


class Shared(Generic[T]):
    """One look at a time for all who ask at once, however many they are; kept for some seconds.

    :param seconds: how long what was seen counts as what is
    :param times: that many times as long as the look took it counts at least, but never longer than 10 s: whoever asks
        without a pause costs a share of the time, whatever there is to look at
    :param patience: seconds after which nobody waits for a look any longer; it goes on, and ends as it ends
    """

    def __init__(self, *, seconds: float = 0.0, times: float = 0.0, patience: float | None = None) -> None:
        self._seconds = seconds
        self._times = times
        self._patience = patience
        self._seen: tuple[Any, float, T] | None = None
        """What was looked at, until when what was seen counts, and what it was."""
        self._going: tuple[Any, float, asyncio.Task[T]] | None = None

    async def get(self, key: Any, look: Callable[[], T]) -> T:
        """What `look` finds, or has found a moment ago.

        :param key: what the look is at; what was seen of another one is not reused
        :raises TimeoutError: when it takes longer than the patience
        """
        if self._seen is not None and self._seen[0] == key and time.monotonic() < self._seen[1]:
            return self._seen[2]
        going = self._going
        if going is None or going[0] != key or going[2].done() or going[2].get_loop() is not asyncio.get_running_loop():
            going = self._going = key, time.monotonic(), asyncio.create_task(self._look(key, look))
        left = None if self._patience is None else max(self._patience - (time.monotonic() - going[1]), 0)
        return await asyncio.wait_for(asyncio.shield(going[2]), left)

    async def _look(self, key: Any, look: Callable[[], T]) -> T:
        began = time.monotonic()
        seen = await in_thread(look)
        took = time.monotonic() - began
        self._seen = key, began + took + max(self._seconds, min(took * self._times, _TIMES_AT_MOST)), seen
        return seen
