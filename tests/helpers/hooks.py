"""Something that happens exactly when the n-th block of a backup is about to be written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from pgvector_backup.engine.sets.blocks import Block, BlockFile
from tests.helpers.database import Database

WIDE = (
    "CREATE TABLE wide (id int PRIMARY KEY, embedding vector(8), document text);"
    "INSERT INTO wide SELECT n, '[1,2,3,4,5,6,7,8]', repeat(md5(n::text), 64) FROM generate_series(1, {rows}) AS n"
)
"""A table of about 2 KB a row, so of about ``rows`` / 500 blocks."""


def at_block(
    monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object], *, file: str = "wide_"
) -> None:
    """Call ``action`` once, in the thread that is about to write the ``number``-th block of rows of a file.

    Nobody else writes a block of that file meanwhile: a reader that went on could have come to its end, and then not
    miss what ``action`` took from it.
    """
    append = BlockFile.append
    lock = threading.Lock()
    seen = 0

    def counting(self: BlockFile, block: Block) -> None:
        nonlocal seen
        if block.rows and self.staged.name.startswith(file):
            with lock:
                seen += 1
                if seen == number:
                    action()
        append(self, block)

    monkeypatch.setattr(BlockFile, "append", counting)


def terminate(database: Database, condition: str, *, limit: int = 100) -> int:
    """End backends of the database on the server, as an administrator would, and wait until they are gone."""
    found = database.run(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        f" AND {condition} ORDER BY pid LIMIT {limit}"
    )
    pids = [row[0] for row in found]
    database.run("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [pids])
    deadline = time.monotonic() + 10
    while database.run("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]):
        assert time.monotonic() < deadline, "a backend does not end"
        time.sleep(0.005)
    return len(pids)


WORKERS = "query LIKE 'COPY %' AND state = 'active'"
LEADER = "state = 'idle in transaction' AND query NOT LIKE 'COPY %'"
EVERYBODY = "true"


def activity(database: Database) -> list[str]:
    """What the server still does for anybody else in this database."""
    rows = database.run(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND query NOT LIKE '%pg_stat_activity%'"
    )
    return [row[0] for row in rows]
