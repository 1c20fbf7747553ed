"""Sets that somebody hostile or careless wrote: they are damaged, and nothing else is."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import (
    BackupError,
    Cancelled,
    Conflict,
    IntegrityFault,
    InvalidParams,
    NotFound,
)
from pgvector_backup.engine.codec import python_repr, rows
from pgvector_backup.engine.remove import files_of, remove
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.documents import MANIFEST_BYTES
from pgvector_backup.engine.sets.found import FoundSet
from tests.helpers.database import contents, fresh
from tests.helpers.forging import manifest_of, mutations, put, reseal, seal
from tests.helpers.house import House
from tests.helpers.langchain import PAIR


@pytest.fixture(scope="module")
def made(server: OpenedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A whole set, and in a task's directory of its own another."""
    with fresh(server) as database:
        house = House(database, tmp_path_factory.mktemp("made"))
        house.langchain(8)
        (house.root / "bad").mkdir()
        house.backup()
        house.backup(task_id="bad")
        rows = contents(database, *PAIR)
        yield house
        assert contents(database, *PAIR) == rows, "what was refused has changed the tables"


@pytest.fixture
def two_sets(made: House, backup_root: Path) -> House:
    """Both sets for one's own, the one in ``bad`` to be tampered with; the tables are everybody's."""
    shutil.copytree(made.root, backup_root, dirs_exist_ok=True)
    return House(made.database, backup_root)


def bad_manifest(house: House) -> Path:
    (path,) = (house.root / "bad" / "vector_bak").glob("manifest_*.json")
    return path


def listed(house: House) -> dict[str, FoundSet]:
    """Every set that a list of them shows, by its location."""
    return {place.location.relative_path: one for place in Catalog(house.settings).locations() for one in place.sets}


def require_bad_alone(house: House) -> None:
    """One set is damaged, the other is as it was, in whatever way they are looked at."""
    sets = listed(house)
    assert sets["vector_bak"].damaged is None
    assert sets["vector_bak"].whole
    assert sets["bad/vector_bak"].damaged is not None
    assert sets["bad/vector_bak"].moment > 0
    json.dumps({name: repr(one) for name, one in sets.items()}, ensure_ascii=False).encode()
    result = house.verify(depth="files")
    assert {one.relative_path: bool(one.damage) for one in result.sets} == {"vector_bak": False, "bad/vector_bak": True}
    with pytest.raises((IntegrityFault, NotFound)):
        house.restore(backup_path="bad/vector_bak", timestamp=sets["bad/vector_bak"].backup_id)


FIELDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "created_at is a number": lambda body: body.update(created_at=5),
    "created_at is no time": lambda body: body.update(created_at="yesterday"),
    "created_at has no zone": lambda body: body.update(created_at="2026-01-01T00:00:00"),
    "created_at is of the year 1": lambda body: body.update(created_at="0001-01-01T00:00:00+00:00"),
    "created_at is of the year 9999": lambda body: body.update(created_at="9999-12-31T23:59:59-12:00"),
    "backup_id is a list": lambda body: body.update(backup_id=[]),
    "backup_id leads elsewhere": lambda body: body.update(backup_id="../x"),
    "run_id is a number": lambda body: body.update(run_id=7),
    "task_id is an object": lambda body: body.update(task_id={}),
    "failed_tables holds numbers": lambda body: body.update(failed_tables={"t": 5}),
    "failed_tables is a list": lambda body: body.update(failed_tables=["t"]),
    "tables is a text": lambda body: body.update(tables="t"),
    "tables is an object": lambda body: body.update(tables={}),
    "a table is a number": lambda body: body.update(tables=[5]),
    "rows is a text": lambda body: body["tables"][0].update(rows="5"),
    "rows is true": lambda body: body["tables"][0].update(rows=True),
    "bytes is negative": lambda body: body["tables"][0].update(bytes=-1),
    "bytes is a float": lambda body: body["tables"][0].update(bytes=1.5),
    "bytes is not a number": lambda body: body["tables"][0].update(bytes=float("nan")),
    "bytes has a thousand digits": lambda body: body["tables"][0].update(bytes=10**1000),
    "a column's type is a list": lambda body: body["tables"][0]["columns"][0].update(type=[]),
    "a column has half a surrogate pair": lambda body: body["tables"][0]["columns"][0].update(comment="\ud800"),
    "a column is there twice": lambda body: body["tables"][0]["columns"].append(body["tables"][0]["columns"][0]),
    "a column has no name": lambda body: body["tables"][0]["columns"][0].update(name=""),
    "a table's name holds a NUL": lambda body: body["tables"][0].update(table="a\0b", name="a\0b"),
    "the format is unknown": lambda body: body["tables"][0].update(format="pickle"),
    "the compression is unknown": lambda body: body["tables"][0].update(compression="lzma"),
    "the kind is unknown": lambda body: body["tables"][0].update(kind="server"),
    "a file leads elsewhere": lambda body: body["tables"][0].update(file="../../secret_1.csv"),
    "a file is another set's": lambda body: body["tables"][0].update(file="t_20200101_000000.csv"),
    "two tables share a file": lambda body: body["tables"][1].update(file=body["tables"][0]["file"]),
    "a table is there twice": lambda body: body["tables"].append(body["tables"][0]),
    "a checksum is none": lambda body: body["tables"][0].update(sha256="; DROP TABLE t"),
    "a key is of no column": lambda body: body["tables"][0].update(primary_key=["nothing"]),
    "a field is missing": lambda body: body["tables"][0].pop("rows"),
    "the source is a text": lambda body: body.update(source="server"),
    "the snapshot is a list": lambda body: body.update(snapshot=[1, 2]),
    "a label of another table": lambda body: body["tables"][0].update(table="accounts"),
    "a label of another schema": lambda body: body["tables"][0].update(name="other.langchain_pg_collection"),
}


@pytest.mark.parametrize("what", FIELDS)
def test_a_manifest_that_says_what_none_of_ours_says(two_sets: House, what: str) -> None:
    house = two_sets
    path = bad_manifest(house)
    body = json.loads(path.read_bytes())
    FIELDS[what](body)
    body.pop("manifest_sha256", None)
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    body["manifest_sha256"] = hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()
    path.write_text(json.dumps(body))
    require_bad_alone(house)


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"\x00\x01",
    "no UTF-8": b'{"a": "\xff"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a number": b"5",
    "a list": b"[]",
    "a text": b'"manifest"',
    "null": b"null",
    "an object": b"{}",
    "many digits": b'{"format_version": 1' + b"0" * 100_000 + b"}",
}


@pytest.mark.parametrize("what", CONTENTS)
def test_a_manifest_that_is_none(two_sets: House, what: str) -> None:
    house = two_sets
    bad_manifest(house).write_bytes(CONTENTS[what])
    require_bad_alone(house)


def test_a_manifest_of_a_gigabyte_is_not_read(two_sets: House) -> None:
    house = two_sets
    with bad_manifest(house).open("ab") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    require_bad_alone(house)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MANIFEST_BYTES


def test_an_index_of_a_gigabyte_is_not_read(two_sets: House) -> None:
    house = two_sets
    (index, *_) = (house.root / "bad" / "vector_bak").glob("*.idx")
    with index.open("ab") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    result = house.verify(depth="rows")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    assert [one.relative_path for one in result.sets if one.damage] == ["bad/vector_bak"]


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"null",
        b"[1]",
        b'{"ok": 5}',
        b'{"ok": true, "verified_at": 5}',
        b'{"ok": true, "verified_at": "never"}',
        b'{"ok": true, "errors": {"a": 1}}',
        b'{"ok": true, "tables": [1]}',
        b'{"ok": true, "run_id": "\\ud800"}',
        b'{"ok": true, "duration": NaN}',
        b"\xff",
    ],
)
def test_an_outcome_that_is_none_counts_for_nothing(two_sets: House, content: bytes) -> None:
    house = two_sets
    bad = house.root / "bad" / "vector_bak"
    sets = listed(house)
    (bad / f"verified_{sets['bad/vector_bak'].backup_id}.json").write_bytes(content)
    sets = listed(house)
    assert sets["bad/vector_bak"].verification is None
    assert sets["bad/vector_bak"].whole
    assert house.verify(depth="files").errors == []


def test_names_that_are_no_text_break_nothing(two_sets: House) -> None:
    house = two_sets
    bad = os.fsencode(house.root / "bad" / "vector_bak")
    for name in (b"\xff_20260101_000000.csv", b"a\nb_20260101_000000.csv", b"\x1b[31m_20260101_000001.csv", b"\xff"):
        Path(os.fsdecode(bad + b"/" + name)).write_bytes(b"id\n1\n")
    sets = listed(house)
    assert len(sets) == 2
    assert all(one.whole for one in sets.values())
    json.dumps([repr(one) for one in sets.values()], ensure_ascii=False).encode()
    assert house.verify(depth="files").errors == []


def test_a_time_that_no_calendar_has_breaks_nothing(two_sets: House) -> None:
    house = two_sets
    path = bad_manifest(house)
    path.write_bytes(b"{}")
    os.utime(path, (1e11, 1e15))
    require_bad_alone(house)


def test_whatever_a_manifest_says_breaks_nothing_but_its_set(two_sets: House) -> None:
    house = two_sets
    bad_id = listed(house)["bad/vector_bak"].backup_id
    path = bad_manifest(house)
    whole = path.read_bytes()
    before = house.count("langchain_pg_embedding")

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(mutations(), min_size=1, max_size=3))
    def check(changes: list[tuple[list[int], Any]]) -> None:
        body = json.loads(whole)
        for steps, value in changes:
            put(body, steps, value)
        seal(path, body)
        sets = listed(house)
        assert sets["vector_bak"].whole
        one = sets["bad/vector_bak"]
        assert one.moment > 0
        json.dumps(repr(one), ensure_ascii=False).encode()
        result = house.verify(depth="files")
        assert not any(found.damage for found in result.sets if found.relative_path == "vector_bak")
        assert not result.faults
        try:
            house.restore(backup_path="bad/vector_bak", timestamp=bad_id, dry_run=True)
        except BackupError as fault:
            fault.message.encode()
        location = Catalog(house.settings).place("bad/vector_bak", None)
        assert set(files_of(location, one)) <= set(os.listdir(path.parent))

    check()
    assert house.count("langchain_pg_embedding") == before


# --- a label is its table ---


def rename_table(house: House, **changes: str) -> None:
    def change(body: dict[str, Any]) -> None:
        body["tables"][0].update(changes)

    reseal(house, change)


def accounts(house: House) -> None:
    house.database.run("CREATE TABLE accounts (LIKE t INCLUDING ALL); INSERT INTO accounts VALUES (99, 'precious')")


def one_table(house: House) -> None:
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')")
    house.configure(tables="t")
    house.backup()
    accounts(house)


def test_a_set_labelled_as_another_table_is_damaged(house: House) -> None:
    one_table(house)
    rename_table(house, table="accounts")
    stamp = json.loads(manifest_of(house).read_bytes())["backup_id"]
    with pytest.raises(IntegrityFault, match="accounts"):
        house.restore(truncate_before_restore=True, timestamp=stamp)
    assert house.database.run("SELECT note FROM accounts") == [("precious",)]


def test_a_set_of_a_table_that_is_not_configured_is_refused(house: House) -> None:
    one_table(house)
    rename_table(house, table="accounts", name="accounts")
    for request in ({"truncate_before_restore": True}, {}, {"on_conflict": "update"}, {"dry_run": True}):
        with pytest.raises(InvalidParams, match="accounts"):
            house.restore(**request)
    assert house.database.run("SELECT note FROM accounts") == [("precious",)]


def test_a_table_that_the_caller_names_may_be_restored(house: House) -> None:
    one_table(house)
    rename_table(house, table="accounts", name="accounts")
    house.restore(tables=["accounts"], on_conflict="skip")
    assert house.count("accounts") == 2


def test_a_configured_name_in_another_schema_is_another_table(house: House) -> None:
    house.database.run("CREATE SCHEMA billing; CREATE TABLE billing.t (id int PRIMARY KEY, note text)")
    one_table(house)
    rename_table(house, schema="billing")
    for request in ({}, {"tables": ["t"]}):
        with pytest.raises(InvalidParams, match=r"billing\.t"):
            house.restore(**request)
    assert house.count("billing.t") == 0
    house.restore(tables=["billing.t"])
    assert house.count("billing.t") == 1


def test_a_foreign_file_of_a_table_that_is_not_configured_is_refused(house: House) -> None:
    house.database.run("CREATE TABLE accounts (id int PRIMARY KEY, note text)")
    house.directory.mkdir()
    (house.directory / "accounts_20260101_000000.csv").write_bytes(b"id,note\n1,a\n")
    with pytest.raises(InvalidParams, match="accounts"):
        house.restore(timestamp="20260101_000000")
    house.restore(timestamp="20260101_000000", tables=["accounts"])
    assert house.count("accounts") == 1


# --- bombs ---


def bomb(house: House, compression: str, stored: bytes, unpacked: int, number: int) -> None:
    """Put one packed block into a table's only file, with an index and a manifest to match."""
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')")
    house.configure(tables="t")
    house.backup(compression=compression)
    path = manifest_of(house)
    body = json.loads(path.read_bytes())
    entry = body["tables"][0]
    index = b"PGVBIDX1" + struct.pack("<IIII", len(stored), unpacked, number, zlib.crc32(stored))
    (house.directory / entry["file"]).write_bytes(stored)
    (house.directory / entry["index"]).write_bytes(index)
    entry.update(
        bytes=len(stored),
        raw_bytes=unpacked,
        rows=number,
        sha256=hashlib.sha256(stored).hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    seal(path, body)


def packed(compression: str, size: int) -> bytes:
    data = bytes(size)
    return zstandard.compress(data) if compression == "zstd" else gzip.compress(data)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
@pytest.mark.parametrize(("told", "number"), [(64, 1), (64, 3), (256 << 20, 3), (256 << 20, 0), ((1 << 32) - 1, 1)])
def test_a_block_unpacks_to_what_its_index_may_say_and_no_further(
    house: House, compression: str, told: int, number: int
) -> None:
    bomb(house, compression, packed(compression, 256 << 20), told, number)
    tracemalloc.start()
    started = time.monotonic()
    result = house.verify(depth="rows")
    (manifest,) = house.directory.glob("manifest_*.json")
    with pytest.raises(IntegrityFault):  # by its name, for as the latest it is no longer taken
        house.restore(timestamp=manifest.stem.removeprefix("manifest_"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(result.failure, IntegrityFault)
    assert peak < 32 << 20
    assert time.monotonic() - started < 20


def test_an_index_may_list_what_a_server_can_have_sent() -> None:
    def index(length: int, unpacked: int, number: int) -> bytes:
        return b"PGVBIDX1" + struct.pack("<IIII", length, unpacked, number, 0)

    assert list(block_index.read(index(500 << 20, 500 << 20, 1)))
    assert list(block_index.read(index(100, 1 << 20, 5000)))
    for odd in (index(10, (1 << 20) + 1, 2), index(10, (1 << 30) + 1, 1), index(5 << 20, 1 << 20, 9)):
        with pytest.raises(IntegrityFault):
            list(block_index.read(odd))


@pytest.mark.parametrize("data", [b"," * 5_000_000 + b"\n", b'"",' * 2_000_000 + b"\n"])
def test_a_row_of_commas_is_no_row(data: bytes) -> None:
    line = data.rstrip(b"\n")
    tracemalloc.start()
    with pytest.raises(IntegrityFault, match="fields"):
        list(rows.rows_of(data, "csv"))
    with pytest.raises(IntegrityFault, match="fields"):
        rows.csv_fields(line)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_a_quote_that_is_never_closed_takes_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_ROW_BYTES", 4 << 20)
    endless = iter(lambda: b"x" * 65536, None)

    def chunks() -> Any:
        yield b'"'
        yield from endless

    with pytest.raises(IntegrityFault, match="quote"):
        list(rows.csv_rows(chunks()))


@pytest.mark.parametrize(
    "text",
    [
        "'" + "\\'" * 200_000,
        '"' * 200_001,
        "'" * 200_001,
        "{" + "'a" * 200_000,
        "[" * 200_000,
        "-" * 200_000,
        "1" * 200_000,
        "1e" * 100_000,
        "(" * 200_000,
        "[" + "1, " * 200_000,
        "{'a': " + "'" + "\\" * 200_000,
        "1" + "0" * 4000 + "e400.",
        " " * 400_000 + "x",
        "['a' " * 50_000,
    ],
)
def test_reprs_are_read_in_a_time_that_grows_with_their_length(text: str) -> None:
    started = time.process_time()
    with pytest.raises(python_repr.NotJson):
        python_repr.to_json(text)
    assert time.process_time() - started < 2


def test_a_long_repr_looks_at_cancel() -> None:
    cancel = Cancel()
    cancel._asked.set()
    with pytest.raises(Cancelled):
        python_repr.to_json("[" + "1, " * 100_000 + "1]", cancel)


# --- removal ---


def names_in(house: House) -> list[str]:
    return sorted(path.name for path in house.directory.iterdir())


@pytest.mark.parametrize(
    ("short", "long"),
    [("%H%M%S", "%Y%m%d_%H%M%S"), ("%S", "%Y_%S"), ("%H%M%S", "%Y-%m-%d_%H%M%S"), ("%M_%S", "%H_%M_%S")],
)
@pytest.mark.parametrize("damage", [False, True])
def test_a_removal_takes_its_own_files_alone(house: House, short: str, long: str, damage: bool) -> None:
    now = datetime(2026, 11, 26, 15, 3, 33, tzinfo=timezone.utc)
    house.langchain(8)
    house.configure(timestamp_format=long)
    kept = house.backup(now=now)
    house.configure(timestamp_format=short)
    gone = house.backup(now=now)
    other = [name for name in names_in(house) if f"_{kept.backup_id}." in name]
    assert gone.backup_id is not None
    location = Catalog(house.settings).place("vector_bak", None)
    if damage:
        (house.directory / f"manifest_{gone.backup_id}.json").write_bytes(b"{}")
    removed = remove(location, Catalog(house.settings).find(location, gone.backup_id))
    assert set(other) <= set(names_in(house))
    assert not set(other) & set(removed)
    assert not [name for name in names_in(house) if name not in other and gone.backup_id in name]
    assert house.verify(depth="files", timestamp=kept.backup_id, backup_path="vector_bak").errors == []


def test_a_removal_takes_what_lies_beside_the_files(house: House) -> None:
    house.langchain(8)
    result = house.backup()
    stamp = result.backup_id
    for name in (f"schema_{stamp}.sql", f"langchain_pg_embedding_{stamp}.keys.csv", f"verified_{stamp}.json"):
        (house.directory / name).write_bytes(b"{}")
    (house.directory / f"notes_{stamp}.txt").write_bytes(b"somebody's own")
    location = Catalog(house.settings).place("vector_bak", None)
    remove(location, Catalog(house.settings).find(location, str(stamp)))
    assert names_in(house) == [f"notes_{stamp}.txt"]


def test_a_set_in_use_is_not_removed(house: House) -> None:
    house.langchain(8)
    result = house.backup()
    location = Catalog(house.settings).place("vector_bak", None)
    found = Catalog(house.settings).find(location, str(result.backup_id))
    with location.shared_lock(str(result.manifest_file)), pytest.raises(Conflict):
        remove(location, found)
