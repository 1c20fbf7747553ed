"""Which set is meant: what verification has found counts, and sets of several databases are told apart."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.database import Database
from tests.helpers.house import House


def _at(second: int) -> datetime:
    return datetime(2026, 1, 2, 3, 4, second, tzinfo=timezone.utc)


def _spoil(house: House, backup_id: str) -> None:
    """One bit of the set's largest file, its size as before: nothing but reading it shows that."""
    file = house.directory / f"langchain_pg_embedding_{backup_id}.csv"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def three(house: House) -> list[str]:
    house.langchain()
    ids = [house.backup(now=_at(second)).backup_id for second in (1, 2, 3)]
    return [one for one in ids if one is not None]


def test_latest_is_not_a_set_that_verification_found_damaged(house: House, three: list[str]) -> None:
    _spoil(house, three[2])
    assert house.restore(dry_run=True, on_conflict="skip", tables=["langchain_pg_collection"]).backup_id == three[2]
    assert not house.verify(backup_path="vector_bak", depth="files").to_json()["sets"][0]["ok"]

    found = Catalog(house.settings).find(Catalog(house.settings).place(None, None), "latest")
    assert found.backup_id == three[1]
    assert house.restore(dry_run=True, on_conflict="skip").backup_id == three[1]


def test_a_later_verification_that_finds_it_whole_makes_it_good_again(house: House, three: list[str]) -> None:
    _spoil(house, three[2])
    house.verify(backup_path="vector_bak", depth="files")
    _spoil(house, three[2])  # the same bit: mended
    house.verify(backup_path="vector_bak", timestamp=three[2], depth="files")
    assert house.restore(dry_run=True, on_conflict="skip").backup_id == three[2]


def test_a_verify_that_could_not_be_held_damns_nothing(house: House, three: list[str]) -> None:
    told = {"verified_at": "2026-01-03T00:00:00+00:00", "depth": "rows", "ok": False, "damaged": False}
    (house.directory / f"verified_{three[2]}.json").write_text(json.dumps(told))
    assert house.restore(dry_run=True, on_conflict="skip").backup_id == three[2]


def test_a_damaged_set_that_is_named_says_which_one_to_take(house: House, three: list[str]) -> None:
    _spoil(house, three[2])
    with pytest.raises(IntegrityFault, match=rf"the next whole set is {three[1]} of 2026-01-02"):
        house.restore(timestamp=three[2], on_conflict="skip")
    _spoil(house, three[1])
    house.verify(backup_path="vector_bak", timestamp=three[1], depth="files")
    with pytest.raises(IntegrityFault, match=rf"the next whole set is {three[0]} of"):
        house.restore(timestamp=three[2], on_conflict="skip")


def test_where_none_is_whole_that_is_said(house: House, three: list[str]) -> None:
    for one in three:
        _spoil(house, one)
        house.verify(backup_path="vector_bak", timestamp=one, depth="files")
    with pytest.raises(NotFound, match="none of its sets is whole"):
        house.restore()
    with pytest.raises(IntegrityFault, match="no set of vector_bak that is known to be whole could take its place"):
        house.restore(timestamp=three[0])


def test_latest_is_of_the_database_that_is_restored_into(house: House, three: list[str], elsewhere: Database) -> None:
    other = House(elsewhere, house.root)
    elsewhere.run("CREATE EXTENSION vector")
    other.langchain(rows=7)
    newest = other.backup(now=_at(30)).backup_id
    assert house.restore(dry_run=True, on_conflict="skip").backup_id == three[2]
    assert other.restore(dry_run=True, on_conflict="skip").backup_id == newest
    # Without a database to go by it is the newest of all, as it is for another tool's.
    assert Catalog(house.settings).find(Catalog(house.settings).place(None, None), "latest").backup_id == newest


def test_a_database_without_sets_of_its_own_takes_the_newest_of_all(
    house: House, three: list[str], elsewhere: Database
) -> None:
    result = house.restore(into=elsewhere)
    assert result.backup_id == three[2]


def test_both_databases_are_named_in_the_result_and_the_log(
    house: House, three: list[str], elsewhere: Database, caplog: pytest.LogCaptureFixture
) -> None:
    told = house.restore(into=elsewhere, dry_run=True).to_json()
    assert told["source_database"]["database"] == house.database.name
    assert told["target_database"]["database"] == elsewhere.name
    assert told["same_database"] is False
    (line,) = [record for record in caplog.records if "of another database" in record.getMessage()]
    assert line.levelname == "WARNING"
    assert house.database.name in line.getMessage()
    assert elsewhere.name in line.getMessage()

    told = house.restore(on_conflict="skip").to_json()
    assert told["same_database"] is True
    assert told["source_database"] == told["target_database"]


def test_a_foreign_set_is_of_no_known_database(house: House, three: list[str], elsewhere: Database) -> None:
    for file in Path(house.directory).glob("*.json"):
        file.unlink()
    told = house.restore(timestamp=three[0], dry_run=True, on_conflict="skip").to_json()
    assert (told["source_database"], told["same_database"]) == (None, None)
