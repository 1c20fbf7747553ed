"""A backup that waits to be killed once a process of its own has begun to read, whose id it prints."""

from __future__ import annotations

import sys
import threading
from datetime import datetime, timezone

import psutil
import psycopg
import pytest

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names
from tests.helpers.apart import at_block_of_process


def main(uri: str, root: str) -> None:
    """Back up into a directory."""

    def wait(process: psutil.Process) -> None:
        print(process.pid, flush=True)
        threading.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        at_block_of_process(patch, 3, wait)
        backup(
            BackupRequest(),
            Settings(backup_root=root, tables=parse_names("wide"), truncate_tables=(), jobs=2),
            lambda: psycopg.connect(uri),
            now=datetime.now(timezone.utc),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
