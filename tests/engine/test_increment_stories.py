"""What keys make possible without a server: a chain as a full set, what differs between two sets, where a row lies."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import Conflict, IntegrityFault, InvalidParams
from pgvector_backup.engine.consolidate import ConsolidateResult, consolidate
from pgvector_backup.engine.diff import diff
from pgvector_backup.engine.find_key import find_key
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.chains import increment, require_equal, restored
from tests.helpers.database import contents
from tests.helpers.house import House

PAIR = ("langchain_pg_collection", "langchain_pg_embedding")
NOW = datetime.now(timezone.utc)


@pytest.fixture(params=[("csv", "none"), ("binary", "zstd")], ids=["csv", "binary"])
def nights(house: House, request: pytest.FixtureRequest) -> list[str]:
    """Four sets of a table that changes."""
    file_format, compression = request.param
    house.langchain(200)
    made = []
    for night in range(4):
        how = {"file_format": file_format, "compression": compression}
        made.append(str(increment(house, now=NOW + timedelta(days=night), **how).backup_id))
        house.database.run(f"UPDATE langchain_pg_embedding SET document = 'n{night}' WHERE id LIKE '%{night}'")
        house.database.run(f"DELETE FROM langchain_pg_embedding WHERE id = 'id-{5 + night}'")
        house.database.run(
            f"INSERT INTO langchain_pg_embedding SELECT 'new-{night}', collection_id, embedding, document, cmetadata"
            " FROM langchain_pg_embedding WHERE id = 'id-100'"
        )
    return made


def consolidated(house: House, backup_id: str) -> ConsolidateResult:
    catalog = Catalog(house.settings)
    location = catalog.place("vector_bak", None)
    return consolidate(location, catalog.find(location, backup_id), house.settings, now=NOW + timedelta(days=30))


def test_a_consolidated_chain_is_a_full_set_of_its_own(house: House, nights: list[str]) -> None:
    result = consolidated(house, nights[3])
    catalog = Catalog(house.settings)
    location = catalog.place("vector_bak", None)
    assert house.verify(backup_path="vector_bak", timestamp=result.backup_id, depth="drill").failure is None
    manifest = json.loads((house.directory / f"manifest_{result.backup_id}.json").read_text())
    assert manifest["format_version"] == 1
    assert "chain" not in manifest
    with_chain = _restored(house, nights[3])
    for backup_id in reversed(nights):
        remove(location, catalog.find(location, backup_id))
    assert _restored(house, result.backup_id) == with_chain
    # The next increment stands on it, for it is of the same moment.
    after = increment(house, **_how(manifest))
    assert (after.mode, after.base_backup_id) == ("incremental", result.backup_id)
    require_equal(house, str(after.backup_id), *PAIR)


def _how(manifest: dict[str, Any]) -> dict[str, Any]:
    (table, *_) = manifest["tables"]
    return {"file_format": table["format"], "compression": table["compression"], "now": NOW + timedelta(days=31)}


def _restored(house: House, backup_id: str) -> dict[str, list[Any]]:
    with restored(house, backup_id) as target:
        return contents(target, *PAIR)


def test_a_full_set_is_not_consolidated(house: House, nights: list[str]) -> None:
    with pytest.raises(InvalidParams, match="no increment"):
        consolidated(house, nights[0])


def test_a_damaged_chain_is_not_consolidated(house: House, nights: list[str]) -> None:
    (file,) = (
        path
        for path in house.directory.iterdir()
        if path.name.startswith(f"langchain_pg_embedding_{nights[1]}.")
        and ".keys." not in path.name
        and path.suffix != ".idx"
    )
    content = bytearray(file.read_bytes())
    content[-30] ^= 4
    file.write_bytes(bytes(content))
    before = house.files()
    with pytest.raises(IntegrityFault):
        consolidated(house, nights[3])
    assert house.files() == before


def test_what_differs_between_two_sets(house: House, nights: list[str]) -> None:
    catalog = Catalog(house.settings)
    location = catalog.place("vector_bak", None)
    first, last = (catalog.find(location, name) for name in (nights[0], nights[3]))
    table = diff(location, first, last).to_json()["tables"]["langchain_pg_embedding"]
    assert table["keys"]["added"] == ["new-0", "new-1", "new-2"]
    assert table["keys"]["removed"] == ["id-5", "id-6", "id-7"]
    changed = {f"id-{number}" for number in range(1, 201) if number % 10 in (0, 1, 2)}
    assert (table["added"], table["changed"], table["removed"]) == (3, len(changed), 3)
    assert set(table["keys"]["changed"]) == changed
    assert table["unchanged"] == 200 - 3 - len(changed)
    for kind in ("added", "changed", "removed"):
        assert sum(counts[kind] for counts in table["collections"].values()) == table[kind]
    with pytest.raises(ValueError, match="badly formed"):
        uuid.UUID(next(iter(table["collections"])))
    same = diff(location, last, last).to_json()["tables"]["langchain_pg_embedding"]
    assert (same["added"], same["changed"], same["removed"]) == (0, 0, 0)


def test_sets_without_keys_cannot_be_compared(house: House) -> None:
    house.langchain(5)
    house.backup()
    catalog = Catalog(house.settings)
    location = catalog.place("vector_bak", None)
    one = catalog.find(location, "latest")
    with pytest.raises(Conflict, match="no keys"):
        diff(location, one, one)


def test_where_a_row_lies(house: House, nights: list[str]) -> None:
    catalog = Catalog(house.settings)
    place = catalog.at(catalog.place("vector_bak", None))
    created = {one.backup_id: one.created_at for one in place.sets}

    def told(key: str) -> list[dict[str, Any]]:
        body = find_key(place, [key]).to_json()
        assert body["sets_searched"] == 4
        return list(body["tables"].get("langchain_pg_embedding", []))

    (gone,) = told("id-6")
    assert gone["sets"] == nights[:2]
    assert gone["until"] == created[nights[2]]
    (born,) = told("new-1")
    assert born["sets"] == nights[2:]
    assert born["until"] is None
    before, after = told("id-11")
    assert (before["sets"], after["sets"]) == (nights[:2], nights[2:])
    assert told("nobody") == []
