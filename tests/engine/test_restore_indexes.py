"""Indexes and foreign keys are dropped for a load, and are exactly what they were afterwards."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pgvector_backup.engine.load import builds, dropped
from tests.helpers.database import Database, contents, definitions
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

EMBEDDING = "langchain_pg_embedding"

INDEXES = """
CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)
    WITH (m = 8, ef_construction = 32);
CREATE INDEX lists ON langchain_pg_embedding USING ivfflat (embedding vector_l2_ops) WITH (lists = 5);
CREATE INDEX partial ON langchain_pg_embedding (document varchar_pattern_ops) WHERE document <> '';
CREATE INDEX "Expression" ON langchain_pg_embedding ((cmetadata ->> 'n'), id DESC);
CREATE UNIQUE INDEX also_unique ON langchain_pg_embedding (id, collection_id);
COMMENT ON INDEX by_cosine IS 'it''s the one';
COMMENT ON CONSTRAINT langchain_pg_embedding_collection_id_fkey ON langchain_pg_embedding IS 'of a collection';
ALTER INDEX "Expression" ALTER COLUMN 1 SET STATISTICS 500;
"""

ABOUT = """
SELECT c.relname, obj_description(c.oid, 'pg_class'), spcname,
       (SELECT array_agg(attstattarget::int ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid)::text
FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = reltablespace
WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""


def oids(database: Database) -> dict[str, int]:
    """Indexes by name; one that was made anew has another oid."""
    return dict(
        database.run(
            "SELECT relname, oid::int FROM pg_class WHERE relkind IN ('i', 'I')"
            " AND relnamespace = 'public'::regnamespace"
        )
    )


@pytest.fixture
def indexed(house: House) -> House:
    house.langchain(3000)
    house.database.run(INDEXES)
    house.backup(file_format="binary")
    return house


def test_indexes_are_built_after_the_load_and_are_what_they_were(
    indexed: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("tablespace")
    _give_to_the_server(indexed.database, place)
    with indexed.connect() as conn:
        conn.autocommit = True
        conn.execute(f"CREATE TABLESPACE elsewhere LOCATION '{place}'".encode())
        try:
            conn.execute("ALTER INDEX lists SET TABLESPACE elsewhere")
            shape, about, before = definitions(indexed.database), indexed.database.run(ABOUT), oids(indexed.database)
            rows = contents(indexed.database, *PAIR)
            result = indexed.restore(truncate_before_restore=True)
            assert set(result.tables[EMBEDDING].indexes) == {
                "by_cosine",
                "lists",
                "partial",
                "Expression",
                "ix_cmetadata_gin",
            }
            assert definitions(indexed.database) == shape
            assert indexed.database.run(ABOUT) == about
            assert ("lists", None, "elsewhere", "{NULL}") in about or ("lists", None, "elsewhere", "{-1}") in about
            after = oids(indexed.database)
            anew = {name for name in after if after[name] != before[name]}
            assert anew == set(result.tables[EMBEDDING].indexes)
            assert contents(indexed.database, *PAIR) == rows
            assert indexed.database.run(
                "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint"
                " WHERE conname = 'langchain_pg_embedding_collection_id_fkey'"
            ) == [("of a collection",)]
        finally:
            conn.execute("DROP INDEX lists")
            conn.execute("DROP TABLESPACE elsewhere")


def _give_to_the_server(database: Database, place: Path) -> None:
    import os

    if os.geteuid() == 0:
        import pwd

        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        for parent in place.parents:
            if parent.owner() == "root" and str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o011)


def test_a_few_rows_into_a_big_table_leave_its_indexes_in_place(indexed: House) -> None:
    before = oids(indexed.database)
    indexed.database.run("DELETE FROM langchain_pg_embedding WHERE id LIKE '%77'")
    result = indexed.restore(on_conflict="skip", collections=["collection 1", "collection 2"])
    assert result.tables[EMBEDDING].indexes == ()
    assert oids(indexed.database) == before


def test_many_rows_into_a_small_table(indexed: House) -> None:
    before = contents(indexed.database, *PAIR)
    indexed.database.run("DELETE FROM langchain_pg_embedding WHERE id NOT LIKE '%77'")
    result = indexed.restore(on_conflict="skip", tables=[EMBEDDING])
    assert "by_cosine" in result.tables[EMBEDDING].indexes
    assert contents(indexed.database, *PAIR) == before


def test_what_could_not_be_made_anew_exactly_stays_in_place(indexed: House) -> None:
    indexed.database.run('ALTER TABLE langchain_pg_embedding CLUSTER ON "Expression"')
    before = oids(indexed.database)
    indexed.restore(truncate_before_restore=True)
    after = oids(indexed.database)
    assert after["Expression"] == before["Expression"]
    assert after["also_unique"] == before["also_unique"]
    assert after["by_cosine"] != before["by_cosine"]


def test_searches_find_the_same_by_an_index_as_without(indexed: House) -> None:
    query = "SELECT id FROM langchain_pg_embedding ORDER BY embedding <=> '[1,2,3,4,5,6,7,8]', id LIMIT 5"
    expected = indexed.database.run("SET enable_indexscan = off;" + query)
    indexed.restore(truncate_before_restore=True)
    assert indexed.database.run("SET enable_seqscan = off; SET hnsw.ef_search = 400;" + query) is not None
    with indexed.connect() as conn:
        conn.execute("SET enable_seqscan = off")
        conn.execute("SET hnsw.ef_search = 400")
        plan = "\n".join(row[0] for row in conn.execute("EXPLAIN " + query.replace(", id", "")).fetchall())
        assert "by_cosine" in plan
        found = conn.execute(query.replace(", id", "").encode()).fetchall()
    assert {row[0] for row in found} == {row[0] for row in expected} or expected == []


def test_a_partitioned_table_keeps_its_indexes(house: House) -> None:
    house.database.run(
        "CREATE TABLE t (id int, v vector(2)) PARTITION BY HASH (id);"
        "CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "CREATE INDEX by_l2 ON t USING hnsw (v vector_l2_ops);"
        "INSERT INTO t SELECT n, ARRAY[n, 1]::vector FROM generate_series(1, 2000) AS n"
    )
    house.configure(tables="t")
    house.backup()
    before = oids(house.database)
    house.restore(truncate_before_restore=True)
    assert oids(house.database) == before
    assert house.count("t") == 2000


def test_without_the_shared_memory_for_workers_an_index_is_built_by_one(
    indexed: House, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []
    with indexed.connect() as conn:

        def make() -> None:
            calls.append(conn.execute("SHOW max_parallel_maintenance_workers").fetchone())
            if len(calls) == 1:
                # The words and the code of a server whose /dev/shm is full.
                conn.execute(
                    'DO $$BEGIN RAISE \'could not resize shared memory segment "/PostgreSQL.1" to 1 bytes:'
                    " No space left on device' USING ERRCODE = 'disk_full'; END$$"
                )

        with caplog.at_level(logging.WARNING):
            builds.build_one(conn, EMBEDDING, "by_cosine", make)
    assert len(calls) == 2
    assert calls[1] == ("0",)
    assert "without parallel workers" in caplog.text


def test_how_far_a_build_is_stands_in_the_log(
    indexed: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "_POLL_SECONDS", 0.01)
    with caplog.at_level(logging.INFO):
        indexed.restore(truncate_before_restore=True)
    assert "index by_cosine: " in caplog.text
    assert "by_cosine built in" in caplog.text


@pytest.mark.parametrize(
    ("rows", "before", "worth_it"), [(10, 0, False), (1000, 0, True), (1000, 1999, True), (1000, 2001, False)]
)
def test_when_indexes_are_dropped(rows: int, before: int, worth_it: bool) -> None:
    assert dropped.worth_it(rows, before) is worth_it
