"""A restore reads each file once: its rows go into the table while it is proven, and what is not right undoes all."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import IndexedBlock
from pgvector_backup.engine.store.location import Location
from tests.helpers.forging import reseal
from tests.helpers.hooks import WIDE
from tests.helpers.house import House

EMBEDDING = "langchain_pg_embedding"
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def house(database: Any, backup_root: Path) -> House:
    return House(database, backup_root)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that are read of each file, by name."""
    found: dict[str, int] = {}
    opened = Location.open

    def watched(location: Location, name: str) -> Any:
        file = opened(location, name)
        reading = file.read

        class Watched:
            def __enter__(self) -> Watched:
                return self

            def __exit__(self, *fault: Any) -> None:
                file.close()

            def read(self, size: int = -1) -> bytes:
                data: bytes = reading(size)
                found[name] = found.get(name, 0) + len(data)
                return data

            def __getattr__(self, what: str) -> Any:
                return getattr(file, what)

        return Watched()

    monkeypatch.setattr(Location, "open", watched)
    return found


def another_sha256(house: House) -> None:
    """Let the set's manifest tell another SHA-256 of the embeddings' file, and nothing else that is not so."""

    def change(body: dict[str, Any]) -> None:
        next(one for one in body["tables"] if one["name"] == EMBEDDING)["sha256"] = "0" * 64

    reseal(house, change)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_each_byte_is_read_once(house: House, read: dict[str, int], file_format: str) -> None:
    house.database.run(WIDE.replace("{rows}", "2000"))
    house.configure(tables="wide")
    result = house.backup(file_format=file_format)
    house.database.run("TRUNCATE wide")
    read.clear()
    house.restore()
    size = result.tables["wide"].bytes
    assert size is not None
    assert size > 3 << 20
    assert size <= read[str(result.tables["wide"].file)] < size + (1 << 10)  # its header once more
    assert house.count("wide") == 2000


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("how", ["empty", "staged", "replaced"])
def test_what_only_the_sha256_shows_undoes_everything(house: House, dry_run: bool, file_format: str, how: str) -> None:
    house.langchain()
    house.backup(file_format=file_format)
    house.database.run(f"DELETE FROM {EMBEDDING} WHERE ctid IN (SELECT ctid FROM {EMBEDDING} LIMIT 20)")
    if how == "empty":
        house.database.run(f"TRUNCATE {EMBEDDING}")
    before = house.database.run(f"SELECT * FROM {EMBEDDING} ORDER BY 1")
    another_sha256(house)
    request = {"truncate_before_restore": True} if how == "replaced" else {"on_conflict": "skip"}
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's; the file was altered"):
        house.restore(dry_run=dry_run, **request)
    assert house.database.run(f"SELECT * FROM {EMBEDDING} ORDER BY 1") == before


def test_damage_is_told_before_a_conflict_that_comes_earlier(house: House) -> None:
    house.langchain()
    house.backup()
    another_sha256(house)
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's"):
        house.restore()  # the rows of the table that is restored first are there already


def test_an_empty_table_is_proven_too(house: House) -> None:
    house.langchain(0)
    house.backup()
    another_sha256(house)
    with pytest.raises(IntegrityFault, match="SHA-256"):
        house.restore(on_conflict="skip")


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("file", ["langchain_pg_embedding_{}.csv", "langchain_pg_embedding_{}.keys.csv"])
def test_every_file_of_a_chain_is_proven(house: House, monkeypatch: pytest.MonkeyPatch, file: str, which: int) -> None:
    house.langchain()
    made = []
    for number in range(3):
        made.append(str(house.backup(mode="incremental", now=NOW + timedelta(hours=number)).backup_id))
        house.database.run(f"UPDATE {EMBEDDING} SET document = document || '.' WHERE id LIKE '%{number}'")
    before = house.database.run(f"SELECT * FROM {EMBEDDING} ORDER BY 1")
    path = house.directory / file.format(made[which])
    content = path.read_bytes()
    # A digit of a vector, or of a row's transaction: nothing else that is read tells of it.
    start = (
        content.rindex(b",", 0, content.rindex(b",", 0, content.rindex(b",")))
        if "keys" in file
        else content.index(b"[")
    )
    at = next(place for place in range(start, len(content)) if content[place : place + 1].isdigit())
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    monkeypatch.setattr(IndexedBlock, "is_intact", lambda block, stored: len(stored) == block.length)
    with pytest.raises(IntegrityFault, match=f"{path.name}: its SHA-256 is not the manifest's"):
        house.restore(timestamp=made[-1], truncate_before_restore=True)
    assert house.database.run(f"SELECT * FROM {EMBEDDING} ORDER BY 1") == before


def test_a_damaged_block_is_named(house: House) -> None:
    house.database.run(WIDE.replace("{rows}", "2000"))
    house.configure(tables="wide")
    result = house.backup(file_format="binary")
    path = house.directory / str(result.tables["wide"].file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    house.database.run("TRUNCATE wide")
    with pytest.raises(IntegrityFault, match=rf"{path.name}: block \d of \d \(bytes .* rows .*is not what was written"):
        house.restore()
    assert house.count("wide") == 0


@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "header"])
def test_what_shows_at_a_glance_is_told_before_the_database_is_asked(
    house: House, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    house.langchain()
    result = house.backup()
    path = house.directory / str(result.tables[EMBEDDING].file)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-1], "longer": content + b"\n", "header": b"!" + content[1:]}[damage])

    def refuse() -> Any:
        raise AssertionError("the database was asked")

    house.connect = refuse
    with pytest.raises(IntegrityFault, match=path.name):
        house.restore(timestamp=str(result.backup_id))


def test_without_the_checksums_package_the_file_is_proven_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.langchain()
    result = house.backup()
    path = house.directory / str(result.tables[EMBEDDING].file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    known = {magic: block_index.BlockChecksum(magic, None) for magic in block_index._KNOWN}
    monkeypatch.setattr(block_index, "_KNOWN", known)

    def refuse() -> Any:
        raise AssertionError("the database was asked")

    house.connect = refuse
    with pytest.raises(IntegrityFault, match="its SHA-256 is not the manifest's"):
        house.restore(timestamp=str(result.backup_id))
