"""Every kind of table a pgvector user has goes into a file and comes back equal, row for row."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import NotFound
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.postgres import snapshot as snapshots
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.sets.manifest import Manifest
from tests.helpers.house import House
from tests.helpers.kinds import KINDS


@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(house: House, kind: str, jobs: int) -> None:
    name, script = KINDS[kind]
    house.database.run(script)
    house.configure(tables=name, jobs=jobs, back_up_views=kind == "view")

    result = house.backup()

    assert result.failure is None
    ((label, table),) = result.tables.items()
    assert_equal_when_loaded(house, name, house.directory / table.file, table.rows)
    manifest = Manifest.from_bytes((house.directory / str(result.manifest_file)).read_bytes())
    assert [entry.name for entry in manifest.tables] == [label]
    content = (house.directory / table.file).read_bytes()
    assert manifest.tables[0].sha256 == hashlib.sha256(content).hexdigest() == table.sha256
    assert manifest.tables[0].bytes == len(content) == table.bytes
    assert [path for path in house.files() if path.endswith(".tmp")] == []


def assert_equal_when_loaded(house: House, name: str, file: Path, rows: int) -> None:
    """Load a file with plain ``COPY … HEADER MATCH`` into an empty table of the same shape, and compare."""
    with house.database.connect() as conn:
        conn.execute(f"CREATE TABLE loaded (LIKE {name} INCLUDING GENERATED INCLUDING IDENTITY)".encode())
        with conn.cursor().copy(b"COPY loaded FROM STDIN (FORMAT csv, HEADER MATCH)") as copy:
            copy.write(file.read_bytes())
        for one, other in ((name, "loaded"), ("loaded", name)):
            difference = conn.execute(
                f"SELECT r::text FROM {one} AS r EXCEPT ALL SELECT r::text FROM {other} AS r".encode()
            ).fetchall()
            assert difference == []
        counted = conn.execute(b"SELECT count(*) FROM loaded").fetchone()
        assert counted is not None
        assert counted[0] == rows
        conn.rollback()


def test_fingerprint_is_that_of_the_rows_in_any_order(house: House) -> None:
    house.langchain(2000)
    one, other = house.backup(), house.backup()

    manifests = [Manifest.from_bytes((house.directory / str(r.manifest_file)).read_bytes()) for r in (one, other)]
    assert [t.fingerprint for t in manifests[0].tables] == [t.fingerprint for t in manifests[1].tables]
    algorithm = fingerprint.named(manifests[0].fingerprint_algorithm)
    assert algorithm is not None
    with house.database.connect() as conn:
        query = b"COPY (SELECT * FROM langchain_pg_embedding ORDER BY random()) TO STDOUT (FORMAT csv)"
        with conn.cursor().copy(query) as copy:
            total = sum(algorithm.of_row(row) for row in copy)
    assert manifests[0].tables[1].fingerprint == fingerprint.of_sum(total)


def test_a_set_is_of_one_moment(house: House) -> None:
    """A writer that always inserts a parent and its child in one transaction; every file pair must match."""
    house.langchain(0)
    house.configure(tables="langchain_pg_embedding,langchain_pg_collection")
    with house.database.connect() as writer:
        for number in range(30):
            writer.execute("INSERT INTO langchain_pg_collection (name) VALUES (%s)", [f"new {number}"])
            writer.execute(
                "INSERT INTO langchain_pg_embedding SELECT %s, uuid FROM langchain_pg_collection WHERE name = %s",
                [f"row {number}", f"new {number}"],
            )
            result = house.backup() if number % 10 == 5 else None  # while the transaction is open
            writer.commit()
            if result is not None:
                counts = {label: table.rows for label, table in result.tables.items()}
                assert counts["langchain_pg_collection"] == counts["langchain_pg_embedding"] + 4


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_one_job_takes_two_connections(house: House, mode: str) -> None:
    """The one that holds the snapshot, and one for whatever there is to ask and to read, one thing after the other."""
    house.langchain()
    house.configure(jobs=1)
    opened = 0

    def connect() -> psycopg.Connection[Any]:
        nonlocal opened
        opened += 1
        return house.database.connect()

    house.connect = connect
    for request in ({}, {}, {"dry_run": True}):
        opened = 0
        assert house.backup(mode=mode, **request).failure is None
        assert opened == 2, request


def test_a_connection_that_is_used_again_has_let_go_of_everything(house: House) -> None:
    house.database.run("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    with snapshots.take(house.connect, parse_names("t"), Cancel(), lock_timeout=2) as snapshot:
        house.database.run("INSERT INTO t VALUES (2)")
        with snapshot.joined(kept=True) as first:
            assert first.execute("SELECT id FROM public.t").fetchall() == [(1,)]
            with suppress(psycopg.Error):
                first.execute("SELECT 1 / 0")
        assert first.info.transaction_status == TransactionStatus.IDLE
        with snapshot.joined() as again:
            assert again is first
            assert again.execute("SELECT id FROM public.t").fetchall() == [(1,)]
        assert again.closed
        with suppress(NotFound), snapshot.joined(kept=True) as failed:
            raise NotFound("what it was for")
        assert failed.closed
        with snapshot.joined(kept=True) as last:
            assert last.execute("SELECT id FROM public.t").fetchall() == [(1,)]
        assert not last.closed
    assert last.closed


def test_settings_of_the_role_do_not_change_the_bytes(house: House) -> None:
    house.database.run("CREATE TABLE t (at timestamptz, f float8, b bytea, i interval)")
    house.database.run("INSERT INTO t VALUES ('2025-07-21 23:49:14+08', 0.1 + 0.2, '\\x00ff', '1 day 2 hours')")
    house.configure(tables="t")
    plain = house.backup().tables["t"]
    for setting in (
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Shanghai'",
        "extra_float_digits = -5",
        "bytea_output = 'escape'",
        "IntervalStyle = 'iso_8601'",
        "statement_timeout = '20ms'",
        "default_transaction_isolation = 'serializable'",
    ):
        house.database.run(f"ALTER DATABASE {house.database.name} SET {setting}")
    assert house.backup().tables["t"].sha256 == plain.sha256


def test_the_manifest_describes_the_tables(house: House) -> None:
    house.langchain()
    house.database.run("CREATE INDEX hnsw ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)")
    result = house.backup()
    text = (house.directory / str(result.manifest_file)).read_text()
    body = json.loads(text)
    embedding = body["tables"][1]

    assert body["format_version"] == 1
    assert body["backup_id"] == result.backup_id
    assert body["source"]["database"] == house.database.name
    assert body["source"]["pgvector_version"].startswith("0.")
    assert int(body["source"]["system_identifier"]) > 0
    assert embedding["primary_key"] == ["id"]
    assert {c["name"]: c["dimensions"] for c in embedding["columns"]}["embedding"] == 8
    assert any(index["method"] == "hnsw" for index in embedding["indexes"])
    assert any("REFERENCES" in c["definition"] for c in embedding["constraints"])
    assert "/" not in embedding["file"]
    for secret in (house.database.server.socket_directory, "postgresql://"):
        assert secret not in text


def test_inheriting_tables_are_tables_of_their_own(house: House) -> None:
    house.database.run("CREATE TABLE t (id int); CREATE TABLE child (more text) INHERITS (t)")
    house.database.run("INSERT INTO t VALUES (1); INSERT INTO child VALUES (2, 'x')")
    house.configure(tables="t,child", truncate_tables="t")
    result = house.backup()
    assert {label: table.rows for label, table in result.tables.items()} == {"t": 1, "child": 1}
    assert house.truncate(result).rows_before == {"t": 1}
    assert house.count("child") == 1


def test_a_reader_of_psql_loads_the_same(house: House) -> None:
    """What the README tells people to do, word for word, by the server itself."""
    house.langchain(100)
    result = house.backup()
    file = house.directory / result.tables["langchain_pg_embedding"].file
    with psycopg.connect(house.database.uri(), autocommit=True) as conn:
        conn.execute("CREATE TABLE again (LIKE langchain_pg_embedding)")
        with file.open("rb") as source, conn.cursor().copy("COPY again FROM STDIN (FORMAT csv, HEADER MATCH)") as copy:
            while data := source.read(65536):
                copy.write(data)
        row = conn.execute("SELECT count(*) FROM again JOIN langchain_pg_embedding USING (id)").fetchone()
    assert row == (100,)
