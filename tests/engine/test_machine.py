"""Writes, backups, truncates, restores and kills in any order: nothing is ever lost that a model says is safe."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pgvector_backup.engine.base.errors import Conflict
from tests.helpers import langchain
from tests.helpers.apart import read_apart
from tests.helpers.database import settled
from tests.helpers.forker import Forker, forking
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

EXAMPLES = 30
STEPS = 20

SCHEMA = f"""
DROP TABLE IF EXISTS langchain_pg_embedding, langchain_pg_collection;
{langchain.schema(3)}
CREATE INDEX by_l2 ON langchain_pg_embedding USING hnsw (embedding vector_l2_ops);
"""
DOCUMENTS = ("", "plain", 'with "quotes", commas', "two\nlines\r\n\\.", "第一页 😀", None)
KINDS = st.fixed_dictionaries(
    {
        "file_format": st.sampled_from(["csv", "binary"]),
        "compression": st.sampled_from(["none", "zstd", "gzip"]),
    }
)

Rows = dict[str, tuple[Any, ...]]
"""What the tables hold: collections by ``c`` and name, embeddings by ``e`` and id."""


@pytest.fixture
def forker() -> Iterator[Forker]:
    with forking() as running:
        yield running


class Machine(RuleBasedStateMachine):
    """The database and the directory on one side, dictionaries on the other."""

    house: House
    forker: Forker

    sets = Bundle("sets")

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.house.directory, ignore_errors=True)
        self.house.database.run(SCHEMA)
        self.now: Rows = {}
        self.kept: dict[str, Rows] = {}
        self.clock = datetime(2025, 1, 1, tzinfo=timezone.utc)
        self.number = 0
        self.chance = random.Random(7)

    # --- writing ---

    @initialize(collections=st.integers(0, 3))
    def begin(self, collections: int) -> None:
        for n in range(collections):
            row = (str(self._uuid(n)), f"collection {n}", "{}")
            self.house.database.run("INSERT INTO langchain_pg_collection VALUES (%s, %s, %s)", list(row))
            self.now[f"c{row[0]}"] = row

    @rule(count=st.integers(1, 60), document=st.sampled_from(DOCUMENTS))
    def insert(self, count: int, document: str | None) -> None:
        parents = [row[0] for row in self.now.values() if len(row) == 3]
        rows = []
        for _ in range(count):
            self.number += 1
            vector = f"[{self.number},{self.chance.choice(['-0', '0.1', '1e-30', '3.4e+38'])},1]"
            parent = self.chance.choice([None, *parents])
            rows.append((f"id-{self.number}", parent, vector, document, '{"n": [1, null]}'))
        with self.house.connect() as conn, conn.cursor() as cursor:
            cursor.executemany("INSERT INTO langchain_pg_embedding VALUES (%s, %s, %s, %s, %s)", rows)
        for row in rows:
            self.now[f"e{row[0]}"] = row

    @precondition(lambda self: any(key.startswith("e") for key in self.now))
    @rule(share=st.floats(0.1, 1.0))
    def change(self, share: float) -> None:
        keys = [key for key in self.now if key.startswith("e") and self.chance.random() < share]
        self.house.database.run(
            "UPDATE langchain_pg_embedding SET document = 'changed' WHERE id = ANY(%s)", [[key[1:] for key in keys]]
        )
        for key in keys:
            self.now[key] = (*self.now[key][:3], "changed", self.now[key][4])

    @rule(share=st.floats(0.1, 1.0))
    def delete(self, share: float) -> None:
        keys = [key for key in self.now if key.startswith("e") and self.chance.random() < share]
        self.house.database.run("DELETE FROM langchain_pg_embedding WHERE id = ANY(%s)", [[key[1:] for key in keys]])
        for key in keys:
            del self.now[key]

    # --- backing up ---

    @rule(target=sets, kind=KINDS, jobs=st.integers(1, 3), apart=st.sampled_from([False, False, True]))
    def back_up(self, kind: dict[str, str], jobs: int, apart: bool) -> str:
        self.house.configure(jobs=jobs)
        with pytest.MonkeyPatch.context() as patch:
            if apart:
                read_apart(patch)
            result = self.house.backup(now=self._tick(), **kind)
        assert result.failure is None
        self.kept[str(result.backup_id)] = dict(self.now)
        return str(result.backup_id)

    @rule(call=st.integers(1, 60))
    def back_up_and_be_killed(self, call: int) -> None:
        now = self._tick()
        status = self.forker.backup(self.house, tables=",".join(langchain.PAIR), now=now, call=call)
        settled(self.house.database)
        backup_id = now.strftime("%Y%m%d_%H%M%S")
        if status == 0 or (self.house.directory / f"manifest_{backup_id}.json").exists():
            self.kept[backup_id] = dict(self.now)

    @rule(target=sets, kind=KINDS)
    def back_up_and_empty(self, kind: dict[str, str]) -> str:
        result = self.house.backup(now=self._tick(), **kind)
        self.kept[str(result.backup_id)] = dict(self.now)
        self.house.truncate(result)
        self.now = {key: row for key, row in self.now.items() if key.startswith("c")}
        return str(result.backup_id)

    # --- restoring ---

    @rule(backup_id=sets)
    def replace(self, backup_id: str) -> None:
        self.house.restore(timestamp=backup_id, truncate_before_restore=True)
        self.now = dict(self.kept[backup_id])

    @rule(backup_id=sets, on_conflict=st.sampled_from(["skip", "update"]))
    def merge(self, backup_id: str, on_conflict: str) -> None:
        self.house.restore(timestamp=backup_id, on_conflict=on_conflict)
        self.now = self._merged(backup_id, on_conflict)

    @rule(backup_id=sets)
    def add(self, backup_id: str) -> None:
        meets = set(self.kept[backup_id]) & set(self.now)
        if meets:
            with pytest.raises(Conflict):
                self.house.restore(timestamp=backup_id)
        else:
            self.house.restore(timestamp=backup_id)
            self.now.update(self.kept[backup_id])

    @rule(backup_id=sets)
    def replace_embeddings(self, backup_id: str) -> None:
        # The collections are made once and never deleted.
        self.house.restore(timestamp=backup_id, tables=["langchain_pg_embedding"], truncate_before_restore=True)
        self.now = {key: row for key, row in self.now.items() if key.startswith("c")} | {
            key: row for key, row in self.kept[backup_id].items() if key.startswith("e")
        }

    @rule(
        backup_id=sets,
        call=st.integers(1, 90),
        half=st.booleans(),
        how=st.sampled_from(["replace", "skip", "update"]),
    )
    def restore_and_be_killed(self, backup_id: str, call: int, half: bool, how: str) -> None:
        request: dict[str, Any] = {"timestamp": backup_id}
        request |= {"truncate_before_restore": True} if how == "replace" else {"on_conflict": how}
        status = self.forker.restore(self.house, self.house.database, request, call=call, half=half)
        settled(self.house.database)
        after = dict(self.kept[backup_id]) if how == "replace" else self._merged(backup_id, how)
        found = self._found()
        assert found in (_told(self.now), _told(after)), "half a restore"
        if status == 0:
            assert found == _told(after)
        if found == _told(after):
            self.now = after

    @rule(backup_id=consumes(sets))
    def remove(self, backup_id: str) -> None:
        from pgvector_backup.engine.remove import remove
        from pgvector_backup.engine.sets.catalog import Catalog

        catalog = Catalog(self.house.settings)
        location = catalog.place("vector_bak", None)
        remove(location, catalog.find(location, backup_id))
        del self.kept[backup_id]

    # --- what always holds ---

    @invariant()
    def the_tables_hold_what_the_model_does(self) -> None:
        assert self._found() == _told(self.now)

    @invariant()
    def every_set_is_whole(self) -> None:
        if self.house.directory.exists():
            assert whole_sets(self.house.directory) == sorted(self.kept)

    @invariant()
    def the_index_is_there(self) -> None:
        assert self.house.database.run("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_l2'::regclass") == [
            (True,)
        ]

    def teardown(self) -> None:
        """In the end every set that is safe comes back, and nothing of the killed ones is left after a backup."""
        for backup_id, rows in self.kept.items():
            self.house.restore(timestamp=backup_id, truncate_before_restore=True)
            assert self._found() == _told(rows)
        if self.house.directory.exists():
            self.house.backup(now=self._tick())
            assert leftovers(self.house.directory) == []

    # --- helpers ---

    def _tick(self) -> datetime:
        self.clock += timedelta(seconds=10)
        return self.clock

    def _uuid(self, n: int) -> Any:
        import uuid

        return uuid.UUID(int=n + 1)

    def _merged(self, backup_id: str, on_conflict: str) -> Rows:
        kept = self.kept[backup_id]
        return {**kept, **self.now} if on_conflict == "skip" else {**self.now, **kept}

    def _found(self) -> dict[str, int]:
        rows = self.house.database.run(
            "SELECT 'c' || uuid, (uuid, name, cmetadata)::text FROM langchain_pg_collection UNION ALL"
            " SELECT 'e' || id, (id, collection_id, embedding::text, document, cmetadata)::text"
            " FROM langchain_pg_embedding"
        )
        return {row[0]: hash(row[1]) for row in rows}


_known: dict[tuple[Any, ...], int] = {}


def _told(rows: Rows) -> dict[str, int]:
    """The model's rows as the server would print them."""
    missing = [row for row in rows.values() if row not in _known]
    if missing:
        with Machine.house.connect() as conn:
            for row in missing:
                query = (
                    "SELECT (%s::uuid, %s::varchar, %s::json)::text"
                    if len(row) == 3
                    else "SELECT (%s::varchar, %s::uuid, %s::vector(3)::text, %s::varchar, %s::jsonb)::text"
                )
                found = conn.execute(query, list(row)).fetchone()
                assert found is not None
                _known[row] = hash(found[0])
    return {key: _known[row] for key, row in rows.items()}


def test_nothing_is_lost_that_the_model_says_is_safe(house: House, forker: Forker) -> None:
    Machine.house, Machine.forker = house, forker
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
