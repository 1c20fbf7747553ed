"""Finding sets: what lists and restores rely on, told without opening a data file."""

from __future__ import annotations

import itertools
import json
import os
from datetime import datetime, timezone
from pathlib import Path

import fsspec
import pytest

from pgvector_backup.engine.base.errors import Conflict, InvalidParams, NotFound
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.root import locate, locate_path
from tests.helpers.house import House

_buckets = itertools.count()


def _all(house: House) -> list[FoundSet]:
    return [one for place in Catalog(house.settings).locations() for one in place.sets]


def _at(second: int) -> datetime:
    return datetime(2026, 1, 2, 3, 4, second, tzinfo=timezone.utc)


def test_sets_are_found_in_the_root_and_in_tasks_newest_first(house: House) -> None:
    house.langchain()
    (house.root / "task_1").mkdir(parents=True)
    (house.root / "task_without_backups").mkdir()
    for second in (1, 2):
        house.backup(now=_at(second))
    house.backup(now=_at(3), task_id="task_1")

    places = Catalog(house.settings).locations()

    assert [(one.location.task_id, one.location.relative_path) for one in places] == [
        (None, "vector_bak"),
        ("task_1", "task_1/vector_bak"),
    ]
    assert [one.backup_id for one in places[0].sets] == ["20260102_030402", "20260102_030401"]
    found = places[1].sets[0]
    assert (found.rows, found.whole, found.run_id, found.created_at) == (62, True, "test", "2026-01-02T03:04:03+00:00")
    assert {table.name: table.rows for table in found.tables} == {
        "langchain_pg_collection": 4,
        "langchain_pg_embedding": 58,
    }
    assert found.bytes == sum((Path(found.directory) / table.file).stat().st_size for table in found.tables)


def test_nothing_is_made_by_looking(house: House) -> None:
    assert Catalog(house.settings).locations() == []
    with pytest.raises(NotFound):
        Catalog(house.settings).place(None, None)
    assert not house.root.exists() or list(house.root.iterdir()) == []


def test_csv_files_of_another_tool_are_a_set_without_a_manifest(house: House) -> None:
    house.directory.mkdir(parents=True)
    for table in ("langchain_pg_collection", "langchain_pg_embedding"):
        (house.directory / f"{table}_20250721_234914.csv").write_text("uuid\n")
    (house.directory / "notes_99999999_999999.csv").write_text("no date")

    (found,) = _all(house)

    assert (found.backup_id, found.manifest_file, found.whole, found.rows) == ("20250721_234914", None, False, None)
    assert [table.name for table in found.tables] == ["langchain_pg_collection", "langchain_pg_embedding"]
    assert Catalog(house.settings).find(locate_path(house.root, "vector_bak", "vector_bak"), "latest") == found


def test_a_missing_or_shortened_file_is_told_without_reading_it(house: House) -> None:
    house.langchain()
    result = house.backup()
    path = house.directory / result.tables["langchain_pg_embedding"].file
    os.truncate(path, 100)
    assert (
        _all(house)[0].damaged
        == f"{path.name}: 100 bytes on disk, {result.tables['langchain_pg_embedding'].bytes:,} in the manifest"
    )
    path.unlink()
    assert _all(house)[0].damaged == f"{path.name} is missing"


def test_an_altered_manifest_makes_a_damaged_set_not_an_error(house: House) -> None:
    house.langchain()
    manifest = house.directory / str(house.backup().manifest_file)
    manifest.write_text(manifest.read_text().replace('"rows": 58', '"rows": 57'))
    (found,) = _all(house)
    assert found.damaged is not None
    assert "altered" in found.damaged
    with pytest.raises(NotFound, match="none of its sets is whole"):
        Catalog(house.settings).find(Catalog(house.settings).place(None, None), "latest")


def test_a_manifest_under_another_sets_name_is_damaged(house: House) -> None:
    house.langchain()
    manifest = house.directory / str(house.backup(now=_at(1)).manifest_file)
    manifest.rename(house.directory / "manifest_20990101_000000.json")
    assert "it says that it is of set 20260102_030401" in str(
        next(one for one in _all(house) if one.manifest_file).damaged
    )


def test_what_was_read_once_is_read_again_only_when_it_changes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.langchain()
    result = house.backup()
    catalog = Catalog(house.settings)
    first = catalog.locations()
    opened: list[str] = []
    real = type(first[0].location).open
    monkeypatch.setattr(
        type(first[0].location),
        "open",
        lambda self, name: opened.append(name) or real(self, name),  # type: ignore[func-returns-value]
    )
    assert [one.sets for one in catalog.locations()] == [one.sets for one in first]
    assert opened == []
    (house.directory / f"verified_{result.backup_id}.json").write_text(json.dumps({"ok": True}))
    assert catalog.locations()[0].sets[0].verification == {"ok": True}
    assert opened == [f"verified_{result.backup_id}.json"]


def test_latest_passes_over_a_set_of_which_a_table_failed(house: House) -> None:
    house.langchain()
    whole = house.backup(now=_at(1))
    house.configure(tables="langchain_pg_collection,no_such_table")
    assert house.backup(now=_at(2)).failure is not None
    catalog = Catalog(house.settings)
    place = catalog.place("vector_bak", None)
    assert catalog.find(place, "latest").backup_id == whole.backup_id
    assert not catalog.find(place, "20260102_030402").whole


def test_a_set_that_is_not_there_is_refused_with_what_is(house: House) -> None:
    house.langchain()
    house.backup(now=_at(1))
    catalog = Catalog(house.settings)
    with pytest.raises(NotFound, match="no set 20250101_000000 in vector_bak; the newest there: 20260102_030401"):
        catalog.find(catalog.place(None, None), "20250101_000000")


@pytest.mark.parametrize(
    "path",
    ["../vector_bak", "/vector_bak", "task/../vector_bak", "a/b/vector_bak", "vector_bak/", "%2e%2e/vector_bak", "",
     "vector_bak\0", "task_1/other", "task_1\n/vector_bak", "..\\vector_bak"],
)  # fmt: skip
def test_a_path_that_no_list_has_given_is_not_even_tried(house: House, path: str) -> None:
    house.langchain()
    house.backup()
    with pytest.raises(InvalidParams, match="no place of backups"):
        Catalog(house.settings).place(path, None)


def test_a_link_out_of_the_root_is_not_followed(house: House, tmp_path: Path) -> None:
    house.langchain()
    house.root.mkdir(parents=True, exist_ok=True)
    outside = tmp_path / "outside"
    (outside / "vector_bak").mkdir(parents=True)
    (outside / "vector_bak" / "langchain_pg_embedding_20250721_234914.csv").write_text("x")
    (house.root / "task_link").symlink_to(outside, target_is_directory=True)
    assert _all(house) == []
    with pytest.raises(NotFound):
        Catalog(house.settings).place("task_link/vector_bak", None)


def test_removing_a_set_leaves_the_others_and_the_log(house: House) -> None:
    house.langchain()
    kept, gone = house.backup(now=_at(1)), house.backup(now=_at(2))
    place = locate(house.root, None, "vector_bak")
    place.append_log("a section\n")
    place.write(f"verified_{gone.backup_id}.json", b"{}")
    catalog = Catalog(house.settings)
    names = remove(place, catalog.find(place, str(gone.backup_id)))
    assert len(names) == 7
    assert names[0] == gone.manifest_file
    assert [one.backup_id for one in _all(house)] == [kept.backup_id]
    assert not [name for name in house.files() if str(gone.backup_id) in name]
    assert "vector_backup_log.txt" in house.files()


def test_a_set_that_is_being_read_is_not_removed(house: House) -> None:
    house.langchain()
    result = house.backup()
    place = locate(house.root, None, "vector_bak")
    found = Catalog(house.settings).find(place, str(result.backup_id))
    before = house.files()
    with place.shared_lock(str(result.manifest_file)), pytest.raises(Conflict, match="in use"):
        remove(place, found)
    assert house.files() == before
    with place.exclusive_lock(str(result.manifest_file)), pytest.raises(Conflict, match="being removed"):
        house.truncate(result)
    assert house.count("langchain_pg_embedding") == 58


def test_the_file_that_tells_of_a_verify_is_replaced_whole(house: House) -> None:
    house.langchain()
    result = house.backup()
    place = locate(house.root, None, "vector_bak")
    name = f"verified_{result.backup_id}.json"
    for content in (b"{}", b'{"ok": true}'):
        place.write(name, content)
        assert (house.directory / name).read_bytes() == content
    assert not [one for one in house.files() if one.endswith(".tmp")]


def test_sets_in_an_object_store_are_found_as_well(house: House) -> None:
    url = f"memory://catalog{next(_buckets)}"
    house.configure(backup_root=url)
    try:
        house.langchain()
        assert Catalog(house.settings).locations() == []
        fsspec.filesystem("memory").makedirs(f"{url}/task_1")
        house.backup(now=_at(1))
        house.backup(now=_at(2), task_id="task_1")
        found = _all(house)
        assert [(one.relative_path, one.backup_id, one.whole) for one in found] == [
            ("vector_bak", "20260102_030401", True),
            ("task_1/vector_bak", "20260102_030402", True),
        ]
        place = Catalog(house.settings).place("task_1/vector_bak", None)
        assert len(remove(place, found[1])) == 6
        assert [one.relative_path for one in _all(house)] == ["vector_bak"]
    finally:
        fsspec.filesystem("memory").rm("/", recursive=True)
