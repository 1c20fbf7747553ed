"""A set survives a power cut: everything is on disk before the name that vouches for it.

Killing a process leaves the page cache alone, so no kill shows a missing fsync. The calls are traced instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store.root import locate
from tests.helpers.house import House

Call = tuple[str, str]
"""What was done, and to which name; ``.`` is the directory itself."""


@pytest.fixture
def calls(house: House, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Writes, fsyncs, renames and removals in the house's directory, as they come."""
    seen: list[Call] = []

    def path_of(descriptor: int) -> Path:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))

    def note(what: str, path: Any) -> None:
        path = Path(path)
        if path == house.directory:
            seen.append((what, "."))
        elif path.parent == house.directory:
            seen.append((what, path.name))
        elif path == house.root:
            seen.append((what, ".."))

    def traced(name: str, by_descriptor: bool) -> None:
        original = getattr(os, name)

        def call(first: Any, *rest: Any, **more: Any) -> Any:
            where = path_of(first) if by_descriptor else rest[0] if name == "rename" else first
            done = original(first, *rest, **more)
            note(name, where)
            return done

        monkeypatch.setattr(os, name, call)

    for name, by_descriptor in (("write", True), ("fsync", True), ("rename", False), ("unlink", False)):
        traced(name, by_descriptor)
    return seen


def last(calls: list[Call], call: Call) -> int:
    """When it was done last; it fails where it never was."""
    return len(calls) - 1 - calls[::-1].index(call)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("rows", [58, 15_000])
def test_a_set_is_on_disk_before_its_manifest_says_so(
    house: House, calls: list[Call], file_format: str, rows: int
) -> None:
    house.langchain(rows)
    house.configure(jobs=1)
    result = house.backup(file_format=file_format)
    manifest = str(result.manifest_file)
    committed = calls.index(("rename", manifest))
    files = [name for name in house.files() if name != manifest]
    assert len(files) == 5  # of each table its rows and their index; and the script for psql

    for name in files:
        written, synced = last(calls, ("write", f"{name}.tmp")), last(calls, ("fsync", f"{name}.tmp"))
        assert written < synced < calls.index(("rename", name)) < committed, name
    named = max(calls.index(("rename", name)) for name in files)
    first_named = min(calls.index(("rename", name)) for name in files)
    # What the manifest says is on disk before any file takes its name: a sweep after a power cut goes by it.
    assert last(calls, ("write", f"{manifest}.tmp")) < last(calls, ("fsync", f"{manifest}.tmp")) < first_named
    # The names are on disk before the manifest's, and that one before the backup tells of a set.
    assert ("fsync", ".") in calls[named:committed]
    assert ("fsync", ".") in calls[committed:]


def test_what_is_announced_is_on_disk_before_anything_is_published(house: House, calls: list[Call]) -> None:
    """A copy's files take their names one by one: a sweep after a power cut has to know whose they are."""
    place = locate(house.root, None, "vector_bak")
    claim = place.claim_again("20260102_030405")
    assert claim is not None
    calls.clear()
    claim.announce(b"{}")
    assert calls == [
        ("write", "manifest_20260102_030405.json.tmp"),
        ("fsync", "manifest_20260102_030405.json.tmp"),
        ("fsync", "."),
    ]
    claim.discard()


def test_the_directory_made_for_a_set_is_on_disk_too(house: House, calls: list[Call]) -> None:
    house.langchain()
    house.backup()
    assert ("fsync", "..") in calls


def test_a_small_file_is_on_disk_before_it_takes_the_place_of_another(house: House, calls: list[Call]) -> None:
    house.langchain()
    house.backup()
    calls.clear()
    assert house.verify(depth="rows").failure is None
    (name,) = [name for what, name in calls if what == "rename"]
    (staged,) = {at for what, at in calls if what == "write" and at.startswith(name)}
    assert re.fullmatch(re.escape(name) + r"\.[a-z]+\.tmp", staged)
    renamed = calls.index(("rename", name))
    assert last(calls, ("write", staged)) < last(calls, ("fsync", staged)) < renamed
    assert ("fsync", ".") in calls[renamed:]


def test_a_section_of_the_log_is_on_disk(house: House, calls: list[Call]) -> None:
    house.langchain()
    house.backup()
    calls.clear()
    locate(house.root, None, "vector_bak").append_log("a section\n")
    assert [what for what, name in calls if name == "vector_backup_log.txt"][-1] == "fsync"
    assert (house.directory / "vector_backup_log.txt").read_text() == "a section\n"


def test_a_set_stops_being_one_on_disk_before_its_files_go(house: House, calls: list[Call]) -> None:
    house.langchain()
    result = house.backup()
    catalog = Catalog(house.settings)
    place = catalog.place("vector_bak", None)
    found = catalog.find(place, str(result.backup_id))
    calls.clear()
    remove(place, found)
    gone = [at for at, (what, _) in enumerate(calls) if what == "unlink"]
    retired = f"{result.manifest_file}.tmp"
    ended = calls.index(("rename", retired))
    assert ended < gone[0]
    assert len(gone) == 6
    assert ("fsync", ".") in calls[ended : gone[0]]
    assert calls[gone[-1]] == ("unlink", retired)
    assert ("fsync", ".") in calls[gone[-1] :]
    assert house.files() == []
