"""Processes that use a store: one that forks a child for each line it reads, and tells how that ended.

Run as a script. A line is JSON: ``environment``, and ``do``, the name of one of the functions below, with what it
takes. The answer is the child's process id on one line and its wait status on the next.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from datetime import datetime, timezone
from typing import Any

import psycopg

from pgvector_backup.engine.backup import backup as back_up
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.codec import vector_text
from pgvector_backup.engine.contract.requests import BackupRequest, CopyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.copy_sets import copy as copy_sets
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.store import object_writer, remote  # noqa: F401 (loaded once, not in each child)
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


class Others:
    """The children of one line, who can begin at one moment, and wait for each other's end."""

    def __init__(self) -> None:
        self._ready, self._be_ready = os.pipe()
        self._gate, self._open = os.pipe()
        self._end, self._living = os.pipe()

    def let_begin(self, count: int) -> None:
        """In their parent: open the gate when all are there, or have ended on the way."""
        for descriptor in (self._be_ready, self._gate, self._end, self._living):
            os.close(descriptor)
        while count and (there := os.read(self._ready, count)):
            count -= len(there)
        os.close(self._ready)
        os.close(self._open)

    def wait_to_begin(self) -> None:
        """In each of them."""
        os.close(self._open)
        os.write(self._be_ready, b".")
        os.close(self._be_ready)
        os.read(self._gate, 1)

    def wait_for_end(self) -> None:
        """In one of them: until there is none that lives and does not wait like this."""
        os.close(self._living)
        os.read(self._end, 1)


def claim(*, root: str, now: str, others: Others) -> int:
    """Claim one id at the same moment as all others."""
    location = locate(root, None, "vector_bak")
    location.store.is_conditional()  # type: ignore[attr-defined]
    others.wait_to_begin()
    try:
        if location._leases.attempt(now) is None:
            return LOST
    except Conflict:
        return REFUSED
    # Of a winner that is dead the next one may rightly take the place: it lives until all others have tried.
    others.wait_for_end()
    return WON


def main() -> None:
    """Fork for each line; several lines at once run at once."""
    # Imported once, not in each child; nor does a child's collector go through what was there before it.
    vector_text.packages()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        orders: list[dict[str, Any]] = json.loads(line)
        others = Others()
        children = []
        for order in orders:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    os.environ.update(order.pop("environment"))
                    if (story := order.pop("do")) == "claim":
                        order["others"] = others
                    code = globals()[story](**order)
                finally:
                    os._exit(code)
            children.append(child)
        print(json.dumps(children), flush=True)
        others.let_begin(len(children))
        print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)


if __name__ == "__main__":
    main()
