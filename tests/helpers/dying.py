"""Backups, restores and prunes that die: a process forks one for each line it reads, and kills it with -9 where told.

Run as a script. A line is JSON: ``story``, ``uri``, ``root``, ``call``, for a backup ``tables`` and ``now``, for a
restore ``request``, ``half`` and ``after_copies``, for a prune ``policy`` and ``now``. The answer is the child's wait
status.

``call`` counts from 1. For a backup, what the engine asks of the file system: a write dies half-way, anything else
before it begins. For a restore, what the engine asks of the server, a statement or a part of a COPY: it dies before
that, or with ``half`` after a statement was answered or half of a COPY's part was sent. With ``after_copies`` those
calls alone are counted that do not follow a statement: to die before one that does is to die with ``half`` of that.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import psycopg

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.codec import vector_text
from pgvector_backup.engine.contract.requests import BackupRequest, PruneRequest, RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.prune import prune
from pgvector_backup.engine.restore import restore

CHANGES = ("write", "fsync", "rename", "unlink")
"""Of a prune, which reads a great deal, those calls that change something are counted alone."""

FILE_CALLS = ("open", "write", "fsync", "rename", "unlink", "close", "mkdir")
SERVER_CALLS = (
    (psycopg.Cursor, "execute"),
    (psycopg.Copy, "write"),
    (psycopg.Copy, "__exit__"),
    (psycopg.Copy, "__iter__"),
)


def _die_at_file_call(number: int, names: tuple[str, ...] = FILE_CALLS) -> None:
    calls = itertools.count(1)

    def dying(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                if name == "write":
                    original(args[0], memoryview(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in names:
        setattr(os, name, dying(name, getattr(os, name)))


def _die_at_server_call(number: int, *, half: bool, after_copies: bool) -> None:
    calls = itertools.count(1)
    last = ""

    def dying(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal last
            before, last = last, name
            if not (after_copies and before == "execute") and next(calls) == number:
                if half and name == "execute":
                    original(self, *args, **kwargs)
                elif half and name == "write":
                    original(self, bytes(args[0])[: len(args[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *args, **kwargs)

        return call

    for owner, name in SERVER_CALLS:
        setattr(owner, name, dying(name, getattr(owner, name)))


def _back_up(order: dict[str, Any]) -> None:
    settings = Settings(backup_root=order["root"], tables=parse_names(order["tables"]), truncate_tables=(), jobs=1)
    _die_at_file_call(order["call"])
    backup(
        BackupRequest(),
        settings,
        lambda: psycopg.connect(order["uri"]),
        now=datetime.fromisoformat(order["now"]),
    )


def _restore(order: dict[str, Any]) -> None:
    _die_at_server_call(order["call"], half=order["half"], after_copies=order["after_copies"])
    restore(
        RestoreRequest.from_mapping(order["request"]),
        Settings(backup_root=order["root"]),
        lambda: psycopg.connect(order["uri"]),
        now=datetime.now(timezone.utc),
    )


def _prune(order: dict[str, Any]) -> None:
    settings = Settings(backup_root=order["root"], **order["policy"])
    _die_at_file_call(order["call"], CHANGES)
    prune(PruneRequest(force=True), settings, now=datetime.fromisoformat(order["now"]))


STORIES = {"backup": _back_up, "restore": _restore, "prune": _prune}


def main() -> None:
    """Fork a run for each line."""
    # Imported once, not in each child; nor does a child's collector go through what was there before it.
    vector_text.packages()
    import zstandard  # noqa: F401

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                STORIES[order["story"]](order)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
