"""Backups onto a disk of a mebibyte or less, which no other process sees.

Run as a script with one argument, JSON, a list of orders: ``uri``, ``root``, ``tables``, ``disk`` ("tmpfs",
"read-only" or "limit"), ``size`` in bytes, ``filled`` in bytes, ``trust`` (not to ask for the space beforehand). A
child carries each out, on a disk of its own. Prints a line of JSON for each: what came of the backup, and of a second
one of ``then``, and the files after each.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections import namedtuple
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.store import local

_Usage = namedtuple("_Usage", "total used free")


def prepare(order: dict[str, Any]) -> None:
    """Make the disk small."""
    root, size = Path(order["root"]), order["size"]
    if order["disk"] == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - order["filled"],) * 2)
    else:
        # Read-only from the start: not every kernel lets an ordinary user's namespace remount.
        mode = "ro" if order["disk"] == "read-only" else "rw"
        mount("-t", "tmpfs", "-o", f"{mode},size={size}", "tmpfs", str(root))
        if order["filled"]:
            (root / "filler").write_bytes(b"x" * order["filled"])
    if order["trust"]:
        local.shutil.disk_usage = lambda path: _Usage(1 << 40, 0, 1 << 40)  # type: ignore[attr-defined]


def mount(*arguments: str) -> None:
    """Mount, in the namespace that this process has for itself."""
    subprocess.run(["mount", *arguments], check=True)


def run(order: dict[str, Any], tables: str) -> dict[str, Any]:
    """Back up; what came of it."""
    root = Path(order["root"])
    settings = Settings(backup_root=root, tables=parse_names(tables), truncate_tables=())
    try:
        result = backup(
            BackupRequest(), settings, lambda: psycopg.connect(order["uri"]), now=datetime.now(timezone.utc)
        )
        outcome: dict[str, Any] = {"result": result.to_json()}
        if result.failure is not None:
            outcome["error"] = result.failure.report()
    except BackupError as fault:
        outcome = {"error": fault.report()}
    directory = root / "vector_bak"
    files = sorted(directory.iterdir()) if directory.exists() else []
    return outcome | {"files": {path.name: path.stat().st_size for path in files}}


def main() -> None:
    """Do as the argument says."""
    for order in json.loads(sys.argv[1]):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                prepare(order)  # over the disk of the child before, if there was one
                print(json.dumps([run(order, order["tables"]), run(order, order["then"])]), flush=True)
                # Under a limit, this was the disk that all of them write to.
                shutil.rmtree(Path(order["root"], "vector_bak"), ignore_errors=True)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(1)


if __name__ == "__main__":
    main()
