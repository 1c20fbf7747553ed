"""Files of any format, compression and number of jobs load back equal, and open with ordinary tools."""

from __future__ import annotations

import gzip
import itertools
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
import xxhash
import zstandard

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, InvalidParams
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import locate
from tests.helpers.house import House
from tests.helpers.kinds import KINDS

FORMATS = ("csv", "binary")
COMPRESSIONS = ("none", "zstd", "gzip")
COPY_OPTIONS = {"csv": "FORMAT csv, HEADER MATCH", "binary": "FORMAT binary"}


def unpacked(file: Path) -> bytes:
    """What is in a file, as an ordinary tool unpacks it."""
    if file.suffix == ".gz":
        return subprocess.run(["gzip", "-dc", str(file)], check=True, capture_output=True).stdout
    if file.suffix == ".zst":
        with file.open("rb") as source, zstandard.open(source, "rb") as plain:
            return bytes(plain.read())
    return file.read_bytes()


def check_files(manifest: Manifest, location: Location) -> None:
    for entry in manifest.tables:
        StoredFile(location, entry).check(Cancel())


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(("file_format", "compression"), list(itertools.product(FORMATS, COMPRESSIONS)))
def test_a_large_table_loads_back_equal(house: House, file_format: str, compression: str, jobs: int) -> None:
    house.langchain(20_000)
    house.configure(jobs=jobs)
    result = house.backup(file_format=file_format, compression=compression)
    table = result.tables["langchain_pg_embedding"]
    file = house.directory / table.file
    suffix = {"csv": ".csv", "binary": ".pgcopy"}[file_format] + {"none": "", "zstd": ".zst", "gzip": ".gz"}[
        compression
    ]

    assert file.name.endswith(suffix)
    assert table.rows == 20_000
    with house.database.connect() as conn:
        conn.execute("CREATE TABLE loaded (LIKE langchain_pg_embedding)")
        with conn.cursor().copy(f"COPY loaded FROM STDIN ({COPY_OPTIONS[file_format]})".encode()) as copy:
            copy.write(unpacked(file))
        for one, other in (("langchain_pg_embedding", "loaded"), ("loaded", "langchain_pg_embedding")):
            left = conn.execute(f"SELECT r::text FROM {one} r EXCEPT ALL SELECT r::text FROM {other} r".encode())
            assert left.fetchall() == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "partitioned_without_partitions"])
def test_every_kind_of_table_in_binary(house: House, kind: str) -> None:
    name, script = KINDS[kind]
    house.database.run(script)
    house.configure(tables=name, back_up_views=kind == "view")
    result = house.backup(file_format="binary", compression="zstd")
    ((_, table),) = result.tables.items()
    with house.database.connect() as conn:
        conn.execute(f"CREATE TABLE loaded (LIKE {name} INCLUDING GENERATED INCLUDING IDENTITY)".encode())
        with conn.cursor().copy(b"COPY loaded FROM STDIN (FORMAT binary)") as copy:
            copy.write(unpacked(house.directory / table.file))
        for one, other in ((name, "loaded"), ("loaded", name)):
            left = conn.execute(f"SELECT r::text FROM {one} r EXCEPT ALL SELECT r::text FROM {other} r".encode())
            assert left.fetchall() == []
        conn.rollback()


@pytest.mark.parametrize(("file_format", "compression"), list(itertools.product(FORMATS, COMPRESSIONS)))
def test_the_index_leads_to_every_block(house: House, file_format: str, compression: str) -> None:
    house.langchain(20_000)
    result = house.backup(file_format=file_format, compression=compression)
    file = house.directory / result.tables["langchain_pg_embedding"].file
    content = file.read_bytes()
    blocks = list(block_index.read((file.parent / f"{file.name}.idx").read_bytes()))

    assert len(blocks) > 2
    assert sum(block.rows for block in blocks) == 20_000
    assert blocks[-1].offset + blocks[-1].length == len(content)
    for block in blocks:
        stored = content[block.offset : block.offset + block.length]
        assert xxhash.xxh3_64_intdigest(stored) % 2**32 == block.checksum
        assert block.is_intact(stored)
        assert not block.is_intact(stored[:-1] + bytes([stored[-1] ^ 1]))
        assert not block.is_intact(stored + b"\0")
        plain = {"none": bytes, "gzip": gzip.decompress, "zstd": zstandard.decompress}[compression](stored)
        assert len(plain) == block.unpacked


def test_an_altered_index_does_not_match_the_manifest(house: House) -> None:
    house.langchain()
    result = house.backup()
    index = house.directory / f"{result.tables['langchain_pg_embedding'].file}.idx"
    index.write_bytes(index.read_bytes()[:-1] + b"\0")
    location = locate(house.root, None, "vector_bak")
    with pytest.raises(IntegrityFault, match=r"\.idx: its SHA-256"):
        check_files(Manifest.read(location, str(result.manifest_file)), location)


def test_an_index_of_an_earlier_release_is_read() -> None:
    header, rows = b"id\n", b"1\n2\n"
    entries = [
        struct.pack("<IIII", len(part), len(part), part.count(b"\n"), zlib.crc32(part)) for part in (header, rows)
    ]
    first, second = block_index.read(b"PGVBIDX1" + b"".join(entries))
    assert (second.offset, second.length, second.rows) == (3, 4, 2)
    assert first.is_intact(header)
    assert second.is_intact(rows)
    assert not second.is_intact(b"1\n3\n")


@pytest.mark.parametrize("content", [b"", b"PGVBIDX", b"PGVBIDX1x", b"PGVBIDX2x", b"PGVBIDX0" + bytes(16)])
def test_what_is_no_index_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityFault):
        list(block_index.read(content))


@pytest.mark.parametrize(
    "conf",
    [
        {"file_format": "parquet"},
        {"file_format": None},
        {"compression": "lz4"},
        {"compression": "zstd", "compression_level": 0},
        {"compression": "gzip", "compression_level": 10},
        {"compression_level": "3"},
        {"compression_level": True},
    ],
)
def test_a_format_that_is_not_ours_is_refused(conf: dict[str, object]) -> None:
    with pytest.raises(InvalidParams, match=next(iter(conf)).split("_")[0]):
        BackupRequest.from_mapping(conf)


def test_a_limit_on_megabytes_a_second_holds(house: House) -> None:
    house.database.run("CREATE TABLE t (d text); INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 6000)")
    house.configure(tables="t", max_mb_per_second=4)
    duration = house.backup().tables["t"].duration
    assert duration > 1.0, "6 MB at 4 MB/s, the first block free"
