"""A restore killed with -9 at each of its steps: the target is as before, or the restore was committed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from tests.helpers.database import DEFINITIONS, Database, alone
from tests.helpers.forker import Forker, forking
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MOST_STEPS = 400
HNSW = "CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)"


@pytest.fixture
def forker() -> Iterator[Forker]:
    with forking() as running:
        yield running


@contextmanager
def watched(database: Database) -> Iterator[Connection[Any]]:
    """One connection to look with, for to open one takes longer than to look."""
    with psycopg.connect(database.uri(), autocommit=True) as conn:
        yield conn


def definitions(conn: Connection[Any]) -> list[Any]:
    return conn.execute(DEFINITIONS).fetchall()


def state(conn: Connection[Any]) -> Any:
    digest = "SELECT '{0}', count(*), md5(string_agg(r::text, '|' ORDER BY r::text)) FROM {0} r"
    rows = conn.execute((" UNION ALL ".join(map(digest.format, PAIR)) + " ORDER BY 1").encode())
    return definitions(conn), rows.fetchall()


REPLACE = {"truncate_before_restore": True}
ALL = [f"collection {n}" for n in range(1, 5)]
UPDATE = {"on_conflict": "update", "collections": ALL, "rename_collection": {"collection 1": "copy"}}


@pytest.mark.parametrize(
    ("request_", "half"),
    [(REPLACE, False), (REPLACE, True), (UPDATE, True)],
    ids=["replace, after a part of a copy", "replace, half-way through it", "update, half-way through it"],
)
def test_killed_at_every_step(house: House, forker: Forker, request_: dict[str, Any], half: bool) -> None:
    house.langchain(150)
    house.database.run(HNSW)
    house.backup(compression="zstd")
    house.database.run("UPDATE langchain_pg_embedding SET document = 'since' WHERE id LIKE '%3'")
    house.database.run("DELETE FROM langchain_pg_embedding WHERE id LIKE '%7'")
    killed = 0
    with watched(house.database) as conn:
        before = state(conn)
        for call in range(1, MOST_STEPS):
            status = forker.restore(house, house.database, request_, call=call, half=half, after_copies=not half)
            alone(conn)
            now = state(conn)
            if now != before:
                break
            assert os.WIFSIGNALED(status)
            assert os.WTERMSIG(status) == signal.SIGKILL
            killed += 1
        else:
            raise AssertionError("the restore never ended")
    assert killed > (20 if half else 5)
    # The step that changed something was the last one: the commit, or the one after.
    assert status == 0 or half
    assert now[0] == before[0]
    assert house.database.run("SELECT 1 FROM langchain_pg_embedding WHERE document = 'since'") == []
    # What was killed holds nothing up.
    house.restore(truncate_before_restore=True)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_killed_while_everything_is_made_anew(
    house: House, elsewhere: Database, forker: Forker, file_format: str
) -> None:
    house.langchain(60)
    house.backup(file_format=file_format)
    with watched(house.database) as conn:
        wanted = state(conn)
    with watched(elsewhere) as conn:
        for call in range(1, MOST_STEPS):
            status = forker.restore(house, elsewhere, {}, call=call, half=call % 2 == 1)
            alone(conn)
            if definitions(conn):
                break
            assert conn.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchall() == []
            assert os.WIFSIGNALED(status)
        else:
            raise AssertionError("the restore never ended")
        assert call > 20
        assert state(conn) == wanted
