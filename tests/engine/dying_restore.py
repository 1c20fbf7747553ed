"""Restores that die: a process that forks one for each line it reads, and kills it with -9 when asked to.

Run as a script. A line is JSON: ``uri``, ``root``, ``request``, ``call``, ``half``; the answer is the child's status.
``call`` counts what the engine asks of the server, from 1: a statement, or a part of a COPY. It dies before that, or
with ``half`` after a statement was answered or half of a COPY's part was sent.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import psycopg

from pgvector_backup.engine.codec import vector_text
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.restore import restore

WATCHED = ((psycopg.Cursor, "execute"), (psycopg.Copy, "write"), (psycopg.Copy, "__exit__"), (psycopg.Copy, "__iter__"))


def die_at(number: int, *, half: bool) -> None:
    """Kill this process with -9 at the ``number``-th of the calls watched."""
    calls = itertools.count(1)

    def dying(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                if half and name == "execute":
                    original(self, *args, **kwargs)
                elif half and name == "write":
                    original(self, bytes(args[0])[: len(args[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *args, **kwargs)

        return call

    for owner, name in WATCHED:
        setattr(owner, name, dying(name, getattr(owner, name)))


def run(order: dict[str, Any]) -> None:
    """Restore as ordered."""
    die_at(order["call"], half=order["half"])
    restore(
        RestoreRequest.from_mapping(order["request"]),
        Settings(backup_root=order["root"]),
        lambda: psycopg.connect(order["uri"]),
        now=datetime.now(timezone.utc),
    )


def main() -> None:
    """Fork a run for each line."""
    vector_text.packages()  # imported once, not in each child
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
