"""A truncate loses nothing: what the files do not hold keeps the table as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.errors import (
    BackupError,
    Conflict,
    DatabaseFault,
    IntegrityFault,
    InvalidParams,
    NotFound,
)
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.sets.manifest import Manifest
from tests.helpers.database import Database
from tests.helpers.forging import reseal
from tests.helpers.house import House

EMBEDDING = "langchain_pg_embedding"


@pytest.fixture
def filled(house: House) -> House:
    house.langchain()
    return house


@pytest.fixture
def simple(house: House) -> House:
    """One table of ten rows, which may be emptied."""
    house.database.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'x' || n FROM generate_series(1, 10) AS n"
    )
    house.configure(tables="t", truncate_tables="t")
    return house


def refused(house: House, result: BackupResult, kind: type[BackupError] = Conflict, table: str = "t") -> str:
    """The truncate fails as it should, and the table is as it was."""
    before = house.database.run(f"SELECT * FROM {table} ORDER BY 1")
    with pytest.raises(kind) as caught:
        house.truncate(result)
    assert house.database.run(f"SELECT * FROM {table} ORDER BY 1") == before
    return caught.value.message


def late_of(house: House, result: BackupResult) -> tuple[int, ...] | None:
    content = (house.directory / str(result.manifest_file)).read_bytes()
    return Manifest.from_bytes(content).tables[0].late_transactions


# --- the files ---


def test_what_is_in_the_files_is_emptied(filled: House) -> None:
    result = filled.truncate(filled.backup())
    assert result.rows_before == {EMBEDDING: 58}
    assert filled.count(EMBEDDING) == 0
    assert filled.count("langchain_pg_collection") == 4
    entry = result.to_json()["truncate_results"][EMBEDDING]
    assert (entry["success"], entry["rows_before"], entry["rows_after"]) == (True, 58, 0)


def test_an_empty_table_is_emptied(filled: House) -> None:
    result = filled.backup()
    filled.truncate(result)
    assert filled.truncate(result).rows_before == {EMBEDDING: 0}


def embedding_file(house: House, result: BackupResult) -> Path:
    return house.directory / result.tables[EMBEDDING].file


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(bytes(content))


def swap_with_the_other(path: Path) -> None:
    other = next(path.parent.glob("langchain_pg_collection_*.csv"))
    content, other_content = path.read_bytes(), other.read_bytes()
    path.write_bytes(other_content)
    other.write_bytes(content)


def replace_by_an_equally_long_one(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def append_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def cut_the_end_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def put_a_link_in_its_place(path: Path) -> None:
    shutil.move(path, path.parent / "elsewhere")
    path.symlink_to("elsewhere")


def put_a_directory_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_a_pipe_in_its_place(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        cut_the_end_off,
        append_a_line,
        partial(os.truncate, length=0),
        Path.unlink,
        swap_with_the_other,
        replace_by_an_equally_long_one,
        put_a_link_in_its_place,
        put_a_directory_in_its_place,
        put_a_pipe_in_its_place,
    ],
    ids=lambda damage: getattr(damage, "__name__", "empty_it"),
)
def test_a_damaged_file_keeps_the_table(filled: House, damage: Callable[[Path], object]) -> None:
    result = filled.backup()
    damage(embedding_file(filled, result))
    message = refused(filled, result, IntegrityFault, EMBEDDING)
    assert "langchain_pg_" in message


def test_a_damaged_file_of_a_table_that_stays_keeps_the_others_too(filled: House) -> None:
    """Rows of the emptied table refer to it: half a set is no backup."""
    result = filled.backup()
    flip_a_byte(filled.directory / result.tables["langchain_pg_collection"].file)
    refused(filled, result, IntegrityFault, EMBEDDING)


def test_a_missing_manifest_keeps_the_table(filled: House) -> None:
    result = filled.backup()
    (filled.directory / str(result.manifest_file)).unlink()
    assert "does not exist" in refused(filled, result, NotFound, EMBEDDING)


def test_an_altered_manifest_keeps_the_table(filled: House) -> None:
    result = filled.backup()
    path = filled.directory / str(result.manifest_file)
    body = json.loads(path.read_text())
    body["snapshot"]["xmax"] += 1000
    path.write_text(json.dumps(body))
    assert "altered" in refused(filled, result, IntegrityFault, EMBEDDING)


def test_a_table_that_the_set_does_not_hold_stays(simple: House) -> None:
    result = simple.backup()
    simple.database.run("CREATE TABLE other (x int); INSERT INTO other VALUES (1)")
    simple.configure(tables="t,other", truncate_tables="t,other")
    assert "not in set" in refused(simple, result)
    assert simple.count("other") == 1


def test_a_set_of_which_a_table_failed_empties_none_of_the_others(simple: House) -> None:
    simple.configure(tables="t,not_there", truncate_tables="t")
    result = simple.backup()
    assert result.tables["not_there"].failure is not None
    assert refused(simple, result) == (
        f"set {result.backup_id} is not whole, not_there failed; nothing is emptied on its word"
    )


def test_a_set_that_cannot_tell_which_rows_it_holds_empties_nothing(simple: House) -> None:
    """Its backup has met more open transactions than can be listed, or a server that did not tell."""
    result = simple.backup()
    path = simple.directory / str(result.manifest_file)
    manifest = Manifest.from_bytes(path.read_bytes())
    tables = tuple(replace(one, late_transactions=None) for one in manifest.tables)
    path.write_bytes(replace(manifest, tables=tables).to_bytes())
    assert "t: a transaction was open for so long during the backup that" in refused(simple, result)


def test_no_table_to_empty_is_refused(simple: House) -> None:
    result = simple.backup()
    simple.configure(tables="t")
    refused(simple, result, InvalidParams)


# --- the rows ---


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ("INSERT INTO t VALUES (11, 'new')", 1),
        ("INSERT INTO t SELECT n, 'new' FROM generate_series(11, 15) AS n", 5),
        ("UPDATE t SET v = 'changed' WHERE id <= 3", 3),
        ("UPDATE t SET v = v", 10),
        ("DELETE FROM t; INSERT INTO t VALUES (1, 'back')", 1),
        ("DELETE FROM t WHERE id <= 5; INSERT INTO t VALUES (11, 'new')", 1),
        ("MERGE INTO t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = 'merged'", 1),
    ],
)
def test_a_row_written_since_keeps_the_table(simple: House, change: str, number: int) -> None:
    result = simple.backup()
    simple.database.run(change)
    assert f"t: {number} of " in refused(simple, result)


def test_rows_deleted_since_are_no_reason(simple: House) -> None:
    result = simple.backup()
    simple.database.run("DELETE FROM t WHERE id <= 3")
    assert simple.truncate(result).rows_before == {"t": 7}


def test_rows_rolled_back_since_are_no_reason(simple: House) -> None:
    result = simple.backup()
    with simple.database.connect() as conn:
        conn.execute("INSERT INTO t VALUES (11, 'never')")
        conn.rollback()
    assert simple.truncate(result).rows_before == {"t": 10}


def test_rows_that_were_only_locked_are_no_reason(simple: House) -> None:
    result = simple.backup()
    with simple.database.connect() as conn:
        conn.execute("SELECT * FROM t FOR UPDATE")
    assert simple.truncate(result).rows_before == {"t": 10}


def test_a_transaction_open_during_the_backup_and_committed_since_keeps_the_table(simple: House) -> None:
    with simple.database.connect() as writer:
        writer.execute("INSERT INTO t VALUES (11, 'late')")
        result = simple.backup()
        assert result.tables["t"].rows == 10
    assert "t: 1 of 11 rows" in refused(simple, result)


def test_the_same_with_rows_deleted_to_make_up_the_number(simple: House) -> None:
    with simple.database.connect() as writer:
        writer.execute("INSERT INTO t VALUES (11, 'late')")
        result = simple.backup()
    simple.database.run("DELETE FROM t WHERE id = 1")
    assert "t: 1 of 10 rows" in refused(simple, result)


def test_the_same_in_a_savepoint_that_was_released(simple: House) -> None:
    """A subtransaction's id is its own, and a snapshot's text does not list it."""
    with simple.database.connect() as writer:
        writer.execute("SELECT 1")  # begins; what follows are savepoints
        with writer.transaction():
            writer.execute("INSERT INTO t VALUES (11, 'late')")
        with writer.transaction():
            writer.execute("INSERT INTO t VALUES (12, 'late')")
        simple.database.run("CREATE TABLE next_id (x int)")
        result = simple.backup()
        writer.commit()
    simple.database.run("DELETE FROM t WHERE id <= 2")
    assert "t: 2 of 10 rows" in refused(simple, result)


def test_the_same_in_more_savepoints_than_the_server_keeps_in_memory(simple: House) -> None:
    with simple.database.connect() as writer:
        writer.execute("SELECT 1")
        for number in range(11, 111):
            with writer.transaction():
                writer.execute("INSERT INTO t VALUES (%s, 'late')", [number])
        simple.database.run("CREATE TABLE next_id (x int)")
        result = simple.backup()
        writer.commit()
    assert "t: 100 of 110 rows" in refused(simple, result)


def test_an_older_transaction_that_is_still_open_is_no_reason(simple: House) -> None:
    """It holds the snapshot's lower end down; rows of those that came after it and ended are in the files."""
    simple.database.run("CREATE TABLE elsewhere (x int)")
    with simple.database.connect() as old:
        old.execute("INSERT INTO elsewhere VALUES (1)")
        for number in range(11, 16):
            simple.database.run("INSERT INTO t VALUES (%s, 'in time')", [number])
        result = simple.backup()
        assert len(late_of(simple, result) or ()) == 5
        assert simple.truncate(result).rows_before == {"t": 15}


def test_an_older_transaction_that_writes_after_all_keeps_the_table(simple: House) -> None:
    simple.database.run("CREATE TABLE elsewhere (x int)")
    with simple.database.connect() as old:
        old.execute("INSERT INTO elsewhere VALUES (1)")
        simple.database.run("INSERT INTO t VALUES (11, 'in time')")
        result = simple.backup()
        old.execute("INSERT INTO t VALUES (12, 'late')")
        old.commit()
    simple.database.run("DELETE FROM t WHERE id = 1")
    assert "t: 1 of 11 rows" in refused(simple, result)


def test_an_open_transaction_that_has_written_delays_the_truncate_until_it_gives_up(simple: House) -> None:
    with simple.database.connect() as writer:
        writer.execute("INSERT INTO t VALUES (11, 'late')")
        result = simple.backup()
        simple.configure(lock_timeout=0.2)
        assert "another session holds a lock" in refused(simple, result, DatabaseFault)


def test_a_copy_with_freeze_since_keeps_the_table(simple: House) -> None:
    """Its rows are frozen at birth, and visible even to older snapshots."""
    result = simple.backup()
    with simple.database.connect() as conn:
        conn.execute("TRUNCATE t")
        with conn.cursor().copy("COPY t FROM STDIN (FREEZE)") as copy:
            copy.write(b"1\tfrozen\n")
    assert "t: 1 of 1 rows" in refused(simple, result)


@pytest.mark.parametrize("statement", ["VACUUM FREEZE t", "VACUUM FULL t", "CLUSTER t USING t_pkey", "REINDEX TABLE t"])
def test_maintenance_since_is_no_reason_and_hides_nothing(simple: House, statement: str) -> None:
    result = simple.backup()
    simple.database.run(statement)
    simple.database.run("INSERT INTO t VALUES (11, 'new')")
    simple.database.run("DELETE FROM t WHERE id = 1")
    simple.database.run(statement)
    assert "t: 1 of 10 rows" in refused(simple, result)
    simple.database.run("DELETE FROM t WHERE id = 11")
    simple.database.run(statement)
    assert simple.truncate(result).rows_before == {"t": 9}


@pytest.mark.parametrize(
    "statement", ["ALTER COLUMN v TYPE varchar(50) USING v || ''", "ADD COLUMN n int DEFAULT random()"]
)
def test_a_rewrite_of_the_table_since_never_loses_a_row(simple: House, statement: str) -> None:
    result = simple.backup()
    simple.database.run(f"ALTER TABLE t {statement}")
    assert "t: 10 of 10 rows" in refused(simple, result)


def test_a_table_made_anew_under_the_name_stays(simple: House) -> None:
    result = simple.backup()
    simple.database.run("DROP TABLE t; CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'another')")
    refused(simple, result)


def test_an_older_table_that_has_taken_the_name_stays(simple: House) -> None:
    """Its rows are older than the backup, and not in it."""
    simple.database.run("CREATE TABLE shadow (id int, v text); INSERT INTO shadow VALUES (1, 'not backed up')")
    result = simple.backup()
    simple.database.run("ALTER TABLE t RENAME TO old; ALTER TABLE shadow RENAME TO t")
    refused(simple, result)


def test_an_older_table_attached_as_a_partition_keeps_the_table(house: House) -> None:
    house.database.run("CREATE TABLE t (id int) PARTITION BY LIST (id)")
    house.database.run("CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t VALUES (1)")
    house.database.run("CREATE TABLE t_2 (id int); INSERT INTO t_2 VALUES (2)")
    house.configure(tables="t", truncate_tables="t")
    result = house.backup()
    house.database.run("ALTER TABLE t DETACH PARTITION t_1; ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES IN (2)")
    refused(house, result)


def test_a_partitioned_table_is_emptied_as_a_whole(house: House) -> None:
    house.database.run("CREATE TABLE t (id int) PARTITION BY HASH (id)")
    for number in range(3):
        house.database.run(f"CREATE TABLE t_{number} PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER {number})")
    house.database.run("INSERT INTO t SELECT generate_series(1, 100)")
    house.configure(tables="t", truncate_tables="t")
    result = house.backup()
    house.database.run("INSERT INTO t VALUES (101)")
    assert "t: 1 of 101 rows" in refused(house, result)
    house.database.run("DELETE FROM t WHERE id = 101")
    assert house.truncate(result).rows_before == {"t": 100}
    assert house.count("t") == 0


def test_the_same_name_in_another_schema_stays(simple: House) -> None:
    result = simple.backup()
    simple.database.run("CREATE SCHEMA front; CREATE TABLE front.t (id int, v text)")
    simple.database.run(f"ALTER DATABASE {simple.database.name} SET search_path = front, public")
    assert "front.t" in refused(simple, result, table="public.t")


def test_a_view_cannot_be_emptied(simple: House) -> None:
    simple.database.run("CREATE VIEW v AS SELECT * FROM t")
    simple.configure(tables="t,v", truncate_tables="v", back_up_views=True)
    assert "is a view" in refused(simple, simple.backup())


def test_a_table_that_is_gone_is_missing(simple: House) -> None:
    result = simple.backup()
    simple.database.run("DROP TABLE t")
    with pytest.raises(NotFound, match="table t does not exist"):
        simple.truncate(result)


def test_two_tables_are_emptied_together_or_not_at_all(simple: House) -> None:
    simple.database.run("CREATE TABLE u (id int); INSERT INTO u VALUES (1)")
    simple.configure(tables="t,u", truncate_tables="t,u")
    result = simple.backup()
    simple.database.run("INSERT INTO u VALUES (2)")
    refused(simple, result)
    assert (simple.count("t"), simple.count("u")) == (10, 2)
    assert simple.truncate(simple.backup()).rows_before == {"t": 10, "u": 2}


# --- who may, and where ---


def test_a_foreign_key_that_forbids_it_is_named(filled: House) -> None:
    filled.configure(tables="langchain_pg_collection,langchain_pg_embedding", truncate_tables="langchain_pg_collection")
    message = refused(filled, filled.backup(), table="langchain_pg_collection")
    assert "langchain_pg_embedding_collection_id_fkey of langchain_pg_embedding" in message


def test_a_foreign_key_between_emptied_tables_is_no_reason(filled: House) -> None:
    both = "langchain_pg_collection,langchain_pg_embedding"
    filled.configure(tables=both, truncate_tables=both)
    assert filled.truncate(filled.backup()).rows_before == {"langchain_pg_collection": 4, EMBEDDING: 58}


def test_a_foreign_key_to_itself_is_no_reason(simple: House) -> None:
    simple.database.run("ALTER TABLE t ADD COLUMN parent int REFERENCES t")
    assert simple.truncate(simple.backup()).rows_before == {"t": 10}


def test_a_foreign_key_to_a_partition_is_named(house: House) -> None:
    house.database.run("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id)")
    house.database.run("CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE r (x int REFERENCES t_1)")
    house.database.run("INSERT INTO t VALUES (1)")
    house.configure(tables="t", truncate_tables="t")
    assert "r_x_fkey of r" in refused(house, house.backup())


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    name = f"role_of_{database.name}"
    database.run(f"CREATE ROLE {name} LOGIN")
    yield name
    database.run(f"DROP OWNED BY {name}")
    database.run(f"DROP ROLE {name}")


@pytest.mark.parametrize("rights", ["SELECT", "SELECT, INSERT, UPDATE, DELETE"])
def test_no_right_to_truncate_is_said_and_not_retried(simple: House, role: str, rights: str) -> None:
    simple.database.run(f"GRANT {rights} ON t TO {role}")
    simple.connect = partial(simple.database.connect, role)
    with pytest.raises(DatabaseFault, match="permission denied") as caught:
        simple.truncate(simple.backup())
    assert not caught.value.can_retry
    assert simple.count("t") == 10


def test_select_and_truncate_are_all_the_rights_it_takes(simple: House, role: str) -> None:
    simple.database.run(f"GRANT SELECT, TRUNCATE ON t TO {role}")
    simple.connect = partial(simple.database.connect, role)
    assert simple.truncate(simple.backup()).rows_before == {"t": 10}


def test_a_locked_table_stays(simple: House) -> None:
    result = simple.backup()
    simple.configure(lock_timeout=0.2)
    with simple.database.connect() as reader:
        reader.execute("SELECT FROM t")
        assert "another session holds a lock" in refused(simple, result, DatabaseFault)


def test_another_database_of_the_server_is_refused(simple: House) -> None:
    result = simple.backup()
    other = Database(simple.database.server, f"{simple.database.name}_other")
    simple.database.run(f"CREATE DATABASE {other.name} TEMPLATE {simple.database.name}")
    try:
        simple.connect = other.connect
        with pytest.raises(Conflict, match="is not the one backed up"):
            simple.truncate(result)
        assert other.run("SELECT count(*) FROM t") == [(10,)]
    finally:
        simple.database.run(f"DROP DATABASE {other.name} WITH (FORCE)")


@pytest.mark.apart
def test_another_server_is_refused(simple: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    result = simple.backup()
    with OpenedPostgres(tmp_path_factory.mktemp("other_postgres")) as server:
        simple.connect = partial(psycopg.connect, server.dsn)
        with pytest.raises(Conflict, match="is not the one backed up"):
            simple.truncate(result)


@pytest.mark.apart
def test_a_server_that_has_failed_over_is_refused(house: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its transaction ids may begin again below the backup's: a new row would pass for one that was backed up."""
    directory = tmp_path_factory.mktemp("failing_over")
    house.configure(tables="t", truncate_tables="t")
    with OpenedPostgres(directory) as primary, psycopg.connect(primary.dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int)")
        conn.execute("INSERT INTO t VALUES (1)")
        house.connect = partial(psycopg.connect, primary.dsn)
        result = house.backup()
    (directory / "data" / "standby.signal").touch()
    with OpenedPostgres(directory) as promoted:
        house.connect = partial(psycopg.connect, promoted.dsn)
        with psycopg.connect(promoted.dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_promote()")
        with pytest.raises(Conflict, match="timeline 1, now 2"):
            house.truncate(result)


def test_a_server_set_back_to_an_earlier_timeline_is_refused(simple: House) -> None:
    result = simple.backup()
    reseal(simple, lambda body: body["source"].update(timeline=3))
    with pytest.raises(Conflict, match="timeline 3, now 1"):
        simple.truncate(result)


def test_a_server_that_does_not_tell_which_it_is_is_refused(simple: House, role: str) -> None:
    simple.database.run(f"GRANT SELECT, TRUNCATE ON t TO {role}")
    simple.connect = partial(simple.database.connect, role)
    simple.database.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    assert "system identifier" in refused(simple, simple.backup())
