"""Backups that die: a process that forks one for each line it reads, and kills it with -9 when asked to.

Run as a script. A line is JSON: ``uri``, ``root``, ``tables``, ``now``, ``call``; the answer is the child's status.
``call`` counts what the engine asks of the file system, from 1; a write dies half-way, anything else before it begins.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names

WATCHED = ("open", "write", "fsync", "rename", "unlink", "close", "mkdir")


def die_at(number: int) -> None:
    """Kill this process with -9 at the ``number``-th of the calls watched."""
    calls = itertools.count(1)

    def dying(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                if name == "write":
                    original(args[0], memoryview(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in WATCHED:
        setattr(os, name, dying(name, getattr(os, name)))


def run(order: dict[str, Any]) -> None:
    """Back up as ordered."""
    settings = Settings(backup_root=order["root"], tables=parse_names(order["tables"]), truncate_tables=(), jobs=1)
    die_at(order["call"])
    backup(
        BackupRequest(),
        settings,
        lambda: psycopg.connect(order["uri"]),
        now=datetime.fromisoformat(order["now"]),
    )


def main() -> None:
    """Fork a run for each line."""
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
