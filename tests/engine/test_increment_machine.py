"""Writes of every kind between increments, restores of any set: no difference to what a model remembers, ever.

``INCREMENT_STEPS`` and ``INCREMENT_EXAMPLES`` make it run longer than in the suite.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.consolidate import consolidate
from pgvector_backup.engine.contract.requests import PruneRequest
from pgvector_backup.engine.prune import prune
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.chains import restored
from tests.helpers.crash import crash
from tests.helpers.database import contents, fresh
from tests.helpers.house import House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

STEPS = int(os.environ.get("INCREMENT_STEPS", "25"))
EXAMPLES = int(os.environ.get("INCREMENT_EXAMPLES", "4"))

TABLES = ("plain", "parted")
ROWS = 60

SCHEMA = f"""
DROP TABLE IF EXISTS plain, parted, aside CASCADE;
CREATE TABLE plain (id text PRIMARY KEY, n int, note text, v vector(3));
CREATE TABLE parted (id int, part int, note text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE aside (LIKE parted INCLUDING ALL);
INSERT INTO plain SELECT 'k' || g, g, 'first', '[1,2,3]' FROM generate_series(1, {ROWS}) g;
INSERT INTO parted SELECT g, g % 2, 'first' FROM generate_series(1, {ROWS}) g;
INSERT INTO aside SELECT g, 2, 'aside' FROM generate_series(1, 5) g
"""

_SOME = "IN (SELECT id FROM plain ORDER BY md5(id || '{seed}') LIMIT {many})"
WRITES = {
    "insert": "INSERT INTO plain SELECT 'k{seed}' || g, g, 'new', '[3,2,1]' FROM generate_series(1, {many}) g"
    " ON CONFLICT DO NOTHING",
    "update": "UPDATE plain SET note = 'u{seed}' WHERE id " + _SOME,
    "update to the same": "UPDATE plain SET n = n WHERE id " + _SOME,
    "update keys": "UPDATE plain SET id = id || ',\"é' WHERE length(id) < 40 AND id " + _SOME,
    "delete": "DELETE FROM plain WHERE id " + _SOME,
    "delete and insert again": "WITH gone AS (DELETE FROM plain WHERE id " + _SOME + " RETURNING *)"
    " INSERT INTO plain SELECT id || '!', n, note, v FROM gone WHERE length(id) < 40 ON CONFLICT DO NOTHING",
    "move between partitions": "UPDATE parted SET part = 1 - part WHERE part < 2 AND id % 7 = {seed} % 7",
    "insert into a partition": "INSERT INTO parted SELECT g, g % 2, 'n{seed}'"
    " FROM generate_series({seed}, {seed} + 3) g ON CONFLICT DO NOTHING",
    "lock": "SELECT FROM plain WHERE id " + _SOME + " FOR UPDATE",
}
ALTERS = (
    "ALTER TABLE plain ADD COLUMN more{seed} int DEFAULT {seed}",
    "ALTER TABLE plain ALTER COLUMN n TYPE bigint",
    "ALTER TABLE plain ALTER COLUMN note SET STORAGE EXTERNAL",
    "ALTER TABLE plain DROP CONSTRAINT plain_pkey, ADD CONSTRAINT plain_pkey PRIMARY KEY (id)",
    "CREATE INDEX IF NOT EXISTS by_n ON plain (n)",
    "ALTER TABLE plain SET UNLOGGED",
    "ALTER TABLE plain SET LOGGED",
    "TRUNCATE parted",
)
REWRITES = (
    "VACUUM plain",
    "VACUUM (FREEZE) plain",
    "VACUUM (FULL) plain",
    "VACUUM (FULL, FREEZE) plain, parted",
    "CLUSTER plain USING plain_pkey",
    "ANALYZE plain",
)


class Increments(RuleBasedStateMachine):
    """One database and one location; ``sets`` remembers what the tables held at each set."""

    house: House

    def __init__(self) -> None:
        super().__init__()
        for statement in SCHEMA.split(";"):
            self.house.database.run(statement)
        self.house.configure(tables=",".join(TABLES), full_every=5)
        self.sets: dict[str, dict[str, list[Any]]] = {}
        self.modes: list[str] = []
        self.open: psycopg.Connection[Any] | None = None
        self.prepared: str | None = None
        self.crashed = False
        self.seed = 0

    def _text(self, statement: str, many: int = 3) -> str:
        self.seed += 1
        return statement.format(seed=self.seed, many=many)

    def _write(self, conn: psycopg.Connection[Any], statement: str, many: int) -> None:
        conn.execute("SET lock_timeout = '50ms'")
        conn.execute(self._text(statement, many).encode())

    def _attempt(self, *statements: str) -> None:
        """In one transaction; where an open one is in the way, nothing happens."""
        with psycopg.connect(self.house.database.uri()) as conn:
            try:
                conn.execute("SET lock_timeout = '50ms'")
                for statement in statements:
                    conn.execute(statement.encode())
                conn.commit()
            except (psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation, psycopg.errors.ObjectInUse):
                conn.rollback()

    @rule(name=st.sampled_from(sorted(WRITES)), many=st.integers(1, 8))
    def write(self, name: str, many: int) -> None:
        self._attempt(self._text(WRITES[name], many))

    @rule(names=st.lists(st.sampled_from(sorted(WRITES)), min_size=2, max_size=4), keep=st.booleans())
    def write_in_savepoints(self, names: list[str], keep: bool) -> None:
        parts = []
        for name in names:
            parts += ["SAVEPOINT s", self._text(WRITES[name]), "RELEASE s" if keep else "ROLLBACK TO s"]
        self._attempt(self._text(WRITES["update"]), *parts)

    @precondition(lambda self: self.open is None)
    @rule(name=st.sampled_from(sorted(WRITES)))
    def begin_long(self, name: str) -> None:
        self.open = self.house.database.connect()
        try:
            self._write(self.open, "SAVEPOINT s", 1)
            self._write(self.open, WRITES[name], 2)
            self.open.execute("RELEASE s")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation):
            self.open.rollback()

    @precondition(lambda self: self.open is not None)
    @rule(keep=st.booleans())
    def end_long(self, keep: bool) -> None:
        assert self.open is not None
        if keep:
            self.open.commit()
        else:
            self.open.rollback()
        self.open.close()
        self.open = None

    @precondition(lambda self: self.prepared is None)
    @rule(name=st.sampled_from(sorted(WRITES)))
    def prepare(self, name: str) -> None:
        name_of = self._text("p{seed}")
        with psycopg.connect(self.house.database.uri()) as conn:
            try:
                self._write(conn, WRITES[name], 2)
                conn.execute(f"PREPARE TRANSACTION '{name_of}'".encode())
                conn.rollback()
                self.prepared = name_of
            except (psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation):
                conn.rollback()

    @precondition(lambda self: self.prepared is not None)
    @rule(keep=st.booleans())
    def end_prepared(self, keep: bool) -> None:
        self.house.database.run(f"{'COMMIT' if keep else 'ROLLBACK'} PREPARED '{self.prepared}'")
        self.prepared = None

    @rule(statement=st.sampled_from(ALTERS))
    def alter(self, statement: str) -> None:
        self._attempt(self._text(statement))

    @precondition(lambda self: self.open is None and self.prepared is None)
    @rule(statement=st.sampled_from(REWRITES))
    def rewrite(self, statement: str) -> None:
        self.house.database.run(statement)

    @rule()
    def attach_or_detach(self) -> None:
        ((attached,),) = self.house.database.run(
            "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = 'aside'::regclass)"
        )
        self._attempt("DELETE FROM aside WHERE part <> 2")
        self._attempt(
            "ALTER TABLE parted DETACH PARTITION aside"
            if attached
            else "ALTER TABLE parted ATTACH PARTITION aside FOR VALUES IN (2)"
        )

    @rule()
    def copy_freeze(self) -> None:
        with psycopg.connect(self.house.database.uri()) as conn:
            try:
                conn.execute("SET lock_timeout = '50ms'")
                conn.execute("TRUNCATE parted_1")
                with conn.cursor().copy("COPY parted_1 FROM STDIN (FREEZE)") as copy:
                    for number in range(1, 10):
                        copy.write_row((number, 1, "frozen"))
            except psycopg.errors.LockNotAvailable:
                conn.rollback()

    @precondition(lambda self: not self.crashed)
    @rule()
    def crash(self) -> None:
        """Once an example, for it takes its time; what was prepared is there afterwards, what was open is not."""
        self.crashed = True
        crash(self.house.database.server)
        if self.open is not None:
            self.open.close()
            self.open = None

    @rule()
    def pass_ids(self) -> None:
        with self.house.database.connect() as conn:
            for _ in range(20):
                conn.execute("SELECT pg_current_xact_id()")
                conn.commit()

    @rule(compression=st.sampled_from(["none", "zstd"]), file_format=st.sampled_from(["csv", "csv", "binary"]))
    def back_up(self, compression: str, file_format: str) -> None:
        result = self.house.backup(mode="incremental", compression=compression, file_format=file_format)
        assert result.failure is None, result.failure
        self.sets[str(result.backup_id)] = contents(self.house.database, *TABLES)
        self.modes.append(str(result.mode))
        for label, table in result.tables.items():
            assert table.rows == len(self.sets[str(result.backup_id)][label])

    @precondition(lambda self: self.sets)
    @rule(data=st.data())
    def restore_any(self, data: st.DataObject) -> None:
        backup_id = data.draw(st.sampled_from(sorted(self.sets)))
        with restored(self.house, backup_id) as target:
            assert contents(target, *TABLES) == self.sets[backup_id]

    @precondition(lambda self: len(self.sets) > 3)
    @rule(data=st.data())
    def remove_any(self, data: st.DataObject) -> None:
        backup_id = data.draw(st.sampled_from(sorted(self.sets)))
        catalog = Catalog(self.house.settings)
        location = catalog.place("vector_bak", None)
        try:
            remove(location, catalog.find(location, backup_id))
        except Conflict:
            assert any(backup_id in one.chain for one in catalog.at(location).sets)
        else:
            del self.sets[backup_id]

    @precondition(lambda self: self.sets)
    @rule(data=st.data())
    def consolidate_any(self, data: st.DataObject) -> None:
        backup_id = data.draw(st.sampled_from(sorted(self.sets)))
        catalog = Catalog(self.house.settings)
        location = catalog.place("vector_bak", None)
        found = catalog.find(location, backup_id)
        if found.chain:
            made = consolidate(location, found, self.house.settings, now=datetime.now(timezone.utc))
            self.sets[made.backup_id] = self.sets[backup_id]

    @precondition(lambda self: len(self.sets) > 3)
    @rule(last=st.integers(1, 4))
    def prune(self, last: int) -> None:
        """What is left is restored in the end, whatever it stands on."""
        settings = replace(self.house.settings, keep_last=last)
        done = prune(PruneRequest(force=True), settings, now=datetime.now(timezone.utc))
        assert done.failure is None, done.failure
        for one in done.locations:
            for gone in one.removed:
                self.sets.pop(gone.timestamp)

    def teardown(self) -> None:
        if self.open is not None:
            self.open.close()
        if self.prepared is not None:
            self.house.database.run(f"ROLLBACK PREPARED '{self.prepared}'")
        if self.sets:
            newest = max(self.sets)
            verified = self.house.verify(backup_path="vector_bak", timestamp=newest, depth="rows")
            assert verified.failure is None, verified.failure
            for backup_id in self.sets:
                with restored(self.house, backup_id) as target:
                    assert contents(target, *TABLES) == self.sets[backup_id]
        catalog = Catalog(self.house.settings)
        if self.house.directory.exists():
            location = catalog.place("vector_bak", None)
            for one in catalog.at(location).sets:
                remove(location, one)


@pytest.fixture(scope="module")
def prepared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedPostgres]:
    """A server that allows prepared transactions."""
    version = int(os.environ.get("MATRIX_POSTGRES", "18"))
    directory = tmp_path_factory.mktemp("prepared")
    with OpenedPostgres(directory, version=version, settings={"max_prepared_transactions": 10}) as running:
        with psycopg.connect(running.uri("template1"), autocommit=True) as conn:
            conn.execute("CREATE EXTENSION vector")
        yield running


def test_increments_are_the_table(prepared_server: OpenedPostgres, backup_root: Path) -> None:
    with fresh(prepared_server) as database:
        Increments.house = House(database, backup_root)
        run_state_machine_as_test(
            Increments,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
