"""A table of an increment, without a server: which rows of which file it has, and every way they may not fit."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.postgres.lineage import KeyColumn, Lineage
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.postgres.tables import Column
from pgvector_backup.engine.postgres.transactions import TransactionIds
from pgvector_backup.engine.sets.chain import TableChain, chains, key_number, row_number
from pgvector_backup.engine.sets.key_numbers import KeyNumbers
from pgvector_backup.engine.sets.keys_entry import KeysEntry, Link
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import locate

FULL, SECOND, THIRD = "20261125_000001", "20261125_000002", "20261125_000003"
KEY = (KeyColumn("id", "text"),)
COLUMNS = tuple(Column(name, "text", None, False, None, False, None) for name in ("id", "v"))


def put(directory: Path, name: str, blocks: Sequence[tuple[bytes, int]]) -> dict[str, Any]:
    """A file with its index; what a manifest says of both."""
    content = b"".join(data for data, _ in blocks)
    index = b"PGVBIDX1" + b"".join(
        struct.pack("<IIII", len(data), len(data), rows, zlib.crc32(data)) for data, rows in blocks
    )
    (directory / name).write_bytes(content)
    (directory / f"{name}.idx").write_bytes(index)
    return {
        "file": name,
        "index": f"{name}.idx",
        "rows": sum(rows for _, rows in blocks),
        "bytes": len(content),
        "raw_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }


def lines(texts: Iterable[str]) -> list[tuple[bytes, int]]:
    """Two lines a block."""
    all_of_them = [f"{text}\n".encode() for text in texts]
    return [(b"".join(all_of_them[at : at + 2]), len(all_of_them[at : at + 2])) for at in range(0, len(all_of_them), 2)]


@dataclass
class Chain:
    """Sets on one another in a directory."""

    place: Location
    directory: Path

    def table(self, backup_id: str, rows: Iterable[str], keys: Iterable[tuple[str, str]], **told: Any) -> TableEntry:
        """A table of a set: its file's rows, and its keys with the set that each one's row lies in."""
        of_keys = put(
            self.directory,
            f"t_{backup_id}.keys.csv",
            [(b"id,xmin,origin,row_hash\n", 0), *lines(f"{key},7,{origin}," for key, origin in keys)],
        )
        of_rows = put(self.directory, f"t_{backup_id}.csv", [(b"id,v\n", 0), *lines(rows)])
        entry = TableEntry(
            name="t",
            schema="public",
            table="t",
            kind="table",
            columns=COLUMNS,
            primary_key=("id",),
            constraints=(),
            indexes=(),
            format="csv",
            compression="none",
            fingerprint="0" * 32,
            relations=(1,),
            late_transactions=(),
            keys=KeysEntry(compression="none", deleted=0, lineage=Lineage(1, KEY, (), True), **of_keys),
            **of_rows,
        )
        return replace(entry, **told)

    def lay(self, backup_id: str, entry: TableEntry, *below: Link) -> Link:
        manifest = Manifest(
            backup_id=backup_id,
            created_at="2026-11-25T02:00:00+00:00",
            task_id=None,
            run_id=None,
            source=Source("18.0", 180000, "0.8.1", "db", 5, "7", 1),
            snapshot=TransactionIds(700, 710),
            tables=(entry,),
            failed_tables={},
            fingerprint_algorithm="sha256-sum128",
            chain=below,
        )
        path = self.directory / f"manifest_{backup_id}.json"
        path.write_bytes(manifest.to_bytes())
        return Link(backup_id, Manifest.read_stated(self.place, path.name)[1])

    def of(self, backup_id: str) -> TableChain:
        return chains(self.place, Manifest.read(self.place, f"manifest_{backup_id}.json"))["t"]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    (tmp_path / "vector_bak").mkdir()
    return Chain(locate(tmp_path, None, "vector_bak"), tmp_path / "vector_bak")


FULL_ROWS = [f"{letter},1" for letter in "caebd"]
FULL_KEYS = [(letter, FULL) for letter in "abcde"]


def three(
    chain: Chain,
    *,
    second: Sequence[str] = ("b,2", "f,2"),
    second_keys: Sequence[tuple[str, str]] = (*((k, FULL) for k in "acde"), ("b", SECOND), ("f", SECOND)),
    third: Sequence[str] = ("f,3", "a,3"),
    third_keys: Sequence[tuple[str, str]] = (("a", THIRD), ("b", SECOND), ("c", FULL), ("d", FULL), ("f", THIRD)),
    **told: Any,
) -> TableChain:
    """Three nights: b is changed and f comes; then a and f are changed and e goes."""
    full = chain.lay(FULL, chain.table(FULL, FULL_ROWS, FULL_KEYS))
    two = chain.lay(SECOND, chain.table(SECOND, second, sorted(second_keys)), full)
    chain.lay(THIRD, chain.table(THIRD, third, sorted(third_keys), **told), full, two)
    return chain.of(THIRD)


def rows_of(table: TableChain, **more: Any) -> list[str]:
    return b"".join(block.data for block in table.blocks(Cancel(), **more)).decode().split()


def test_a_full_set_is_no_chain(chain: Chain) -> None:
    chain.lay(FULL, chain.table(FULL, FULL_ROWS, FULL_KEYS))
    assert chains(chain.place, Manifest.read(chain.place, f"manifest_{FULL}.json")) == {}


@pytest.mark.parametrize("prove", [False, True])
def test_each_row_is_of_the_set_that_its_key_names(chain: Chain, prove: bool) -> None:
    table = three(chain)
    assert rows_of(table, prove=prove) == ["c,1", "d,1", "b,2", "f,3", "a,3"]
    assert rows_of(chain.of(SECOND), prove=prove) == ["c,1", "a,1", "e,1", "d,1", "b,2", "f,2"]
    table.check(Cancel())
    table.glance(Cancel())
    assert table.raw_bytes == 25 + 13 + 13


def test_blocks_count_on_over_the_files(chain: Chain) -> None:
    table = three(chain)
    blocks = list(table.blocks(Cancel()))
    assert [(block.rows, block.first_row, block.unpacked, block.data) for block in blocks] == [
        (1, 1, 4, b"c,1\n"),
        (1, 2, 4, b"d,1\n"),
        (1, 3, 4, b"b,2\n"),
        (2, 4, 8, b"f,3\na,3\n"),
    ]
    assert blocks[0].where == f"set {FULL}, block 2 of 4 (bytes 5 to 13, rows 1 to 2)"
    assert blocks[3].where == f"set {THIRD}, block 2 of 2 (bytes 5 to 13, rows 1 to 2)"


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        ({FULL}, ["c,1", "d,1"]),
        ({SECOND}, ["b,2"]),
        ({THIRD}, ["f,3", "a,3"]),
        ({FULL, THIRD}, ["c,1", "d,1", "f,3", "a,3"]),
        (set(), []),
    ],
)
def test_the_rows_of_some_of_its_files(chain: Chain, only: set[str], rows: list[str]) -> None:
    assert rows_of(three(chain), only=frozenset(only)) == rows


def test_nothing_is_left_of_the_full_set(chain: Chain) -> None:
    table = three(
        chain,
        third=("x,3",),
        third_keys=(("x", THIRD),),
    )
    assert rows_of(table) == ["x,3"]
    assert rows_of(three(chain, third=(), third_keys=())) == []


# --- what does not fit ---


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"third": ("f,3",)}, "the chain of set 20261125_000003 holds 4 of its rows, its keys are 5"),
        ({"third": ("f,3", "a,3", "a,3")}, "holds 6 of its rows, its keys are 5"),
        ({"third": ("f,3", "g,3")}, "holds 4 of its rows, its keys are 5"),
        ({"third": ("f,3", "f,3")}, "holds 5 of its rows, its keys are 5 others"),
        ({"second": ("f,2",)}, "holds 4 of its rows, its keys are 5"),
        ({"second": ("b,2", "b,2")}, "holds 6 of its rows, its keys are 5"),
        (
            {"third_keys": (("a", THIRD), ("b", SECOND), ("c", FULL), ("d", FULL), ("f", THIRD), ("g", FULL))},
            f"a key of it is not among those of set {FULL}, its origin",
        ),
        (
            {"third_keys": (("a", "20261125_000000"), ("b", SECOND), ("c", FULL), ("d", FULL), ("f", THIRD))},
            "a key's origin is no set of its chain",
        ),
        (
            {"third_keys": (("a", "20261125_000009"), ("b", SECOND), ("c", FULL), ("d", FULL), ("f", THIRD))},
            "a key's origin is no set of its chain",
        ),
    ],
)
def test_rows_that_are_not_those_of_the_keys(chain: Chain, changed: dict[str, Any], said: str) -> None:
    table = three(chain, **changed)
    with pytest.raises(IntegrityFault, match=said):
        rows_of(table)


def test_a_key_that_comes_in_another_order_than_the_full_sets(chain: Chain) -> None:
    full = chain.lay(FULL, chain.table(FULL, FULL_ROWS, FULL_KEYS))
    chain.lay(SECOND, chain.table(SECOND, (), [("c", FULL), ("b", FULL)]), full)
    with pytest.raises(IntegrityFault, match="is not among those of set"):
        rows_of(chain.of(SECOND))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"name": "u", "table": "u"}, f"u: set {FULL}, its base, does not hold the table with its keys"),
        ({"keys": None}, f"t: set {FULL}, its base, does not hold the table with its keys"),
        ({"format": "binary"}, f"t: set {FULL}, its base, is of another format, columns or key"),
        ({"columns": COLUMNS[::-1]}, "is of another format, columns or key"),
        ({"columns": (*COLUMNS, replace(COLUMNS[0], name="w"))}, "is of another format, columns or key"),
        ({"key": (KeyColumn("v", "text"),)}, "is of another format, columns or key"),
        ({"key": (KeyColumn("id", "other"),)}, "is of another format, columns or key"),
    ],
)
def test_a_base_that_does_not_fit(chain: Chain, told: dict[str, Any], said: str) -> None:
    base = chain.table(FULL, FULL_ROWS, FULL_KEYS)
    assert base.keys is not None
    key = told.pop("key", None)
    if key is not None:
        told["keys"] = replace(base.keys, lineage=replace(base.keys.lineage, key=key))
    full = chain.lay(FULL, replace(base, **told))
    name = told.get("name", "t")
    chain.lay(SECOND, chain.table(SECOND, ("b,2",), [("b", SECOND)], name=name, table=name), full)
    if name != "t":
        chain.lay(FULL, base)
        full = Link(FULL, Manifest.read_stated(chain.place, f"manifest_{FULL}.json")[1])
        chain.lay(SECOND, chain.table(SECOND, ("b,2",), [("b", SECOND)], name=name, table=name), full)
    with pytest.raises(IntegrityFault, match=said):
        chain.of(SECOND)


def test_columns_that_the_server_computes_may_differ(chain: Chain) -> None:
    computed = replace(COLUMNS[0], name="w", generated=True)
    full = chain.lay(FULL, chain.table(FULL, FULL_ROWS, FULL_KEYS))
    keys = [(letter, FULL) for letter in "abcde"]
    chain.lay(SECOND, chain.table(SECOND, (), keys, columns=(*COLUMNS, computed)), full)
    assert len(rows_of(chain.of(SECOND))) == 5


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x01
    path.write_bytes(content)


@pytest.mark.parametrize("backup_id", [FULL, SECOND, THIRD])
@pytest.mark.parametrize("suffix", ["csv", "keys.csv"])
def test_damage_in_any_file_is_found_by_who_reads_it(chain: Chain, backup_id: str, suffix: str) -> None:
    table = three(chain)
    path = chain.directory / f"t_{backup_id}.{suffix}"
    content = path.read_bytes()
    flip(path)
    with pytest.raises(IntegrityFault, match=path.name):
        table.check(Cancel())
    # Keys of a set in the middle are read by nobody else.
    if (backup_id, suffix) == (SECOND, "keys.csv"):
        with pytest.raises(IntegrityFault, match=path.name):
            table.glance(Cancel())
        assert len(rows_of(table)) == 5
    else:
        table.glance(Cancel())
        with pytest.raises(IntegrityFault, match=path.name):
            rows_of(table)
    path.write_bytes(content + b"more")
    with pytest.raises(IntegrityFault, match=path.name):
        table.glance(Cancel())


def test_an_altered_file_whose_blocks_are_whole_is_found_where_it_is_proven(chain: Chain) -> None:
    table = three(chain)
    parts = tuple((backup_id, replace(entry, sha256="0" * 64)) for backup_id, entry in table.parts)
    forged = replace(table, parts=parts)
    assert len(rows_of(forged)) == 5
    with pytest.raises(IntegrityFault, match="SHA-256"):
        rows_of(forged, prove=True)


# --- keys by number ---


@pytest.mark.parametrize(
    ("kind", "text", "binary"),
    [
        ("text", b"abc", b"abc"),
        ("text", b"", b""),
        ("bpchar", b"abc  ", b"abc  "),
        ("uuid", b"00112233-4455-6677-8899-aabbccddeeff", bytes.fromhex("00112233445566778899aabbccddeeff")),
        ("int", b"-2", (-2).to_bytes(4, "big", signed=True)),
        ("int", b"9223372036854775807", (2**63 - 1).to_bytes(8, "big")),
        ("oid", b"4294967295", (2**32 - 1).to_bytes(4, "big")),
        ("bool", b"t", b"\x01"),
        ("bool", b"f", b"\x00"),
        ("bytea", b"\\x00ff", b"\x00\xff"),
    ],
)
@pytest.mark.parametrize("columns", [1, 2])
def test_a_key_has_one_number_however_its_row_is_written(
    chain: Chain, kind: str, text: bytes, binary: bytes, columns: int
) -> None:
    base = chain.table(FULL, (), ())
    key = [KeyColumn(name, kind) for name in ("v", "id")[:columns]]
    quoted = b'"' + text + b'"'
    number = key_number(columns)(b",".join([quoted] * columns))
    as_text = row_number(base, key)
    as_binary = row_number(replace(base, format="binary", file="t.pgcopy"), key)
    assert number == as_text([text, text]) == as_binary([binary, binary])
    if columns == 1 and text:
        assert number == key_number(1)(text)
        assert as_text([b"whatever", text]) == number != as_text([text, b"whatever"])
    elif columns == 2:
        assert as_text([text, text + b"1"]) != as_text([text + b"1", text])


def test_two_keys_that_read_the_same_without_their_bounds_are_two() -> None:
    number = key_number(2)
    assert number(b"ab,c") != number(b"a,bc")
    assert number(b'"a,b",c') == number(b'"a,b","c"') != number(b'a,"b,c"')


def test_numbers_are_held_once_each_and_no_others() -> None:
    numbers = KeyNumbers()
    held = [n << 12 | (n % 3) for n in range(1, 600)]
    for number in held:
        numbers.add(number)
    assert all(number in numbers for number in held)
    assert not any(number in numbers for number in [n << 12 | ((n + 1) % 3) for n in range(1, 600)])
    assert 7 not in KeyNumbers()
    # Bytes that lie across two of them are no number.
    across = KeyNumbers()
    one, other = int.from_bytes(b"\1" * 15, "little"), int.from_bytes(b"\2" * 15, "little")
    across.add(one << 12)
    across.add(other << 12)
    between = int.from_bytes(b"\1" * 7 + b"\2" * 8, "little")
    assert between << 12 not in across
    across.add(between << 12)
    assert between << 12 in across
