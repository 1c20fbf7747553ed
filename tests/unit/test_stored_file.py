"""The reader of a set's file, without a server: what was written comes back, and whatever is otherwise is told of."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled, IntegrityFault
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import locate

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "vector_bak"
PLAIN = "20261125_020000"
SETS = [f"2026112{5}_02000{number}" for number in range(6)]
EMBEDDING = "langchain_pg_embedding"


@dataclass
class Files:
    """Sets that lie in a directory of one's own."""

    place: Location
    directory: Path

    def entry(self, backup_id: str = PLAIN, name: str = EMBEDDING) -> TableEntry:
        manifest = Manifest.read(self.place, f"manifest_{backup_id}.json")
        return next(one for one in manifest.tables if one.name == name)

    def path(self, name: str) -> Path:
        return self.directory / name


@pytest.fixture
def files(tmp_path: Path) -> Files:
    shutil.copytree(GOLDEN, tmp_path / "vector_bak")
    return Files(locate(tmp_path, None, "vector_bak"), tmp_path / "vector_bak")


HEADER = b"id,collection_id,embedding,document,cmetadata\n"


def written(files: Files, blocks: Sequence[tuple[bytes, int]], **told: object) -> TableEntry:
    """Other blocks in the plain file's place, with an index and an entry that fit; ``told`` of what does not."""
    entry = files.entry()
    content = b"".join(data for data, _ in blocks)
    index = b"PGVBIDX1" + b"".join(
        struct.pack("<IIII", len(data), len(data), rows, zlib.crc32(data)) for data, rows in blocks
    )
    files.path(entry.file).write_bytes(content)
    files.path(entry.index).write_bytes(index)
    facts = {
        "bytes": len(content),
        "raw_bytes": len(content),
        "rows": sum(rows for _, rows in blocks),
        "sha256": hashlib.sha256(content).hexdigest(),
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }
    return replace(entry, **{**facts, **told})  # type: ignore[arg-type]


def rows(number: int, each: int = 3) -> list[tuple[bytes, int]]:
    return [(f"block-{n}\n".encode() * each, each) for n in range(number)]


def noted(file: StoredFile, *, unpack: bool = True) -> tuple[list[tuple[str, bool]], list[int]]:
    """Read all of it, whatever is wrong: the faults, and the first rows of the blocks that came."""
    faults: list[tuple[str, bool]] = []
    listing = file.index(lambda fault, of_block: faults.append((fault, of_block)))
    note: Callable[[str, bool], None] = lambda fault, of_block: faults.append((fault, of_block))  # noqa: E731
    return faults, [block.first_row for block in file.read(listing, Cancel(), note, unpack=unpack)]


@pytest.mark.parametrize("backup_id", SETS)
@pytest.mark.parametrize("name", ["langchain_pg_collection", EMBEDDING])
def test_each_format_comes_back_whole(files: Files, backup_id: str, name: str) -> None:
    entry = files.entry(backup_id, name)
    file = StoredFile(files.place, entry)
    file.glance(Cancel())
    assert file.intact is None
    file.check(Cancel())
    assert file.intact is True
    for prove in (False, True):
        file = StoredFile(files.place, entry)
        blocks = list(file.blocks(Cancel(), prove=prove))
        assert [block.first_row for block in blocks] == [
            1 + before for before in itertools.accumulate([0, *(block.rows or 0 for block in blocks)])
        ][:-1]
        assert sum(block.rows or 0 for block in blocks) == entry.rows
        assert all(block.unpacked == len(block.data) for block in blocks)
        assert file.intact is (True if prove else None)
        whole = file.header() + b"".join(block.data for block in blocks) + entry.file_kind.format.trailer
        assert len(whole) == entry.raw_bytes
        if backup_id == PLAIN:
            assert whole == files.path(entry.file).read_bytes()
    assert noted(StoredFile(files.place, entry)) == ([], [block.first_row for block in blocks])


def test_blocks_say_where_they_are(files: Files) -> None:
    entry = written(files, [(HEADER, 0), *rows(2)])
    end = len(HEADER)
    assert [
        (block.rows, block.first_row, block.where) for block in StoredFile(files.place, entry).blocks(Cancel())
    ] == [
        (3, 1, f"block 2 of 3 (bytes {end} to {end + 24}, rows 1 to 3)"),
        (3, 4, f"block 3 of 3 (bytes {end + 24} to {end + 48}, rows 4 to 6)"),
    ]


def test_many_blocks_are_hashed_in_their_order(files: Files) -> None:
    entry = written(files, [(HEADER, 0), *rows(40)])
    file = StoredFile(files.place, entry)
    assert len(list(file.blocks(Cancel(), prove=True))) == 40
    assert (file.intact, file.bytes_read) == (True, entry.bytes)


# --- damage ---


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x20
    path.write_bytes(content)


def every_way(files: Files, entry: TableEntry, said: str, *, shows: bool) -> None:
    """Refused by whatever reads the rows or all of it; by a glance where it shows."""
    new = lambda: StoredFile(files.place, entry)  # noqa: E731
    for read in (
        lambda: new().check(Cancel()),
        lambda: list(new().blocks(Cancel(), prove=True)),
        *((lambda: new().glance(Cancel()),) if shows else ()),
    ):
        with pytest.raises(IntegrityFault, match=said):
            read()
    if not shows:
        new().glance(Cancel())


def test_a_file_that_is_missing(files: Files) -> None:
    entry = files.entry()
    files.path(entry.file).unlink()
    every_way(files, entry, f"^{entry.file}: the manifest lists it, and it is missing", shows=True)
    assert noted(StoredFile(files.place, entry)) == (
        [(f"{entry.file}: the manifest lists it, and it is missing", False)],
        [],
    )


def test_a_byte_of_the_rows_that_is_another(files: Files) -> None:
    entry = files.entry()
    flip(files.path(entry.file), -3)
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's; the file was altered"):
        StoredFile(files.place, entry).check(Cancel())
    for prove in (False, True):
        with pytest.raises(IntegrityFault, match="is not what was written"):
            list(StoredFile(files.place, entry).blocks(Cancel(), prove=prove))
    StoredFile(files.place, entry).glance(Cancel())


def test_a_byte_of_the_header_that_is_another(files: Files) -> None:
    entry = files.entry()
    flip(files.path(entry.file), 0)
    file = StoredFile(files.place, entry)
    with pytest.raises(
        IntegrityFault, match=rf"^{entry.file}: block 1 of \d \(bytes 0 to 46\) is not what was written"
    ):
        file.glance(Cancel())
    with pytest.raises(IntegrityFault, match="is not what was written"):
        file.header()


@pytest.mark.parametrize("less", [1, 100, 12_549])
def test_a_file_that_is_shorter(files: Files, less: int) -> None:
    entry = files.entry()
    os.truncate(files.path(entry.file), entry.bytes - less)
    for read in (StoredFile(files.place, entry).check, StoredFile(files.place, entry).glance):
        with pytest.raises(IntegrityFault, match=rf"{entry.bytes - less:,} bytes on disk, 12,549 in the manifest"):
            read(Cancel())
    with pytest.raises(IntegrityFault, match="is cut short"):
        list(StoredFile(files.place, entry).blocks(Cancel()))


@pytest.mark.parametrize("more", [1, 3 << 20])
def test_a_file_that_goes_on(files: Files, more: int) -> None:
    entry = files.entry()
    with files.path(entry.file).open("ab") as file:
        file.write(b"x" * more)
    every_way(files, entry, rf"{entry.bytes + more:,} bytes on disk, 12,549 in the manifest", shows=True)
    with pytest.raises(IntegrityFault, match="it goes on after the 12,549 bytes of the manifest"):
        list(StoredFile(files.place, entry).blocks(Cancel()))
    faults, _ = noted(StoredFile(files.place, entry))
    assert [of_block for _, of_block in faults] == [False]


def test_an_index_that_is_missing_or_another(files: Files) -> None:
    entry = files.entry()
    content = files.path(entry.index).read_bytes()
    flip(files.path(entry.index), -1)
    every_way(files, entry, f"^{entry.index}: its SHA-256 is not the manifest's", shows=True)
    files.path(entry.index).write_bytes(content + b"\0" * (16 * 60))
    every_way(files, entry, entry.index, shows=True)
    files.path(entry.index).unlink()
    every_way(files, entry, f"^{entry.index}: the manifest lists it, and it is missing", shows=True)
    faults, first_rows = noted(StoredFile(files.place, entry))
    assert faults == [(f"{entry.index}: the manifest lists it, and it is missing", False)]
    assert first_rows == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"rows": 7}, "it lists 6 rows, the manifest 7"),
        ({"rows": 5}, "it lists 6 rows, the manifest 5"),
        ({"raw_bytes": 1}, "it lists 94 bytes unpacked, the manifest 1"),
    ],
)
def test_an_index_that_lists_something_else_than_the_manifest(files: Files, told: dict[str, int], said: str) -> None:
    every_way(files, written(files, [(HEADER, 0), *rows(2)], **told), said, shows=True)


def test_an_index_that_lists_a_part_of_the_file(files: Files) -> None:
    entry = written(files, [(HEADER, 0), *rows(2)])
    content = files.path(entry.file).read_bytes() + b"more\n"
    files.path(entry.file).write_bytes(content)
    entry = replace(entry, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    every_way(files, entry, "it lists 94 bytes, the manifest 99", shows=True)


def test_an_index_that_is_none(files: Files) -> None:
    entry = files.entry()
    for content in (b"", b"PGVBIDX1" + b"x" * 15, b"PGVBIDX9"):
        files.path(entry.index).write_bytes(content)
        other = replace(entry, index_sha256=hashlib.sha256(content).hexdigest())
        every_way(files, other, f"^{entry.index}: the block index is damaged", shows=True)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([], "it has no header"),
        (rows(2), "it has no header"),
        ([(b"id,other\n", 0), *rows(1)], "its header does not name the table's columns"),
    ],
)
def test_a_file_without_its_header(files: Files, blocks: list[tuple[bytes, int]], said: str) -> None:
    entry = written(files, blocks)
    with pytest.raises(IntegrityFault, match=said):
        StoredFile(files.place, entry).glance(Cancel())
    if blocks:
        with pytest.raises(IntegrityFault, match=r"it holds rows where the header belongs|does not name the table's"):
            list(StoredFile(files.place, entry).blocks(Cancel()))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_block_of_no_rows_that_is_no_trailer(files: Files, at: int) -> None:
    blocks = [(HEADER, 0), *rows(2)]
    blocks.insert(at, (b"a row that nobody counts\n", 0))
    entry = written(files, blocks)
    with pytest.raises(IntegrityFault, match=rf"block {at + 1} of 4 .*: it holds no rows and is no trailer"):
        list(StoredFile(files.place, entry).blocks(Cancel()))


def test_a_trailer_comes_last_only(files: Files) -> None:
    entry = written(files, [(HEADER, 0), *rows(1), (b"", 0)])
    assert [block.rows for block in StoredFile(files.place, entry).blocks(Cancel())] == [3]
    entry = written(files, [(HEADER, 0), (b"", 0), *rows(1)])
    with pytest.raises(IntegrityFault, match="it holds no rows and is no trailer"):
        list(StoredFile(files.place, entry).blocks(Cancel()))


def test_damage_is_noted_block_by_block_and_the_rest_is_read(files: Files) -> None:
    entry = written(files, [(HEADER, 0), *rows(4)])
    flip(files.path(entry.file), len(HEADER) + 24)
    flip(files.path(entry.file), len(HEADER) + 72)
    file = StoredFile(files.place, entry)
    faults, first_rows = noted(file)
    assert [of_block for _, of_block in faults] == [True, True, False]
    assert "rows 4 to 6) is not what was written" in faults[0][0]
    assert "rows 10 to 12) is not what was written" in faults[1][0]
    assert "its SHA-256 is not the manifest's" in faults[2][0]
    assert first_rows == [1, 7]
    assert (file.intact, file.bytes_read) == (False, entry.bytes)
    assert noted(StoredFile(files.place, entry), unpack=False) == (faults, [1, 7])


def test_of_blocks_that_are_not_unpacked_the_bytes_are_held_against_the_index(files: Files) -> None:
    entry = written(files, [(b"id,other\n", 0), *rows(1)])
    file = StoredFile(files.place, entry)
    (block,) = file.read(file.index(), Cancel(), pytest.fail, unpack=False)
    assert (block.data, block.rows, block.unpacked) == (b"", 3, 24)


def test_a_read_that_is_cancelled_stops(files: Files) -> None:
    entry = written(files, [(HEADER, 0), *rows(3)])
    cancel = Cancel()
    blocks = StoredFile(files.place, entry).blocks(cancel, prove=True)
    next(blocks)
    cancel.ask()
    with pytest.raises(Cancelled):
        next(blocks)
    with pytest.raises(Cancelled):
        StoredFile(files.place, entry).check(cancel)


def test_where_a_checksum_cannot_be_computed_all_of_the_file_is_read(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index then compares no more than lengths, so a glance looks at every byte."""
    from pgvector_backup.engine.sets import block_index

    entry = written(files, [(HEADER, 0), *rows(3)])
    flip(files.path(entry.file), -3)
    StoredFile(files.place, entry).glance(Cancel())
    monkeypatch.setitem(block_index._KNOWN, b"PGVBIDX1", replace(block_index._CRC32, of_block=None))
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's"):
        StoredFile(files.place, entry).glance(Cancel())
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's"):
        list(StoredFile(files.place, entry).blocks(Cancel(), prove=True))


def test_a_link_in_its_place_is_not_followed(files: Files) -> None:
    entry = files.entry()
    path = files.path(entry.file)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(IntegrityFault):
        StoredFile(files.place, entry).check(Cancel())
