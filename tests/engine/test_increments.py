"""Increments hold what was written since their base; a chain restored is the table; a broken line is a full set."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.errors import Conflict, IntegrityFault
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.chains import increment, require_equal, restored
from tests.helpers.database import Database, contents, fresh
from tests.helpers.forging import seal
from tests.helpers.house import House
from tests.helpers.psql import psql_of

PAIR = ("langchain_pg_collection", "langchain_pg_embedding")
KINDS = [("csv", "none"), ("binary", "zstd"), ("csv", "gzip")]

CHANGE = """
UPDATE langchain_pg_embedding SET document = 'changed "again", and
again' WHERE id LIKE '%7';
DELETE FROM langchain_pg_embedding WHERE id LIKE '%11';
UPDATE langchain_pg_embedding SET id = id || ',moved' WHERE id LIKE '%13';
INSERT INTO langchain_pg_embedding SELECT id || '"new"' || pg_current_xact_id(), collection_id, embedding, document,
    cmetadata FROM langchain_pg_embedding WHERE id LIKE '%21'
"""


def write(house: House, *statements: str) -> None:
    """Each statement in a transaction of its own."""
    for text in statements:
        for statement in text.split(";"):
            house.database.run(statement)


def full_because(house: House, **request: Any) -> str:
    """A backup that was to be an increment is a full set, restores, and says why."""
    result = increment(house, **request)
    assert (result.mode, result.chain_length, result.base_backup_id) == ("full", 1, None)
    assert result.full_because is not None
    manifest = json.loads((house.directory / str(result.manifest_file)).read_text())
    assert manifest["full_because"] == result.full_because
    return result.full_because


@pytest.mark.parametrize(("file_format", "compression"), KINDS)
def test_a_chain_is_the_table(house: House, file_format: str, compression: str) -> None:
    how = {"file_format": file_format, "compression": compression}
    house.langchain(500)
    sets = {increment(house, **how).backup_id: contents(house.database, *PAIR)}
    for _ in range(3):
        write(house, CHANGE)
        result = increment(house, **how)
        assert result.mode == "incremental"
        told = result.tables["langchain_pg_embedding"]
        assert told.rows == told.rows_written + told.rows_unchanged == house.count("langchain_pg_embedding")
        assert told.rows_written < told.rows / 2
        sets[result.backup_id] = contents(house.database, *PAIR)
    assert result.chain_length == 4
    for backup_id, wanted in sets.items():
        require_equal(house, str(backup_id), *PAIR, wanted=wanted)
    for depth in ("files", "rows", "drill"):
        assert house.verify(backup_path="vector_bak", timestamp=str(result.backup_id), depth=depth).failure is None
    truncated = house.truncate(result)
    assert truncated.rows_after == {"langchain_pg_embedding": 0}


def test_the_result_tells_of_it(house: House) -> None:
    house.langchain(100)
    first = increment(house)
    assert first.full_because is not None
    assert "no earlier set" in first.full_because
    write(house, "UPDATE langchain_pg_embedding SET document = 'x' WHERE id LIKE '%7'")
    write(house, "DELETE FROM langchain_pg_embedding WHERE id LIKE '%3'")
    body = increment(house).to_json()
    assert body["mode"] == "incremental"
    assert body["base_backup_id"] == first.backup_id
    assert body["chain_length"] == 2
    assert body["full_because"] is None
    table = body["tables_backed_up"]["langchain_pg_embedding"]
    figures = {name: table[name] for name in ("row_count", "rows_written", "rows_deleted", "rows_unchanged")}
    assert figures == {"row_count": 90, "rows_written": 10, "rows_deleted": 10, "rows_unchanged": 80}


def test_a_full_backup_has_no_keys(house: House) -> None:
    house.langchain(10)
    house.backup()
    assert not [name for name in house.files() if ".keys." in name]
    assert "no earlier set" in full_because(house)


def test_the_setting_decides_where_the_request_does_not(house: House) -> None:
    house.langchain(10)
    house.configure(mode="incremental")
    house.backup()
    assert house.backup().mode == "incremental"
    assert house.backup(mode="full").mode == "full"


def test_full_every(house: House) -> None:
    house.langchain(20)
    house.configure(full_every=2)
    modes = [increment(house).mode for _ in range(7)]
    assert modes == ["full", "incremental", "incremental", "full", "incremental", "incremental", "full"]


BREAKS: dict[str, tuple[str, str]] = {
    "more than half": ("UPDATE langchain_pg_embedding SET document = 'x'", "more than half"),
    "all deleted": ("DELETE FROM langchain_pg_embedding", "more than half"),
    "column added": ("ALTER TABLE langchain_pg_embedding ADD COLUMN more int DEFAULT 7", "columns"),
    "column renamed": ("ALTER TABLE langchain_pg_embedding RENAME COLUMN document TO text", "columns"),
    "column dropped": ("ALTER TABLE langchain_pg_embedding DROP COLUMN cmetadata", "columns"),
    "type modifier": ("ALTER TABLE langchain_pg_embedding ALTER COLUMN id TYPE varchar(200)", "columns"),
    "another table": (
        "CREATE TABLE other (LIKE langchain_pg_embedding INCLUDING ALL);"
        "INSERT INTO other SELECT * FROM langchain_pg_embedding; DROP TABLE langchain_pg_embedding;"
        "ALTER TABLE other RENAME TO langchain_pg_embedding",
        "oid",
    ),
    "no key": ("ALTER TABLE langchain_pg_embedding DROP CONSTRAINT langchain_pg_embedding_pkey", "key"),
    "pgvector": ("UPDATE pg_extension SET extversion = '0.7.0' WHERE extname = 'vector'", "extensions"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_line(house: House, name: str) -> None:
    statements, said = BREAKS[name]
    house.langchain(60)
    increment(house)
    write(house, statements)
    assert said in full_because(house)
    require_equal(house, "latest", *PAIR)


def test_an_enum_whose_label_is_renamed(house: House) -> None:
    write(
        house, "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE t (id bigint PRIMARY KEY, m mood, v vector(2))"
    )
    write(house, "INSERT INTO t SELECT g, 'good', '[1,2]' FROM generate_series(1, 300) g")
    house.configure(tables="t")
    increment(house)
    write(house, "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'")
    assert "enums" in full_because(house)


def test_a_text_that_the_catalog_decides(house: House) -> None:
    write(house, "CREATE TABLE t (id bigint PRIMARY KEY, what regclass)")
    house.configure(tables="t")
    increment(house)
    assert "regclass" in full_because(house)


def test_a_base_that_is_removed_altered_or_swapped(house: House) -> None:
    house.langchain(60)
    full, second = (str(increment(house).backup_id) for _ in range(2))
    kept = house.root / "kept"
    shutil.copytree(house.directory, kept)

    def afresh() -> None:
        shutil.rmtree(house.directory)
        shutil.copytree(kept, house.directory)

    (house.directory / f"manifest_{full}.json").unlink()
    assert f"{full}, which it would stand on, is missing" in full_because(house)
    with pytest.raises(IntegrityFault, match="missing"):
        house.restore(timestamp=second)

    afresh()
    file = house.directory / f"langchain_pg_embedding_{full}.csv"
    file.write_bytes(file.read_bytes()[:-1])
    assert "bytes on disk" in full_because(house)

    afresh()
    keys = house.directory / f"langchain_pg_embedding_{second}.keys.csv"
    keys.write_bytes(keys.read_bytes().replace(b"id-1,", b"id-9,", 1))
    assert "not what was written" in full_because(house)

    afresh()
    # Another set under the base's id: whole in itself, and not the one that was meant.
    manifest = house.directory / f"manifest_{full}.json"
    other = house.root / "other"
    other.mkdir()
    swapped = House(house.database, other)
    swapped.configure(mode="incremental")
    result = swapped.backup()
    for path in swapped.directory.iterdir():
        name = path.name.replace(str(result.backup_id), full)
        (house.directory / name).write_bytes(path.read_bytes().replace(str(result.backup_id).encode(), full.encode()))
    seal(manifest, json.loads(manifest.read_bytes()))
    with pytest.raises(IntegrityFault, match=full):
        house.restore(timestamp=second)


def test_two_sets_on_one_base(house: House) -> None:
    house.langchain(100)
    base = increment(house)
    kept = set(house.files())
    write(house, CHANGE)
    one = increment(house)
    aside = {name: (house.directory / name).read_bytes() for name in set(house.files()) - kept}
    for name in aside:
        (house.directory / name).unlink()
    write(house, CHANGE)
    wanted = contents(house.database, *PAIR)
    other = increment(house, now=datetime.now(timezone.utc) + timedelta(hours=1))
    for name, content in aside.items():
        if name != "vector_backup_log.txt":
            (house.directory / name).write_bytes(content)
    assert one.base_backup_id == other.base_backup_id == base.backup_id
    require_equal(house, str(other.backup_id), *PAIR, wanted=wanted)
    with restored(house, str(one.backup_id)) as target:
        assert contents(target, *PAIR) != wanted


def test_a_base_stays_as_long_as_a_set_stands_on_it(house: House) -> None:
    house.langchain(60)
    results = [increment(house) for _ in range(3)]
    catalog = Catalog(house.settings)
    location = catalog.place("vector_bak", None)

    def go(number: int) -> list[str]:
        return remove(location, catalog.find(location, str(results[number].backup_id)))

    for number in (0, 1):
        with pytest.raises(Conflict, match=str(results[2].backup_id)):
            go(number)
    removed = [name for number in (2, 1, 0) for name in go(number)]
    assert len([name for name in removed if ".keys.csv" in name]) == 3 * 2 * 2
    assert house.files() == []


KEYS: dict[str, tuple[str, str]] = {
    "bigint": ("bigint", "g - 20"),
    "uuid": ("uuid", "md5(g::text)::uuid"),
    "text in another collation": ('text COLLATE "POSIX"', "chr(64 + g % 26) || chr(97 + g % 26) || g"),
    "quotes, commas and lines": ("text", """'a"' || g || ',' || chr(10) || 'é' || g"""),
    "bytes": ("bytea", "decode(md5(g::text), 'hex')"),
    "padded": ("char(12)", "'k' || g"),
    "number": ("numeric", "g / 8.0"),
    "time": ("timestamptz", "timestamptz '2026-01-01' + g * interval '1 hour'"),
    "long": ("text", "repeat(md5(g::text), 60)"),
    "boolean and oid": ("oid", "g::oid"),
}


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("name", KEYS)
def test_kinds_of_keys(house: House, name: str, file_format: str) -> None:
    kind, value = KEYS[name]
    write(house, f"CREATE TABLE t (other int NOT NULL, id {kind}, note text, v vector(2), PRIMARY KEY (id))")
    write(house, f"INSERT INTO t SELECT g, {value}, 'n', '[1,2]' FROM generate_series(1, 200) g")
    house.configure(tables="t")
    increment(house, file_format=file_format)
    write(house, "UPDATE t SET note = 'changed' WHERE other % 9 = 0; DELETE FROM t WHERE other % 13 = 0")
    write(house, f"INSERT INTO t SELECT g, {value}, 'new', '[3,4]' FROM generate_series(201, 220) g")
    result = increment(house, file_format=file_format)
    if file_format == "binary" and name in ("number", "time"):
        assert result.full_because is not None
        assert "file_format csv" in result.full_because
    else:
        assert result.mode == "incremental"
        assert result.tables["t"].rows_unchanged > 100
    require_equal(house, str(result.backup_id), "t")
    assert house.verify(backup_path="vector_bak", timestamp=str(result.backup_id), depth="rows").failure is None


def test_keys_as_long_as_the_server_takes_them(house: House) -> None:
    """An index holds 2,704 bytes of a key, as packed: no other is longer than this one by much."""
    key = "repeat('k', 200000)"
    write(house, "CREATE TABLE t (id text PRIMARY KEY, note text)")
    write(house, f"INSERT INTO t SELECT {key} || g, 'n' FROM generate_series(1, 15) g")
    house.configure(tables="t")
    increment(house)
    write(house, f"UPDATE t SET note = 'changed' WHERE id = {key} || '7'; DELETE FROM t WHERE id = {key} || '9'")
    result = increment(house)
    counts = result.tables["t"]
    assert (counts.rows_written, counts.rows_deleted, counts.rows_unchanged) == (1, 1, 13)
    require_equal(house, str(result.backup_id), "t")


def test_a_chain_of_every_compression(house: House) -> None:
    house.langchain(120)
    for compression in ("none", "zstd", "gzip", "none"):
        write(house, CHANGE)
        result = increment(house, compression=compression)
    assert result.chain_length == 4
    require_equal(house, str(result.backup_id), *PAIR)


def test_of_rows_that_did_not_change_the_sampled_ones_alone_are_read(house: House) -> None:
    """Whether TOAST is read: the server counts its blocks."""
    write(house, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    write(house, "ALTER TABLE t ALTER v SET STORAGE EXTERNAL")
    write(house, "INSERT INTO t SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 2000) g")
    house.configure(tables="t")
    increment(house)
    write(house, "UPDATE t SET v = v || '.' WHERE id <= 3")

    def toast_read() -> int:
        with house.database.connect() as conn:
            conn.execute("SELECT pg_stat_force_next_flush()")
            conn.commit()
            found = conn.execute(
                "SELECT toast_blks_read + toast_blks_hit FROM pg_statio_user_tables WHERE relname = 't'"
            ).fetchone()
            assert found is not None
            return int(found[0])

    ((sampled,),) = house.database.run("SELECT count(*) FROM t WHERE hashtext(id::text) % 100 = 0")
    end_of_other_backends(house)
    before = toast_read()
    assert increment(house).tables["t"].rows_written == 3
    end_of_other_backends(house)
    # Each value is two pages of TOAST at most; the rows written are read once for the set and once for the sample.
    assert 0 < toast_read() - before <= 4 * (sampled + 3)


def end_of_other_backends(house: House) -> None:
    """Until what backends have counted is there for others to see: they tell it when they end."""
    deadline = time.monotonic() + 30
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while house.database.run(others) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_unique_key_of_several_columns(house: House) -> None:
    write(house, "CREATE TABLE t (a text NOT NULL, b int NOT NULL, n int, UNIQUE (a, b))")
    write(
        house,
        """INSERT INTO t SELECT chr(65 + g % 7) || repeat(',', g % 3) || '"', g, 0 FROM generate_series(1, 300) g""",
    )
    house.configure(tables="t")
    increment(house)
    write(
        house,
        "UPDATE t SET n = 1 WHERE b % 10 = 0; DELETE FROM t WHERE b % 11 = 0; UPDATE t SET b = -b WHERE b % 12 = 0",
    )
    assert increment(house).mode == "incremental"
    require_equal(house, "latest", "t")


def test_transactions_that_are_open_during_a_backup(house: House) -> None:
    house.langchain(100)
    with house.database.connect() as late, house.database.connect() as nested:
        late.execute("UPDATE langchain_pg_embedding SET document = 'late' WHERE id = 'id-5'")
        nested.execute("SAVEPOINT s")
        nested.execute("INSERT INTO langchain_pg_embedding (id) VALUES ('nested')")
        nested.execute("RELEASE s")
        write(house, "UPDATE langchain_pg_embedding SET document = 'early' WHERE id = 'id-6'")
        increment(house)
        late.commit()
        second = increment(house)
        nested.commit()
    assert second.tables["langchain_pg_embedding"].rows_written == 1
    third = increment(house)
    assert third.tables["langchain_pg_embedding"].rows_written == 1
    require_equal(house, str(third.backup_id), *PAIR)


def test_partitions_come_go_and_exchange_rows(house: House) -> None:
    write(house, "CREATE TABLE t (id int, part int, note text, PRIMARY KEY (id, part)) PARTITION BY LIST (part)")
    write(house, "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)")
    write(
        house, "CREATE TABLE t3 (LIKE t INCLUDING ALL); INSERT INTO t3 SELECT g, 3, 'x' FROM generate_series(1, 50) g"
    )
    write(house, "INSERT INTO t SELECT g, 1 + g % 2, 'n' FROM generate_series(1, 300) g")
    house.configure(tables="t")
    increment(house)
    write(
        house,
        "UPDATE t SET part = 2 WHERE part = 1 AND id % 10 = 0; ALTER TABLE t ATTACH PARTITION t3 FOR VALUES IN (3)",
    )
    second = increment(house)
    assert second.mode == "incremental"
    assert second.tables["t"].rows_written >= 50
    require_equal(house, str(second.backup_id), "t")
    write(house, "ALTER TABLE t DETACH PARTITION t3")
    third = increment(house)
    assert third.mode == "incremental"
    assert third.tables["t"].rows_deleted == 50
    require_equal(house, str(third.backup_id), "t")


def test_rewritten_tables_are_the_same_rows(house: House) -> None:
    house.langchain(200)
    increment(house)
    for statement in (
        "VACUUM (FREEZE) langchain_pg_embedding",
        "VACUUM (FULL) langchain_pg_embedding",
        "CLUSTER langchain_pg_embedding USING langchain_pg_embedding_pkey",
    ):
        house.database.run(statement)
        result = increment(house)
        assert result.mode == "incremental"
        assert result.tables["langchain_pg_embedding"].rows_written == 0
    require_equal(house, str(result.backup_id), *PAIR)


def test_collections_and_conflicts_of_a_chain(house: House, elsewhere: Database) -> None:
    house.langchain(100)
    increment(house)
    write(house, CHANGE)
    last = increment(house)
    ((name,),) = house.database.run("SELECT name FROM langchain_pg_collection ORDER BY name LIMIT 1")
    elsewhere.run("CREATE EXTENSION vector")
    house.restore(into=elsewhere, collections=[name], rename_collection={name: "renamed"})
    wanted = house.database.run(
        "SELECT count(*) FROM langchain_pg_embedding e JOIN langchain_pg_collection c ON c.uuid = e.collection_id"
        f" WHERE c.name = '{name}'"
    )
    assert elsewhere.run("SELECT count(*) FROM langchain_pg_embedding") == wanted
    write(house, "DELETE FROM langchain_pg_embedding WHERE id LIKE '%2'")
    house.restore(timestamp=str(last.backup_id), on_conflict="update")
    require_equal(house, str(last.backup_id), *PAIR)
    plan = house.restore(timestamp=str(last.backup_id), dry_run=True, truncate_before_restore=True)
    assert plan.tables["langchain_pg_embedding"].rows == house.count("langchain_pg_embedding")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture(scope="module")
def chain(
    server: OpenedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[House, list[BackupResult]]]:
    """Three sets, one on the other, and a change that is in none of them; to be copied and damaged."""
    with fresh(server) as database:
        house = House(database, tmp_path_factory.mktemp("chain"))
        house.langchain(60)
        results = []
        for _ in range(3):
            results.append(increment(house))
            write(house, "UPDATE langchain_pg_embedding SET document = document || '.' WHERE id LIKE '%7'")
        yield house, results


@pytest.mark.parametrize("harm", [_cut, _flip, Path.unlink])
@pytest.mark.parametrize("file", ["langchain_pg_embedding_{}.csv", "langchain_pg_embedding_{}.keys.csv"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_damage_anywhere_in_the_chain(
    chain: tuple[House, list[BackupResult]], backup_root: Path, harm: Callable[[Path], None], file: str, which: int
) -> None:
    made, results = chain
    shutil.copytree(made.root, backup_root, dirs_exist_ok=True)
    house = House(made.database, backup_root)
    last = results[-1]
    harm(house.directory / file.format(results[which].backup_id))
    verified = house.verify(backup_path="vector_bak", timestamp=str(last.backup_id), depth="files")
    assert isinstance(verified.failure, IntegrityFault)
    with pytest.raises(IntegrityFault):
        house.truncate(last)
    with pytest.raises(IntegrityFault):
        house.restore(timestamp=str(last.backup_id), truncate_before_restore=True)
    result = increment(house)
    assert result.full_because is not None


def test_psql_alone_loads_a_chain(house: House, elsewhere: Database) -> None:
    house.langchain(100)
    for _ in range(3):
        result = increment(house, compression="gzip")
        write(house, CHANGE)
    house.restore(timestamp=str(result.backup_id), truncate_before_restore=True)
    script = f"schema_{result.backup_id}.sql"
    command = [str(psql_of(elsewhere.server)), "-X", "-q", "-d", elsewhere.uri(), "-f", script]
    done = subprocess.run(command, cwd=house.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(elsewhere, *PAIR) == contents(house.database, *PAIR)


class InUtf8(Database):
    """A database that is spoken to in UTF-8, whatever its own encoding is."""

    def uri(self, user: str = "postgres") -> str:
        return f"{super().uri(user)}&client_encoding=UTF8"


@pytest.mark.parametrize("encoding", ["EUC_JP", "LATIN1", "SQL_ASCII"])
def test_servers_of_other_encodings(house: House, encoding: str) -> None:
    name = f"of_{encoding.lower()}"
    house.database.run(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    other = InUtf8(house.database.server, name)
    try:
        other.run("CREATE TABLE t (id text PRIMARY KEY, n int)")
        letters = {"EUC_JP": "12354 + g * 3", "LATIN1": "192 + g % 60", "SQL_ASCII": "65 + g % 60"}[encoding]
        text = f"chr({letters})" if encoding != "EUC_JP" else "(ARRAY['あ','漢','ｱ','z','字','ん'])[1 + g % 6]"
        other.run(f"INSERT INTO t SELECT {text} || g, g FROM generate_series(1, 120) g")
        there = House(other, house.root)
        there.configure(tables="t")
        increment(there)
        other.run("UPDATE t SET n = 0 WHERE n % 10 = 1")
        other.run("DELETE FROM t WHERE n % 10 = 2")
        result = increment(there)
        assert result.mode == "incremental", result.full_because
        assert result.tables["t"].rows_written == 12
        before = contents(other, "t")
        there.restore(timestamp=str(result.backup_id), truncate_before_restore=True)
        assert contents(other, "t") == before
    finally:
        house.database.run(f"DROP DATABASE {name} WITH (FORCE)")
