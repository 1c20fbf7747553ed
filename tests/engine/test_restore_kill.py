"""A restore killed with -9 at each of its steps: the target is as before, or the restore was committed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Database
from tests.engine import dying_restore
from tests.engine.conftest import House
from tests.engine.test_restore_round_trip import PAIR, definitions

MOST_STEPS = 400
HNSW = "CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)"


class Dying:
    """The process that lets restores die."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, dying_restore.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def run(self, house: House, into: Database, request: dict[str, Any], call: int, *, half: bool) -> int:
        """A restore that dies at a call; its wait status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "uri": into.uri(),
            "root": str(house.root),
            "request": {"backup_path": "vector_bak", "timestamp": "latest"} | request,
            "call": call,
            "half": half,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=30) == 0
        self._process.stdout.close()


@pytest.fixture
def dying() -> Iterator[Dying]:
    process = Dying()
    yield process
    process.end()


def settled(database: Database) -> None:
    """Wait until the server has noticed that its client is gone."""
    deadline = time.monotonic() + 20
    while database.run(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ):
        assert time.monotonic() < deadline, "a backend does not end"
        time.sleep(0.005)


def state(database: Database, tables: bool) -> Any:
    if not tables:
        return definitions(database), None
    digests = [
        database.run(f"SELECT count(*), md5(string_agg(r::text, '|' ORDER BY r::text)) FROM {table} r")
        for table in PAIR
    ]
    return definitions(database), digests


REPLACE = {"truncate_before_restore": True}
UPDATE = {"on_conflict": "update", "rename_collection": {"collection 1": "copy"}}


@pytest.mark.parametrize(
    ("request_", "half"),
    [(REPLACE, False), (REPLACE, True), (UPDATE, True)],
    ids=["replace, before a step", "replace, half-way through it", "update, half-way through it"],
)
def test_killed_at_every_step(house: House, dying: Dying, request_: dict[str, Any], half: bool) -> None:
    house.langchain(150)
    house.database.run(HNSW)
    house.backup(compression="zstd")
    house.database.run("UPDATE langchain_pg_embedding SET document = 'since' WHERE id LIKE '%3'")
    house.database.run("DELETE FROM langchain_pg_embedding WHERE id LIKE '%7'")
    before = state(house.database, tables=True)
    killed = 0
    for call in range(1, MOST_STEPS):
        status = dying.run(house, house.database, request_, call, half=half)
        settled(house.database)
        now = state(house.database, tables=True)
        if now != before:
            break
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
    else:
        raise AssertionError("the restore never ended")
    assert killed > 20
    # The step that changed something was the last one: the commit, or the one after.
    assert status == 0 or half
    assert now[0] == before[0]
    assert house.database.run("SELECT 1 FROM langchain_pg_embedding WHERE document = 'since'") == []
    # What was killed holds nothing up.
    house.restore(truncate_before_restore=True)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_killed_while_everything_is_made_anew(
    house: House, elsewhere: Database, dying: Dying, file_format: str
) -> None:
    house.langchain(60)
    house.backup(file_format=file_format)
    shape, rows = state(house.database, tables=True)
    for call in range(1, MOST_STEPS):
        status = dying.run(house, elsewhere, {}, call, half=call % 2 == 1)
        settled(elsewhere)
        if definitions(elsewhere):
            break
        assert elsewhere.run("SELECT 1 FROM pg_extension WHERE extname = 'vector'") == []
        assert os.WIFSIGNALED(status)
    else:
        raise AssertionError("the restore never ended")
    assert call > 20
    assert state(elsewhere, tables=True) == (shape, rows)
