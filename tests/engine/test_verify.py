"""Every way in which a set can be damaged is found and named, at the depth that has to find it; nothing else is."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
import zstandard

from pgvector_backup.embedded.server import EmbeddedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import (
    Cancelled,
    Conflict,
    IntegrityFault,
    InvalidParams,
    NotFound,
    StorageFault,
)
from pgvector_backup.engine.check.inspection import inspect
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.contract.verify_result import SetVerification, VerifyResult
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets import blocks
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store.local import LocalStore
from pgvector_backup.engine.verify import verify
from tests.helpers.database import Database
from tests.helpers.forging import entry_of, forge, manifest_of, reseal
from tests.helpers.house import House
from tests.helpers.kinds import KINDS

COLLECTION, EMBEDDING = "langchain_pg_collection", "langchain_pg_embedding"
DEPTHS = ("files", "rows")


@pytest.fixture(scope="module")
def original(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A set of two tables, the larger of several blocks; it stays as it is."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE verified")
    house = House(Database(server, "verified"), tmp_path_factory.mktemp("original"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "BLOCK_BYTES", 4096)
        house.langchain()
        house.backup()
    yield house
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE verified WITH (FORCE)")


@pytest.fixture
def backed_up(original: House, backup_root: Path) -> House:
    """A copy of that set, to be damaged."""
    shutil.copytree(original.root, backup_root, dirs_exist_ok=True)
    return House(original.database, backup_root)


def only(result: VerifyResult) -> SetVerification:
    (one,) = result.sets
    return one


def damage(house: House, depth: str) -> SetVerification:
    """Verify, and expect that it fails as damage does."""
    result = house.verify(depth=depth)
    assert isinstance(result.failure, IntegrityFault)
    assert result.to_json()["response"] == "Vector表备份校验失败"
    one = only(result)
    assert not one.ok
    return one


def file_of(house: House, table: str, part: str = "file") -> Path:
    return house.directory / entry_of(house, table)[part]


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x20
    path.write_bytes(content)


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "its first byte flipped": lambda path: flip(path, 0),
    "a byte in its middle flipped": lambda path: flip(path, path.stat().st_size // 2),
    "its last byte flipped": lambda path: flip(path, -1),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "longer by a byte": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "missing": lambda path: path.unlink(),
    "a link to itself elsewhere": lambda path: path.symlink_to(path.rename(path.with_suffix(".moved"))),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize(("table", "part"), [*itertools.product((COLLECTION, EMBEDDING), ("file", "index"))])
def test_a_data_file_or_an_index_is_altered(
    backed_up: House, table: str, part: str, alteration: str, depth: str
) -> None:
    path = file_of(backed_up, table, part)
    ALTERATIONS[alteration](path)
    one = damage(backed_up, depth)
    assert one.damaged_tables == [table]
    assert len(one.whole_tables) == 1
    assert path.name in one.tables[table].faults[0]
    assert one.whole_tables[0] in str(backed_up.verify(depth=depth).failure)


@pytest.mark.parametrize("alteration", [name for name in ALTERATIONS if name not in ("longer by a byte", "missing")])
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_manifest_is_altered(backed_up: House, alteration: str, depth: str) -> None:
    path = manifest_of(backed_up)
    if alteration == "its last byte flipped":
        path.write_bytes(path.read_bytes().rstrip(b"\n"))
    ALTERATIONS[alteration](path)
    if alteration.startswith("a link"):
        # What is no file is no manifest: the CSV files that lie there are then some that nothing tells of.
        assert only(backed_up.verify(depth=depth)).notes or only(backed_up.verify(depth=depth)).tables
        return
    if alteration == "cut short":
        path.write_bytes(path.read_bytes()[:-2])
    one = damage(backed_up, depth)
    assert path.name in one.damage[0]
    assert one.tables == {}


def test_a_reformatted_manifest_is_no_damage(backed_up: House) -> None:
    path = manifest_of(backed_up)
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=8) + "\n\n")
    assert backed_up.verify().failure is None


def test_a_block_that_is_damaged_is_told_with_its_rows(backed_up: House) -> None:
    path = file_of(backed_up, EMBEDDING)
    flip(path, path.stat().st_size // 2)
    table = damage(backed_up, "files").tables[EMBEDDING]
    assert table.inspection.damaged_blocks == 1
    assert table.inspection.blocks is not None
    assert table.inspection.blocks > 3
    assert "rows" in table.faults[0]
    assert "is not what was written" in table.faults[0]


def test_two_tables_files_are_swapped(backed_up: House) -> None:
    one, other = file_of(backed_up, COLLECTION), file_of(backed_up, EMBEDDING)
    moved = one.rename(one.with_suffix(".moved"))
    other.rename(one)
    moved.rename(other)
    assert damage(backed_up, "files").damaged_tables == [COLLECTION, EMBEDDING]


def test_a_file_is_that_of_another_set(house: House) -> None:
    house.langchain()
    earlier = house.backup(now=datetime(2025, 1, 1, tzinfo=timezone.utc))
    house.database.run("UPDATE langchain_pg_embedding SET document = 'later' WHERE id = 'id-1'")
    later = house.backup()
    for suffix in ("", ".idx"):
        shutil.copy(
            house.directory / (earlier.tables[EMBEDDING].file + suffix),
            house.directory / (later.tables[EMBEDDING].file + suffix),
        )
    one = damage(house, "files")
    assert one.backup_id == later.backup_id
    assert one.damaged_tables == [EMBEDDING]


def test_a_manifest_is_that_of_another_set(house: House) -> None:
    house.langchain()
    earlier = house.backup(now=datetime(2025, 1, 1, tzinfo=timezone.utc))
    later = house.backup()
    shutil.copy(house.directory / str(earlier.manifest_file), house.directory / str(later.manifest_file))
    result = house.verify(task_id=None, timestamp=later.backup_id, backup_path="vector_bak")
    assert only(result).damage[0] == (f"{later.manifest_file}: it says that it is of set {earlier.backup_id}")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format_version": 1}'])
def test_a_manifest_is_no_manifest(backed_up: House, content: bytes) -> None:
    manifest_of(backed_up).write_bytes(content)
    assert "manifest" in damage(backed_up, "files").damage[0]


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_a_manifest_is_of_a_version_that_nobody_knows(backed_up: House, version: object) -> None:
    reseal(backed_up, lambda body: body.update(format_version=version))
    assert "format version" in damage(backed_up, "files").damage[0]


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "a/b.csv", "..", "x\0.csv"])
@pytest.mark.parametrize("part", ["file", "index"])
def test_a_manifest_names_a_path_outside(backed_up: House, part: str, name: str) -> None:
    reseal(backed_up, lambda body: body["tables"][0].update({part: name}))
    assert "bare file name" in damage(backed_up, "files").damage[0]


def test_a_manifest_names_a_file_of_another_set(backed_up: House) -> None:
    shutil.copy(file_of(backed_up, COLLECTION), backed_up.directory / "langchain_pg_collection_20200101_000000.csv")
    reseal(backed_up, lambda body: body["tables"][0].update(file="langchain_pg_collection_20200101_000000.csv"))
    assert "no file of this set" in damage(backed_up, "files").damage[0]


def test_a_manifest_names_a_file_twice(backed_up: House) -> None:
    reseal(backed_up, lambda body: body["tables"].append(body["tables"][0] | {"name": "again"}))
    assert "twice" in damage(backed_up, "files").damage[0]


@pytest.mark.parametrize(("what", "value"), [("format", "parquet"), ("compression", "lz4")])
def test_a_manifest_tells_of_files_that_nobody_reads(backed_up: House, what: str, value: str) -> None:
    reseal(backed_up, lambda body: body["tables"][1].update({what: value}))
    assert value in damage(backed_up, "files").damage[0]


def test_an_error_of_the_program_is_no_damage_and_stops_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.langchain()
    for task_id in ("one", "two"):
        (house.root / task_id).mkdir()
        house.backup(task_id=task_id)

    def failing(location: Any, *args: Any, **kwargs: Any) -> Any:
        if location.task_id == "one":
            raise KeyError("a fault of ours")
        return inspect(location, *args, **kwargs)

    monkeypatch.setattr("pgvector_backup.engine.verify.inspect", failing)
    result = house.verify()
    assert [(one.task_id, one.ok, one.damage) for one in result.sets] == [("one", False, []), ("two", True, [])]
    assert result.failure is not None
    assert result.failure.error_type == "INTERNAL_ERROR"
    assert not list((house.root / "one" / "vector_bak").glob("verified_*.json"))


@pytest.mark.parametrize("what", ["rows", "bytes", "raw_bytes"])
def test_index_and_manifest_contradict_each_other(backed_up: House, what: str) -> None:
    reseal(backed_up, lambda body: body["tables"][1].update({what: body["tables"][1][what] + 1}))
    one = damage(backed_up, "files")
    assert one.damaged_tables == [EMBEDDING]
    assert "the manifest" in one.damage[0]


# --- what only decoding the rows shows: every checksum fits ---

HEADER = b"id,collection_id,embedding,document,cmetadata\n"
ROW = b'a,,"[1,2,3,4,5,6,7,8]",text,"{""n"": 1}"\n'


def of_rows(*rows: bytes) -> str:
    return fingerprint.of_sum(sum(fingerprint.best().of_row(row) for row in rows))


def forged(house: House, *rows: bytes, header: bytes = HEADER, counted: int | None = None, **told: Any) -> None:
    told.setdefault("fingerprint", of_rows(*rows))
    forge(house, EMBEDDING, [(header, 0), (b"".join(rows), len(rows) if counted is None else counted)], **told)


def found_in_rows(house: House, fault: str) -> None:
    """The depth `files` finds nothing, for every checksum fits; `rows` finds it and names it."""
    assert house.verify(depth="files").failure is None
    one = damage(house, "rows")
    assert one.damaged_tables == [EMBEDDING]
    assert fault in one.damage[0]


def test_a_forged_set_without_a_fault_is_whole(backed_up: House) -> None:
    forged(backed_up, ROW, ROW)
    result = backed_up.verify(depth="rows")
    assert result.errors == []
    assert only(result).tables[EMBEDDING].inspection.rows == 2


@pytest.mark.parametrize(
    ("vector", "fault"),
    [
        (b"[1,2,3,4,5,6,7]", "it has 7 dimensions, not 8"),
        (b"[1,2,3,4,5,6,7,8,9]", "it has 9 dimensions, not 8"),
        (b"[1,2,3,4,5,6,7,NaN]", "it holds NaN, an infinity or a number out of the range"),
        (b"[1,2,3,4,5,6,7,Infinity]", "it holds NaN, an infinity or a number out of the range"),
        (b"[1,2,3,4,5,6,7,-Infinity]", "it holds NaN, an infinity or a number out of the range"),
        (b"[1,2,3,4,5,6,7,1e39]", "it holds NaN, an infinity or a number out of the range"),
        (b"[1,2,3,4,5,6,7,8", "it is no vector"),
        (b"[1,2,3,4,5,6,7,eight]", "it is no vector"),
        (b"", "it is no vector"),
    ],
)
def test_a_vector_is_none(backed_up: House, vector: bytes, fault: str) -> None:
    forged(backed_up, ROW, ROW.replace(b"[1,2,3,4,5,6,7,8]", vector))
    found_in_rows(backed_up, f"row 2, column embedding: {fault}")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (b'a,,"[1,2,3,4,5,6,7,8]",text\n', "row 2 has 4 columns, the table 5"),
        (ROW[:-1] + b",more\n", "row 2 has 6 columns, the table 5"),
        (b"\n", "row 2 has 1 columns"),
    ],
)
def test_a_row_has_other_columns(backed_up: House, row: bytes, fault: str) -> None:
    forged(backed_up, ROW, row)
    found_in_rows(backed_up, fault)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (b'a,,"[1,2,3,4,5,6,7,8],text,\n', "a quote is not closed"),
        (ROW[:-1], "a row has no end"),
        (ROW.replace(b"text", b'"te"xt'), "something follows its closing quote"),
        (ROW.replace(b"text", b'te"x"t'), "a quote within a field"),
    ],
)
def test_a_row_cannot_be_taken_apart(backed_up: House, row: bytes, fault: str) -> None:
    forged(backed_up, ROW, row)
    found_in_rows(backed_up, fault)


@pytest.mark.parametrize("counted", [1, 3])
def test_a_row_count_is_wrong(backed_up: House, counted: int) -> None:
    forged(backed_up, ROW, ROW, counted=counted)
    found_in_rows(backed_up, f"it holds 2 rows, and {counted} are listed")


def test_the_rows_are_others(backed_up: House) -> None:
    forged(backed_up, ROW, ROW.replace(b"text", b"test"), fingerprint=of_rows(ROW, ROW))
    found_in_rows(backed_up, "the fingerprint of its rows is not the manifest's")


@pytest.mark.parametrize("header", [HEADER.replace(b"document", b"doc"), HEADER[:-1], b"id\n"])
def test_a_header_names_other_columns(backed_up: House, header: bytes) -> None:
    forged(backed_up, ROW, header=header)
    found_in_rows(backed_up, "its header does not name the table's columns")


@pytest.mark.parametrize(
    ("compression", "pack"),
    [("gzip", gzip.compress), ("zstd", zstandard.compress)],
)
@pytest.mark.parametrize(
    ("alteration", "alter"),
    [
        ("it is not packed", lambda packed, data: data),
        ("it is cut short", lambda packed, data: packed[:-3]),
        ("something follows it", lambda packed, data: packed + b"more"),
        ("it holds more than it should", lambda packed, data: None),
        ("it holds less than it should", lambda packed, data: None),
    ],
)
def test_a_block_does_not_unpack(
    house: House, compression: str, pack: Callable[[bytes], bytes], alteration: str, alter: Callable[..., bytes | None]
) -> None:
    house.langchain()
    house.backup(compression=compression)
    changed = {"it holds more than it should": ROW * 3, "it holds less than it should": ROW}

    def packed(data: bytes) -> bytes:
        if data == HEADER:
            return pack(data)
        altered = alter(pack(data), data)
        return pack(changed[alteration]) if altered is None else altered

    forge(house, EMBEDDING, [(HEADER, 0), (ROW * 2, 2)], pack=packed)
    found_in_rows(house, "it does not unpack")


BINARY_HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def binary_row(vector: bytes, *, fields: int = 5) -> bytes:
    row = struct.pack(">h", fields)
    for value in (b"a", None, vector, b"text", b"\1{}"):
        row += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return row


def binary_vector(*numbers: float, dimensions: int | None = None) -> bytes:
    return struct.pack(f">hh{len(numbers)}f", len(numbers) if dimensions is None else dimensions, 0, *numbers)


@pytest.mark.parametrize(
    ("rows", "trailer", "fault"),
    [
        ([binary_row(binary_vector(*range(7)))], TRAILER, "it has 7 dimensions, not 8"),
        ([binary_row(binary_vector(*range(7), float("nan")))], TRAILER, "it holds NaN, an infinity"),
        ([binary_row(binary_vector(*range(7), float("-inf")))], TRAILER, "it holds NaN, an infinity"),
        ([binary_row(binary_vector(*range(8), dimensions=9))], TRAILER, "it is no vector"),
        ([binary_row(binary_vector(*range(8)), fields=4)], TRAILER, "row"),
        ([binary_row(binary_vector(*range(8)), fields=6)], TRAILER, "a row has no end"),
        ([binary_row(binary_vector(*range(8)))[:-1]], TRAILER, "it reaches beyond its block"),
        ([binary_row(binary_vector(*range(8)))], b"\0\0", "it holds no rows and is no trailer"),
    ],
)
def test_a_binary_file_is_wrong(house: House, rows: list[bytes], trailer: bytes, fault: str) -> None:
    house.langchain()
    house.backup(file_format="binary")
    forge(
        house,
        EMBEDDING,
        [(BINARY_HEADER, 0), (b"".join(rows), len(rows)), (trailer, 0)],
        fingerprint=of_rows(*rows),
    )
    found_in_rows(house, fault)


def test_a_binary_file_has_another_header(house: House) -> None:
    house.langchain()
    house.backup(file_format="binary")
    row = binary_row(binary_vector(*range(8)))
    forge(house, EMBEDDING, [(b"PGCOPY" + bytes(13), 0), (row, 1), (TRAILER, 0)], fingerprint=of_rows(row))
    found_in_rows(house, "it is not the header of PostgreSQL's binary COPY format")


def test_many_faults_are_counted_not_listed(backed_up: House) -> None:
    forged(backed_up, *[ROW.replace(b",8]", b"]")] * 100)
    faults = damage(backed_up, "rows").damage
    assert len(faults) == 11
    assert faults[-1].endswith("90 more faults")


# --- no false alarms ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("file_format", "compression"), [("csv", "none"), ("csv", "gzip"), ("binary", "zstd")])
def test_every_kind_of_table_is_whole(house: House, kind: str, file_format: str, compression: str) -> None:
    name, script = KINDS[kind]
    house.database.run(script)
    house.configure(tables=name, back_up_views=kind == "view")
    result = house.backup(file_format=file_format, compression=compression)
    verified = house.verify()
    assert verified.errors == []
    one = only(verified)
    (table,) = one.tables.values()
    ((_, backed_up),) = result.tables.items()
    assert table.inspection.rows == backed_up.rows
    assert table.inspection.fingerprint == "equal"
    assert not one.notes


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_every_type_of_vector_is_whole(house: House, file_format: str) -> None:
    house.database.run(
        "CREATE TABLE v (id int PRIMARY KEY, a vector(3), b vector, c halfvec(2), d sparsevec(9), e bit(5), f bit,"
        " g sparsevec);"
        "INSERT INTO v VALUES (1, '[1,2,3]', '[1]', '[65504,-65504]', '{1:1,9:-2}/9', B'10101', B'1', '{}/3'),"
        " (2, NULL, '[1,2]', NULL, '{}/9', NULL, NULL, NULL),"
        " (3, '[3.4028235e38,-3.4028235e38,1e-45]', NULL, '[0,-0]', NULL, B'00000', B'0', '{2:1}/1000000')"
    )
    house.configure(tables="v")
    house.backup(file_format=file_format)
    result = house.verify()
    assert result.errors == []
    assert only(result).tables["v"].inspection.vectors == {
        "a": {"count": 2, "dimensions": [3]},
        "b": {"count": 2, "dimensions": [1, 2]},
        "c": {"count": 2, "dimensions": [2]},
        "d": {"count": 2, "dimensions": [9]},
        "e": {"count": 2, "dimensions": [5]},
        "g": {"count": 2, "dimensions": [3, 1_000_000]},
    }


@pytest.mark.parametrize("depth", DEPTHS)
def test_empty_tables_are_no_alarm(house: House, depth: str) -> None:
    house.langchain(0)
    house.database.run("DELETE FROM langchain_pg_collection")
    house.backup()
    result = house.verify(depth=depth)
    assert result.errors == []
    assert {label: table.inspection.rows for label, table in only(result).tables.items()} == {
        COLLECTION: 0,
        EMBEDDING: 0,
    }


def test_an_empty_collection_is_no_alarm(house: House) -> None:
    house.langchain(0)
    house.backup()
    assert house.verify().errors == []


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO langchain_pg_embedding (id) VALUES ('new')",
        "UPDATE langchain_pg_embedding SET document = 'new'",
        "TRUNCATE langchain_pg_embedding",
        "ALTER TABLE langchain_pg_embedding DROP COLUMN document, ADD COLUMN more int",
        "DROP TABLE langchain_pg_embedding",
    ],
)
def test_a_table_that_has_changed_since_is_no_alarm(house: House, change: str) -> None:
    house.langchain()
    house.backup()
    house.database.run(change)
    assert house.verify().errors == []


def test_a_set_that_lacks_a_failed_table_says_so(house: House) -> None:
    house.langchain()
    house.configure(tables="langchain_pg_collection,absent")
    backup = house.backup()
    assert backup.failure is not None
    result = house.verify()
    assert result.errors == []
    assert "absent: not in the set" in only(result).notes[0]


# --- which sets are looked at, and what is told ---


def test_nothing_to_verify_is_a_success_that_says_so(house: House) -> None:
    result = house.verify()
    assert result.failure is None
    assert result.to_json()["verify_performed"] is False
    assert result.to_json()["response"] == "没有可校验的备份"


def test_a_location_without_a_set_is_passed_over(backed_up: House) -> None:
    (backed_up.root / "idle" / "vector_bak").mkdir(parents=True)
    result = backed_up.verify()
    assert result.errors == []
    assert [one.relative_path for one in result.sets] == ["vector_bak"]
    assert result.notes == ["idle/vector_bak: no set to verify"]


def test_every_location_is_verified_before_failing(house: House) -> None:
    house.langchain()
    for task_id in ("one", "two", "three"):
        (house.root / task_id).mkdir()
        house.backup(task_id=task_id)
    damaged = next((house.root / "one" / "vector_bak").glob("langchain_pg_embedding_*.csv"))
    flip(damaged, 100)
    result = house.verify()
    assert [(one.task_id, one.ok) for one in result.sets] == [("one", False), ("three", True), ("two", True)]
    assert isinstance(result.failure, IntegrityFault)
    assert damaged.name in str(result.failure)
    for task_id in ("one", "two", "three"):
        assert "VERIFY" in (house.root / task_id / "vector_bak" / "vector_backup_log.txt").read_text()


def test_the_newest_set_of_each_database_is_verified(house: House, elsewhere: Database) -> None:
    house.langchain()
    of_house = house.backup()
    other = House(elsewhere, house.root)
    elsewhere.run("CREATE EXTENSION vector")
    other.langchain()
    of_other = other.backup()
    assert {one.backup_id for one in house.verify().sets} == {of_house.backup_id, of_other.backup_id}
    assert only(house.verify(backup_path="vector_bak")).backup_id == of_other.backup_id


def test_a_damaged_newest_set_does_not_hide_behind_an_older_one(house: House) -> None:
    house.langchain()
    house.backup(now=datetime(2025, 1, 1, tzinfo=timezone.utc))
    newest = house.backup()
    (house.directory / newest.tables[EMBEDDING].file).unlink()
    result = house.verify()
    assert only(result).backup_id == newest.backup_id
    assert only(result).damaged_tables == [EMBEDDING]


def test_a_set_by_its_timestamp(house: House) -> None:
    house.langchain()
    older = house.backup(now=datetime.now(timezone.utc) - timedelta(days=1))
    house.backup()
    result = house.verify(backup_path="vector_bak", timestamp=older.backup_id)
    assert only(result).backup_id == older.backup_id


def test_what_is_not_there_is_not_found(backed_up: House) -> None:
    with pytest.raises(NotFound, match="no set 20200101_000000"):
        backed_up.verify(backup_path="vector_bak", timestamp="20200101_000000")
    with pytest.raises(NotFound, match="指定的任务目录不存在"):
        backed_up.verify(task_id="absent")
    (backed_up.root / "idle" / "vector_bak").mkdir(parents=True)
    with pytest.raises(NotFound, match="holds no set"):
        backed_up.verify(task_id="idle")


@pytest.mark.parametrize("conf", [{"depth": "deep"}, {"depth": None}, {"timestamp": "1"}, {"dept": "rows"}])
def test_a_bad_request_is_refused(house: House, conf: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        house.verify(**conf)


def test_the_outcome_is_written_beside_the_set(backed_up: House) -> None:
    backup_id = manifest_of(backed_up).stem.removeprefix("manifest_")
    path = backed_up.directory / f"verified_{backup_id}.json"
    backed_up.verify(depth="rows")
    first = json.loads(path.read_bytes())
    assert first["ok"] is True
    assert first["depth"] == "rows"
    assert first["run_id"] == "test"
    assert first["tables"][EMBEDDING]["rows"] == 58
    assert first["whole_tables"] == [COLLECTION, EMBEDDING]
    assert datetime.fromisoformat(first["verified_at"]).tzinfo is not None

    flip(file_of(backed_up, EMBEDDING), 100)
    backed_up.verify(depth="files")
    second = json.loads(path.read_bytes())
    assert second["ok"] is False
    assert second["damaged_tables"] == [EMBEDDING]
    assert second["whole_tables"] == [COLLECTION]
    assert file_of(backed_up, EMBEDDING).name in second["errors"][0]
    assert {depth: last["ok"] for depth, last in second["last"].items()} == {"rows": True, "files": False}


def test_the_log_file_gets_a_section(backed_up: House) -> None:
    flip(file_of(backed_up, EMBEDDING), 100)
    backed_up.verify()
    section = (backed_up.directory / "vector_backup_log.txt").read_text()
    assert "VERIFY FAILED" in section
    assert f"table:     {COLLECTION}: whole, 4 rows" in section
    assert f"table:     {EMBEDDING}: DAMAGED" in section
    assert "error:     " in section


def test_no_message_quotes_a_row(backed_up: House) -> None:
    forged(backed_up, ROW, ROW.replace(b"[1,2,3,4,5,6,7,8]", b"[secret]").replace(b"text", b"private"))
    backed_up.verify()
    told = json.dumps(backed_up.verify().to_json(), ensure_ascii=False)
    told += (backed_up.directory / "vector_backup_log.txt").read_text()
    assert "secret" not in told
    assert "private" not in told


def test_a_verify_can_be_cancelled(backed_up: House) -> None:
    cancel = Cancel()
    cancel.ask()
    with pytest.raises(Cancelled):
        verify(VerifyRequest(), backed_up.settings, None, now=datetime.now(timezone.utc), cancel=cancel)


def test_progress_covers_every_table(backed_up: House) -> None:
    reports: list[Any] = []
    verify(VerifyRequest(), backed_up.settings, None, now=datetime.now(timezone.utc), on_progress=reports.append)
    assert reports[-1]["rows"] == 62
    assert reports[-1]["share"] == 1.0
    assert set(reports[-1]["tables"]) == {f"vector_bak/{COLLECTION}", f"vector_bak/{EMBEDDING}"}


def test_a_set_is_verified_while_it_is_being_removed(backed_up: House) -> None:
    """It is told, and not taken for damage."""
    import fcntl

    with manifest_of(backed_up).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = backed_up.verify()
    assert result.sets == []
    assert result.failure is not None
    assert result.failure.error_type == "CONFLICT"


def test_a_set_cannot_be_removed_while_it_is_read(backed_up: House, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(backed_up.settings)
    location = catalog.place("vector_bak", None)
    refused: list[str] = []

    def removing(*args: Any, **kwargs: Any) -> Any:
        with pytest.raises(Conflict, match="in use"):
            remove(location, catalog.find(location, "latest"))
        refused.append(str(args[1].name))
        return inspect(*args, **kwargs)

    monkeypatch.setattr("pgvector_backup.engine.verify.inspect", removing)
    assert backed_up.verify().errors == []
    assert refused == [COLLECTION, EMBEDDING]


def test_sets_in_an_object_store(house: House) -> None:
    house.langchain()
    house.configure(backup_root=f"memory://{house.root.name}-{house.database.name}/sets")
    backup = house.backup(compression="gzip")
    assert house.verify().errors == []
    location = Catalog(house.settings).place("vector_bak", None)
    told = {entry.name: entry for entry in location.entries()}
    assert f"verified_{backup.backup_id}.json" in told
    name = backup.tables[EMBEDDING].file
    with location.open(name) as file:
        content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    location.write(name, bytes(content))
    result = house.verify(depth="files")
    assert only(result).damaged_tables == [EMBEDDING]
    assert name in result.errors[0]


@pytest.mark.parametrize("missing", ["the file", "its index", "the manifest"])
def test_a_disk_that_cannot_be_read_is_no_damage(
    backed_up: House, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """It can be tried again; and nothing is written that would say that the set is damaged."""
    path = {
        "the file": file_of(backed_up, EMBEDDING),
        "its index": file_of(backed_up, EMBEDDING, "index"),
        "the manifest": manifest_of(backed_up),
    }[missing]
    opened = LocalStore.open

    def failing(self: LocalStore, name: str) -> Any:
        if name == path.name:
            raise StorageFault(f"{name}: Input/output error")
        return opened(self, name)

    monkeypatch.setattr(LocalStore, "open", failing)
    result = backed_up.verify()
    assert isinstance(result.failure, StorageFault)
    assert result.failure.can_retry
    assert path.name in result.errors[0]
    assert not list(backed_up.directory.glob("verified_*.json"))


# --- sets of other tools ---


def bare(house: House, content: bytes, table: str = EMBEDDING) -> None:
    house.directory.mkdir(parents=True, exist_ok=True)
    (house.directory / f"{table}_20250721_234914.csv").write_bytes(content)


GOOD = (
    b"id,collection_id,embedding,document,cmetadata\r\n"
    b'1,c,"[0.1, 2, .5]","two\r\nlines, ""quoted""","{\'a\': None}"\r\n'
    b"2,c,,,\r\n"
)


@pytest.mark.parametrize("depth", ["files", "rows", "drill"])
def test_files_without_a_manifest_are_decoded(house: House, depth: str) -> None:
    bare(house, GOOD)
    result = house.verify(depth=depth)
    assert result.errors == []
    one = only(result)
    assert one.tables[EMBEDDING].inspection.rows == (None if depth == "files" else 2)
    notes = one.to_json()["notes"]
    assert any("there is no manifest" in note for note in notes)
    assert one.depth == ("files" if depth == "files" else "rows")
    assert any("not drilled" in note for note in notes) == (depth == "drill")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not even a header"),
        (b'id,"embed\n', "a quote is not closed"),
        (GOOD + b"3,c,,\r\n", "row 3: it has 4 columns, the header 5"),
        (GOOD + b'3,c,,"open,\r\n', "row 3: a quote is not closed"),
        (GOOD + b'3,c,"[1,nan]",,\r\n', "row 3, column embedding: it holds NaN"),
        (GOOD + b'3,c,"[1,2",,\r\n', "row 3, column embedding: it is no vector"),
    ],
)
def test_files_without_a_manifest_are_damaged(house: House, content: bytes, fault: str) -> None:
    bare(house, content)
    assert fault in damage(house, "rows").damage[0]


def test_a_column_that_only_is_called_embedding_is_no_alarm(house: House) -> None:
    bare(house, b"id,embedding\n1,text\n2,[not a vector\n", table="notes")
    assert house.verify().errors == []


def test_a_long_row_across_reads_is_one_row(house: House) -> None:
    bare(house, b'id,document\n1,"' + b'line\n""' * 400_000 + b'"\n2,' + b"x" * 3_000_000 + b"\n3,z")
    result = house.verify()
    assert result.errors == []
    assert only(result).tables[EMBEDDING].inspection.rows == 3


def test_a_damaged_index_does_not_discredit_its_file(backed_up: House) -> None:
    flip(file_of(backed_up, EMBEDDING, "index"), 20)
    notes = damage(backed_up, "rows").tables[EMBEDDING].inspection.notes
    assert any("only its index is damaged" in note for note in notes)
