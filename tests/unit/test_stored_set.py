"""What a set is to a restore, without a server: which tables, which files they are held against, who is kept out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, IntegrityFault, NotFound
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_set import StoredSet, check_script, open_set, shared_lock, shared_locks
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import locate
from tests.helpers.forging import seal

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "vector_bak"
ID, OTHER, FOREIGN = "20261125_020000", "20261125_020001", "20250721_234914"
COLLECTION, EMBEDDING = "langchain_pg_collection", "langchain_pg_embedding"


@pytest.fixture
def place(tmp_path: Path) -> Location:
    shutil.copytree(GOLDEN, tmp_path / "vector_bak")
    foreign = {"rag%2Et": "id,v\n1,2\n", "u": 'id,"a,b"\n', "v": "id\n"}
    for name, content in foreign.items():
        (tmp_path / "vector_bak" / f"{name}_{FOREIGN}.csv").write_text(content)
    return locate(tmp_path, None, "vector_bak")


@pytest.fixture
def directory(place: Location, tmp_path: Path) -> Path:
    return tmp_path / "vector_bak"


def found(directory: Path, place: Location, backup_id: str = ID) -> FoundSet:
    return Catalog(Settings(backup_root=directory.parent)).find(place, backup_id)


def opened(directory: Path, place: Location, backup_id: str = ID) -> StoredSet:
    return open_set(place, found(directory, place, backup_id))


def altered(directory: Path, change: Callable[[dict[str, Any]], object], backup_id: str = ID) -> None:
    path = directory / f"manifest_{backup_id}.json"
    body = json.loads(path.read_bytes())
    change(body)
    seal(path, body)


def test_tables_are_chosen_by_either_name_and_once(directory: Path, place: Location) -> None:
    one = opened(directory, place)
    assert [table.label for table in one.choose(None)] == [COLLECTION, EMBEDDING]
    assert [table.label for table in one.choose([EMBEDDING])] == [EMBEDDING]
    asked = [f"public.{EMBEDDING}", EMBEDDING, COLLECTION, f"public.{COLLECTION}"]
    assert [table.label for table in one.choose(asked)] == [EMBEDDING, COLLECTION]
    assert one.choose([]) == []


@pytest.mark.parametrize("label", ["other", f"rag.{EMBEDDING}", "public.other", ""])
def test_a_table_that_is_not_there_is_told_with_those_that_are(directory: Path, place: Location, label: str) -> None:
    with pytest.raises(NotFound, match=f"tables: {label} is not in set {ID}, which holds {COLLECTION}, {EMBEDDING}"):
        opened(directory, place).choose([COLLECTION, label])


def test_a_set_of_no_table_has_nothing_to_choose(directory: Path, place: Location) -> None:
    altered(directory, lambda body: body.update(tables=[], failed_tables={"t": "gone"}))
    one = opened(directory, place)
    with pytest.raises(NotFound, match=f"set {ID} holds no table"):
        one.choose(None)
    with pytest.raises(NotFound, match="which holds none"):
        one.choose(["t"])


def test_what_a_manifest_says_of_a_table(directory: Path, place: Location) -> None:
    one = opened(directory, place)
    table = one.tables[EMBEDDING]
    assert (table.label, table.name.label, table.bytes) == (EMBEDDING, f"public.{EMBEDDING}", 12_549)
    assert table.columns == ("id", "collection_id", "embedding", "document", "cmetadata")
    assert table.chain is None
    assert one.manifest is not None
    assert table.entry == one.manifest.tables[1]
    assert one.algorithm is not None
    altered(directory, lambda body: body.update(fingerprint_algorithm="of tomorrow"))
    assert opened(directory, place).algorithm is None


def test_columns_that_the_server_computes_are_in_no_file(directory: Path, place: Location) -> None:
    altered(directory, lambda body: body["tables"][1]["columns"][3].update(generated=True))
    assert opened(directory, place).tables[EMBEDDING].columns == ("id", "collection_id", "embedding", "cmetadata")


def test_what_another_tools_files_say(directory: Path, place: Location) -> None:
    one = opened(directory, place, FOREIGN)
    assert one.manifest is None
    assert {label: table.columns for label, table in one.tables.items()} == {
        "rag.t": ("id", "v"),
        "u": ("id", "a,b"),
        "v": ("id",),
    }
    table = one.tables["rag.t"]
    assert (table.name.schema, table.name.table, table.entry, table.bytes) == ("rag", "t", None, 9)
    assert [block.data for block in one.blocks(table, Cancel())] == [b"1,2\n"]
    one.glance(one.choose(None), Cancel())
    one.check(one.choose(None), Cancel())
    with pytest.raises(NotFound, match="tables: public.u is not in set"):
        one.choose(["public.u"])


@pytest.mark.parametrize("content", [b"", b"\n", b"id,id\n", b"id,,v\n", b"\xff\n", b'"id\n'])
def test_another_tools_file_without_a_header_is_refused(directory: Path, place: Location, content: bytes) -> None:
    (directory / f"u_{FOREIGN}.csv").write_bytes(content)
    with pytest.raises(IntegrityFault, match=f"^u_{FOREIGN}.csv: line 1: "):
        opened(directory, place, FOREIGN)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x01
    path.write_bytes(content)


def test_only_the_files_of_the_tables_that_are_asked_for_are_read(directory: Path, place: Location) -> None:
    one = opened(directory, place)
    flip(directory / one.tables[COLLECTION].file)
    one.check(one.choose([EMBEDDING]), Cancel())
    with pytest.raises(IntegrityFault, match=f"^{COLLECTION}"):
        one.check(one.choose(None), Cancel())
    one.glance(one.choose(None), Cancel())
    (directory / one.tables[EMBEDDING].file).unlink()
    one.glance(one.choose([COLLECTION]), Cancel())
    with pytest.raises(IntegrityFault, match="is missing"):
        one.glance(one.choose([EMBEDDING]), Cancel())


@pytest.mark.parametrize("prove", [False, True])
def test_the_rows_are_those_of_the_file(directory: Path, place: Location, prove: bool) -> None:
    one = opened(directory, place)
    table = one.tables[EMBEDDING]
    data = b"".join(block.data for block in one.blocks(table, Cancel(), prove=prove))
    assert (directory / table.file).read_bytes().endswith(b"\n" + data)
    # Every block is as its index says, and the file is not the manifest's.
    altered(directory, lambda body: body["tables"][1].update(sha256="0" * 64))
    one = opened(directory, place)
    if prove:
        with pytest.raises(IntegrityFault, match="SHA-256"):
            list(one.blocks(one.tables[EMBEDDING], Cancel(), prove=prove))
    else:
        assert b"".join(block.data for block in one.blocks(one.tables[EMBEDDING], Cancel())) == data


SCRIPT = b"CREATE TABLE t ();\n"


@pytest.fixture
def scripted(directory: Path) -> Path:
    path = directory / f"schema_{ID}.sql"
    path.write_bytes(SCRIPT)
    told = {"script": path.name, "script_sha256": hashlib.sha256(SCRIPT).hexdigest()}
    altered(directory, lambda body: body.update(told))
    return path


def test_the_script_is_held_against_the_manifest(directory: Path, place: Location, scripted: Path) -> None:
    one = opened(directory, place)
    one.glance(one.choose(None), Cancel())
    scripted.write_bytes(SCRIPT + b"-- and more")
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's; the script for psql was altered"):
        one.glance([], Cancel())
    scripted.unlink()
    with pytest.raises(IntegrityFault, match=f"^{scripted.name}: the manifest lists it, and it is missing"):
        one.glance(one.choose(None), Cancel())


def test_a_set_that_tells_of_no_script_needs_none(directory: Path, place: Location) -> None:
    (directory / f"schema_{ID}.sql").write_bytes(b"anybody's")
    manifest = Manifest.read(place, f"manifest_{ID}.json")
    check_script(place, replace(manifest, script=None))


# --- who is kept out ---


def test_a_set_that_is_read_is_not_removed(directory: Path, place: Location) -> None:
    one = found(directory, place)
    with shared_lock(place, one):
        with shared_lock(place, one):
            pass
        with pytest.raises(Conflict), place.exclusive_lock(f"manifest_{ID}.json"):
            pass
    with place.exclusive_lock(f"manifest_{ID}.json"), pytest.raises(Conflict), shared_lock(place, one):
        pass


def test_what_it_stands_on_is_not_removed_either(directory: Path, place: Location) -> None:
    one = replace(found(directory, place), chain=(OTHER, "20200101_000000"))
    with shared_lock(place, one), pytest.raises(Conflict), place.exclusive_lock(f"manifest_{OTHER}.json"):
        pass
    with place.exclusive_lock(f"manifest_{OTHER}.json"), pytest.raises(Conflict), shared_lock(place, one):
        pass
    # After a refusal nothing is held any more.
    with place.exclusive_lock(f"manifest_{ID}.json"):
        pass


def test_a_set_that_is_gone_is_told_of_and_one_below_it_is_anothers_to_tell(place: Location) -> None:
    with pytest.raises(NotFound), shared_locks(place, ["20200101_000000", ID]):
        pass
    with shared_locks(place, [ID, "20200101_000000", OTHER]):
        for backup_id in (ID, OTHER):
            with pytest.raises(Conflict), place.exclusive_lock(f"manifest_{backup_id}.json"):
                pass


def test_another_tools_files_are_held_by_nobody(directory: Path, place: Location) -> None:
    before = sorted(path.name for path in directory.iterdir())
    with shared_lock(place, found(directory, place, FOREIGN)):
        pass
    assert sorted(path.name for path in directory.iterdir()) == before
