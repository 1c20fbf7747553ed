"""What a catalog finds where something cannot be read, without a server: the rest, and the same again when it can."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store.location import Location

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "vector_bak"
ID = "20261125_020000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in ("vector_bak", "task_1/vector_bak", "task_2/vector_bak"):
        shutil.copytree(GOLDEN, tmp_path / place)
    return tmp_path


@pytest.mark.parametrize("bad", [None, "task_1", "task_2"])
def test_a_tasks_directory_that_cannot_be_read_keeps_nobody_from_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch, bad: str | None
) -> None:
    entries = Location.entries

    def failing(self: Location) -> Any:
        if self.task_id == bad:
            raise StorageFault("Input/output error")
        return entries(self)

    catalog = Catalog(Settings(backup_root=root))
    everything = [None, "task_1", "task_2"]
    assert [place.location.task_id for place in catalog.locations()] == everything
    with monkeypatch.context() as patch:
        patch.setattr(Location, "entries", failing)
        if bad is None:
            with pytest.raises(StorageFault, match="Input/output error"):
                catalog.locations()
        else:
            assert [place.location.task_id for place in catalog.locations()] == [
                one for one in everything if one != bad
            ]
    assert [place.location.task_id for place in catalog.locations()] == everything


@pytest.mark.parametrize("name", [f"manifest_{ID}.json", f"verified_{ID}.json"])
def test_what_could_not_be_read_is_said_and_read_again(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (root / "vector_bak" / f"verified_{ID}.json").write_text('{"ok": true, "errors": [], "depth": "rows"}')
    catalog = Catalog(Settings(backup_root=root))
    place = catalog.place("vector_bak", None)
    opening = os.open

    def failing(path: Any, *args: Any, **more: Any) -> int:
        if Path(path).name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opening(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        sets = {one.backup_id: one for one in catalog.at(place).sets}
    assert len(sets) == 6
    assert sets[ID].unread is not None
    assert (sets[ID].damaged is not None) is name.startswith("manifest")
    assert sets[ID].verification is None or name.startswith("manifest")
    assert [one.unread for backup_id, one in sets.items() if backup_id != ID] == [None] * 5
    (one,) = [one for one in catalog.at(place).sets if one.backup_id == ID]
    assert (one.unread, one.damaged) == (None, None)
    assert one.verification is not None
    assert catalog.at(place) is catalog.at(place), "what has not changed is not read again"
