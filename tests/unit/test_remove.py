"""A removal takes the files of one set and no other's, and none while somebody holds it: without a server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.remove import files_of, remove
from pgvector_backup.engine.sets.beside import Pin, write_pin
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import locate

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "vector_bak"
ID, LATER = "20261125_020000", "20261125_020001"
FOREIGN = "20250721_234914"
NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "vector_bak").mkdir()
    for backup_id in (ID, LATER):
        for path in GOLDEN.glob(f"*_{backup_id}.*"):
            shutil.copy(path, tmp_path / "vector_bak")
    for name in (f"a_{FOREIGN}.csv", f"b_{FOREIGN}.csv", "a_20250721_234915.csv", f"notes_{FOREIGN}.txt", "log.txt"):
        (tmp_path / "vector_bak" / name).write_text("uuid\n")
    return tmp_path


def listed(root: Path) -> set[str]:
    return {path.name for path in (root / "vector_bak").iterdir()}


def found(root: Path, backup_id: str) -> tuple[Location, FoundSet]:
    place = locate(root, None, "vector_bak")
    return place, Catalog(Settings(backup_root=root)).find(place, backup_id)


def pinned(root: Path, backup_id: str, until: datetime | None) -> None:
    write_pin(locate(root, None, "vector_bak"), backup_id, Pin("admin", "audit", until, NOW))


@pytest.mark.parametrize("backup_id", [ID, FOREIGN])
@pytest.mark.parametrize("until", [None, NOW + HOUR])
def test_nothing_of_a_pinned_set_goes(root: Path, backup_id: str, until: datetime | None) -> None:
    pinned(root, backup_id, until)
    before = listed(root)
    with pytest.raises(Conflict, match=r"pinned .*by admin: audit; unpin it first"):
        remove(*found(root, backup_id))
    assert listed(root) == before


@pytest.mark.parametrize("backup_id", [ID, FOREIGN])
def test_a_pin_that_has_ended_holds_nothing_and_goes_too(root: Path, backup_id: str) -> None:
    pinned(root, backup_id, NOW - HOUR)
    before = listed(root)
    names = remove(*found(root, backup_id))
    assert f"pinned_{backup_id}.json" in names
    assert before - listed(root) == set(names)


def test_of_another_tools_set_only_what_the_catalog_lists_goes(root: Path) -> None:
    before = listed(root)
    assert remove(*found(root, FOREIGN)) == [f"a_{FOREIGN}.csv", f"b_{FOREIGN}.csv"]
    assert before - listed(root) == {f"a_{FOREIGN}.csv", f"b_{FOREIGN}.csv"}


def test_what_lies_beside_a_set_goes_with_it(root: Path) -> None:
    own = {path.name for path in GOLDEN.glob(f"*_{ID}.*")}
    beside = {f"verified_{ID}.json", f"emptied_{ID}.json", f"schema_{ID}.sql"}
    others = {f"verified_{LATER}.json", f"langchain_pg_embedding_x{ID}.csv", f"strange_{ID}.csv"}
    for name in beside | others:
        (root / "vector_bak" / name).write_text("{}")
    before = listed(root)
    place, one = found(root, ID)
    names = remove(place, one)
    assert names[0] == one.manifest_file
    assert len(names) == len(set(names))
    assert set(names) == own | beside
    assert before - listed(root) == set(names)


def test_of_a_set_that_tells_nothing_what_bears_its_id_goes(root: Path) -> None:
    (root / "vector_bak" / f"manifest_{ID}.json").write_bytes(b"{")
    (root / "vector_bak" / f"verified_{ID}.json").write_bytes(b"{}")
    own = {name for name in listed(root) if ID in name}
    before = listed(root)
    names = remove(*found(root, ID))
    assert set(names) == own
    assert before - listed(root) == own


def test_the_manifest_goes_first_and_a_claim_stays_to_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, one = found(root, ID)
    steps: list[tuple[str, bool, bool]] = []
    removing = Location.remove

    def watching(self: Location, name: str) -> Any:
        there = listed(root)
        steps.append((name, f"manifest_{ID}.json" in there, any(ID in name for name in there if name.endswith("tmp"))))
        return removing(self, name)

    monkeypatch.setattr(Location, "remove", watching)
    names = remove(place, one)
    assert [name for name, _, _ in steps[:-1]] == names[1:]
    assert all((manifest, claim) == (False, True) for _, manifest, claim in steps)
    assert not any(ID in name for name in listed(root))


class Held:
    """What an object store's lock says of a file."""

    def __init__(self, until: datetime) -> None:
        self._until = until

    def holds(self, now: datetime) -> bool:
        return self._until > now

    def describe(self) -> str:
        return "held by the store"


@pytest.mark.parametrize("backup_id", [ID, FOREIGN])
def test_what_the_store_holds_stays_until_it_lets_go(
    root: Path, monkeypatch: pytest.MonkeyPatch, backup_id: str
) -> None:
    place, one = found(root, backup_id)
    asked: list[list[str]] = []

    def held(self: Location, names: list[str]) -> Held:
        asked.append(list(names))
        return Held(NOW + HOUR if len(asked) == 1 else NOW - HOUR)

    monkeypatch.setattr(Location, "held", held)
    before = listed(root)
    with pytest.raises(Conflict, match="held by the store; it can be removed after that"):
        remove(place, one)
    assert listed(root) == before
    names = remove(place, one)
    assert asked == [names, names]
    assert before - listed(root) == set(names)


def test_everything_is_asked_once_nobody_else_can_come_between(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pin that is set just before the lock is had holds the set."""
    place, one = found(root, ID)
    locking = Location.exclusive_lock

    @contextmanager
    def pinned_meanwhile(self: Location, manifest: str) -> Iterator[None]:
        pinned(root, ID, None)
        with locking(self, manifest):
            yield

    monkeypatch.setattr(Location, "exclusive_lock", pinned_meanwhile)
    with pytest.raises(Conflict, match="unpin it first"):
        remove(place, one)
    assert f"manifest_{ID}.json" in listed(root)


def test_what_would_go_is_told_without_removing_it(root: Path) -> None:
    before = listed(root)
    assert set(files_of(*found(root, ID))) == {path.name for path in GOLDEN.glob(f"*_{ID}.*")}
    assert listed(root) == before
