"""Runs of the command line that begin where its imports are done: a process that forks one for each line it reads.

Run as a script. A line is JSON: ``words``, ``environment`` and ``place``, a directory with a file ``in`` for its
standard input, where ``out`` and ``err`` are written. The answer is the child's wait status.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import pgvector_backup.cli.main

# What commands import where they call it.
import pgvector_backup.engine.backup
import pgvector_backup.engine.prune
import pgvector_backup.engine.truncate  # noqa: F401


def _become(order: dict[str, Any]) -> None:
    """Be what a shell would have started."""
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    place = Path(order["place"])
    for number, name in enumerate(("in", "out", "err")):
        opened = os.open(place / name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (as long as the process lives)
    sys.argv[1:] = order["words"]


def main() -> None:
    """Fork a command for each line."""
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            # Its end is the end of an interpreter, with all that belongs to one.
            runpy.run_module("pgvector_backup", run_name="__main__", alter_sys=True)
            return
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
