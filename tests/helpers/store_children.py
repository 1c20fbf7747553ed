"""Processes that use a store: one that forks a child for each line it reads, and tells how that ended.

Run as a script. A line is JSON: ``environment``, and ``do``, the name of one of the functions below, with what it
takes. The answer is the child's process id on one line and its wait status on the next.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime, timezone
from typing import Any

import obstore  # noqa: F401 (so that it is loaded once; nothing of it runs before the fork)
import psycopg

from pgvector_backup.engine.backup import backup as back_up
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.contract.requests import BackupRequest, CopyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.copy_sets import copy as copy_sets
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.store import object_writer
from pgvector_backup.engine.store.root import locate

WON, LOST, REFUSED = 0, 10, 11


def backup(*, uri: str, root: str, tables: str, now: str) -> int:
    """Back up, with parts that are small enough for a test's tables to need several."""
    object_writer._SMALLEST_PART = 5 << 20
    settings = Settings(backup_root=root, tables=parse_names(tables), truncate_tables=(), jobs=1)
    back_up(BackupRequest(), settings, lambda: psycopg.connect(uri), now=datetime.fromisoformat(now))
    return 0


def copy(*, root: str, to: str) -> int:
    """Copy the newest set, likewise."""
    object_writer._SMALLEST_PART = 5 << 20
    settings = Settings(backup_root=root, copy_roots=(to,))
    result = copy_sets(CopyRequest(backup_path="vector_bak"), settings, now=datetime.now(timezone.utc))
    return 0 if result.failure is None else 1


AS_LONG_AS_ALL_TRY = 8.0


def claim(*, root: str, at: float, now: str) -> int:
    """Claim one id at a moment."""
    location = locate(root, None, "vector_bak")
    location.store.is_conditional()  # type: ignore[attr-defined]
    time.sleep(max(0.0, at - time.time()))
    try:
        if location._leases.attempt(now) is None:
            return LOST
    except Conflict:
        return REFUSED
    # Of a winner that is dead the next one may rightly take the place: it lives until all others have tried.
    time.sleep(max(0.0, at + AS_LONG_AS_ALL_TRY - time.time()))
    return WON


def main() -> None:
    """Fork for each line; several lines at once run at once."""
    for line in sys.stdin:
        orders: list[dict[str, Any]] = json.loads(line)
        children = []
        for order in orders:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    os.environ.update(order.pop("environment"))
                    code = globals()[order.pop("do")](**order)
                finally:
                    os._exit(code)
            children.append(child)
        print(json.dumps(children), flush=True)
        print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)


if __name__ == "__main__":
    main()
