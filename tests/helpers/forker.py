"""Backups, restores and prunes in children of their own that are killed with -9 at a call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tests.helpers import dying
from tests.helpers.database import Database
from tests.helpers.house import House
from tests.helpers.python import environment


class Forker:
    """The process that lets them die; see :mod:`tests.helpers.dying` for what a call is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def backup(self, house: House, *, tables: str, now: datetime, call: int) -> int:
        """A backup that dies at a call of the file system; its wait status."""
        return self._run(house, house.database, story="backup", tables=tables, now=now.isoformat(), call=call)

    def restore(
        self,
        house: House,
        into: Database,
        request: dict[str, Any],
        *,
        call: int,
        half: bool,
        after_copies: bool = False,
    ) -> int:
        """A restore that dies at a call of the server; its wait status."""
        asked = {"backup_path": "vector_bak", "timestamp": "latest", "into_other_database": True} | request
        return self._run(house, into, story="restore", request=asked, call=call, half=half, after_copies=after_copies)

    def prune(self, house: House, *, now: datetime, call: int, **policy: Any) -> int:
        """A prune that dies at a call which changes something; its wait status."""
        return self._run(house, house.database, story="prune", policy=policy, now=now.isoformat(), call=call)

    def _run(self, house: House, database: Database, **order: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"uri": database.uri(), "root": str(house.root)} | order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def forking() -> Iterator[Forker]:
    """The process, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, dying.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    with process:
        yield Forker(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0
