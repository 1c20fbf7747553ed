"""Second copies of sets: from disks and buckets of real servers to others, made, found whole, made again."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import (
    Cancelled,
    Conflict,
    IntegrityFault,
    InvalidParams,
    NotFound,
    StorageFault,
)
from pgvector_backup.engine.sets.beside import Pin, read_pin, write_pin
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.copies import whereabouts
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store import object_writer
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import Root, locate
from tests.helpers.hooks import WIDE
from tests.helpers.house import House
from tests.helpers.object_stores import S3
from tests.stores.conftest import fresh_bucket

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
ID = "20250721_234914"
KINDS = ("disk", "seaweed", "moto", "rclone", "memory")

_numbers = itertools.count(1)
MakeRoot = Callable[[str], Root]


@pytest.fixture
def make_root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MakeRoot:
    """A fresh root of a kind."""

    def make(kind: str) -> Root:
        if kind == "disk":
            path = tmp_path / f"root_{next(_numbers)}"
            path.mkdir()
            return path
        if kind == "memory":
            return f"memory://copies_{next(_numbers)}"
        server: S3 = request.getfixturevalue(kind)
        return fresh_bucket(server, monkeypatch).root

    return make


def place(root: Root, task_id: str | None = None) -> Location:
    return locate(root, task_id, "vector_bak")


def names(root: Root) -> list[str]:
    """Everything that lies in a root's own directory."""
    return sorted(entry.name for entry in place(root).store.entries() if entry.name != "vector_backup_log.txt")


def content(root: Root, name: str) -> bytes:
    with place(root).open(name) as file:
        return file.read()


def alter(root: Root, name: str) -> None:
    """Change one byte, so that only reading shows it."""
    was = content(root, name)
    place(root).remove(name)
    place(root).write(name, was[:-2] + bytes([was[-2] ^ 1]) + was[-1:])


def file_of(result: Any, table: str = "langchain_pg_embedding") -> str:
    return str(result.tables[table].file)


@pytest.fixture
def made(house: House) -> Any:
    house.langchain()
    return house.backup(now=NOW)


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ("disk", "seaweed"),
        ("seaweed", "disk"),
        ("disk", "disk"),
        ("seaweed", "moto"),
        ("moto", "rclone"),
        ("disk", "memory"),
        ("memory", "seaweed"),
    ],
)
def test_a_copy_is_the_set_byte_for_byte_and_serves_for_everything(
    house: House, make_root: MakeRoot, source: str, other: str
) -> None:
    house.langchain()
    here, there = make_root(source), make_root(other)
    house.configure(backup_root=here)
    result = house.backup(now=NOW)
    copied = house.copy(there)
    assert copied.failure is None
    (one,) = copied.to_json()["copies"]
    assert one["success"] is True
    assert one["root"] == str(there)
    assert (one["backup_path"], one["timestamp"], one["files_copied"]) == ("vector_bak", ID, 5)
    assert one["duration"] > 0
    assert names(there) == names(here)
    for name in names(here):
        assert content(there, name) == content(here, name), name
    assert one["bytes_copied"] == sum(len(content(here, name)) for name in names(here) if "manifest" not in name)

    again = house.copy(there).copies[0]
    assert (again.files, again.bytes, again.failure) == (0, 0, None)

    # The other root alone will do.
    house.configure(backup_root=there)
    assert house.verify(depth="rows").failure is None
    assert house.truncate(result).rows_before == {"langchain_pg_embedding": 58}
    house.restore(on_conflict="skip")
    assert house.count("langchain_pg_embedding") == 58


@pytest.mark.parametrize("kind", ["disk", "seaweed", "memory"])
@pytest.mark.parametrize("damage", ["lost", "altered", "cut", "no index", "no manifest", "manifest", "all lost"])
def test_a_copy_that_is_lost_or_damaged_is_made_again(
    house: House, made: Any, make_root: MakeRoot, kind: str, damage: str
) -> None:
    there = make_root(kind)
    house.copy(there)
    file, manifest = file_of(made), str(made.manifest_file)
    if damage == "lost":
        place(there).remove(file)
    elif damage == "altered":
        alter(there, file)
    elif damage == "cut":
        place(there).write(file, content(there, file)[:-10])
    elif damage == "no index":
        place(there).remove(f"{file}.idx")
    elif damage == "no manifest":
        # What is left are files that no manifest tells of, and nobody's to write over.
        place(there).remove(manifest)
        (one,) = house.copy(there).copies
        assert isinstance(one.failure, Conflict)
        for name in names(there):
            place(there).remove(name)
    elif damage == "manifest":
        alter(there, manifest)
    else:
        for name in names(there):
            place(there).remove(name)
    (one,) = house.copy(there).copies
    assert one.failure is None
    assert one.repaired == (damage not in ("no manifest", "all lost"))
    assert one.files == (5 if damage in ("no manifest", "all lost") else 0 if damage == "manifest" else 1)
    house.configure(backup_root=there)
    assert house.verify(depth="rows").failure is None
    assert [name for name in names(there) if "verified" not in name] == names(house.root)


@pytest.mark.parametrize("kind", ["disk", "seaweed"])
@pytest.mark.parametrize("damage", ["lost", "altered"])
def test_what_the_first_root_has_lost_is_read_at_the_copy_and_made_again_from_it(
    house: House, made: Any, make_root: MakeRoot, kind: str, damage: str
) -> None:
    root, home = make_root(kind), house.root
    house.configure(copy_roots=(root,))
    assert house.copy().failure is None
    whole = {name: (house.directory / name).read_bytes() for name in house.files()}
    if damage == "lost":
        for name in house.files():
            (house.directory / name).unlink()
    else:
        alter(home, file_of(made))
    with pytest.raises((NotFound, IntegrityFault)):
        house.restore(timestamp=made.backup_id, truncate_before_restore=True)
    asked = {"timestamp": made.backup_id, "from_copy": str(root)}
    house.database.run("DELETE FROM langchain_pg_embedding")
    assert house.restore(dry_run=True, on_conflict="skip", **asked).tables["langchain_pg_embedding"].rows == 58
    house.restore(on_conflict="skip", **asked)
    assert house.count("langchain_pg_embedding") == 58
    (verified,) = house.verify(backup_path="vector_bak", depth="rows", **asked).sets
    assert verified.ok
    assert f"verified_{made.backup_id}.json" in names(root)
    assert f"verified_{made.backup_id}.json" not in house.files()

    house.configure(backup_root=root, copy_roots=(home,))
    (one,) = house.copy(timestamp=made.backup_id).copies
    assert one.failure is None
    assert one.repaired == (damage == "altered")
    assert {name: (house.directory / name).read_bytes() for name in whole} == whole


@pytest.mark.parametrize("damage", ["lost", "altered", "no manifest left"])
def test_from_one_copy_the_backup_root_and_the_others_have_it_again(
    house: House, made: Any, make_root: MakeRoot, damage: str
) -> None:
    first, second, home = make_root("seaweed"), make_root("disk"), house.root
    house.configure(copy_roots=(first, second))
    assert house.copy(first).failure is None
    whole = {name: content(home, name) for name in names(home)}
    if damage == "altered":
        alter(home, file_of(made))
    elif damage == "lost":
        for name in house.files():
            (house.directory / name).unlink()
    else:
        (house.directory / str(made.manifest_file)).write_text("{")
    told = whereabouts(house.settings, place(home), str(made.manifest_file)) if damage != "lost" else []
    assert [one.state for one in told] in ([], ["whole", "missing"])
    result = house.copy(timestamp=made.backup_id, from_copy=str(first))
    assert result.failure is None
    assert [(one.root, one.repaired) for one in result.copies] == [(str(home), damage != "lost"), (str(second), False)]
    assert {name: content(home, name) for name in whole} == whole
    assert {name: content(second, name) for name in whole} == whole
    with pytest.raises(InvalidParams, match="from_copy: it has to be one of copy_roots"):
        house.copy(from_copy=str(home))


def test_a_good_set_is_not_overwritten_from_a_damaged_copy(house: House, made: Any, make_root: MakeRoot) -> None:
    first, second = make_root("seaweed"), make_root("disk")
    house.configure(copy_roots=(first, second))
    house.copy(first)
    alter(first, file_of(made))
    before = {name: content(house.root, name) for name in names(house.root)}
    told = house.copy(from_copy=str(first)).copies
    assert told[0].failure is None  # it is whole already, as the manifests say
    assert isinstance(told[1].failure, IntegrityFault)
    assert {name: content(house.root, name) for name in names(house.root)} == before
    assert names(second) == []


def test_nobody_but_who_configures_says_where_sets_are_read(house: House, made: Any, make_root: MakeRoot) -> None:
    elsewhere, root = make_root("disk"), house.root
    with pytest.raises(InvalidParams, match="from_copy: it has to be one of copy_roots, of which there are none"):
        house.restore(timestamp=made.backup_id, from_copy=str(elsewhere))
    house.configure(copy_roots=(elsewhere,))
    for named in (f"{elsewhere}/..", str(root), "s3://elsewhere/sets"):
        with pytest.raises(InvalidParams, match="from_copy: it has to be one of copy_roots"):
            house.verify(backup_path="vector_bak", from_copy=named)


def test_a_damaged_set_is_not_copied_and_a_damaged_copy_of_it_stays_what_it_is(
    house: House, made: Any, make_root: MakeRoot
) -> None:
    first, second = make_root("disk"), make_root("seaweed")
    house.copy(first)
    alter(first, file_of(made, "langchain_pg_collection"))
    alter(house.root, file_of(made))
    before = {name: content(first, name) for name in names(first)}
    result = house.copy(first, second)
    assert [type(one.failure) for one in result.copies] == [IntegrityFault, IntegrityFault]
    assert {name: content(first, name) for name in names(first)} == before
    assert names(second) == []
    assert isinstance(result.failure, IntegrityFault)
    assert file_of(made) in result.failure.message


def test_another_set_of_that_id_is_left_alone(house: House, made: Any, make_root: MakeRoot) -> None:
    there = make_root("seaweed")
    other = replace(Manifest.read(place(house.root), str(made.manifest_file)), run_id="another")
    place(there).write(str(made.manifest_file), other.to_bytes())
    (one,) = house.copy(there).copies
    assert isinstance(one.failure, Conflict)
    assert "another set" in one.failure.message
    assert names(there) == [str(made.manifest_file)]


def test_a_known_damage_is_mended_by_a_quick_copy_too(house: House, made: Any, make_root: MakeRoot) -> None:
    there = make_root("disk")
    house.copy(there)
    alter(there, file_of(made))
    assert house.copy(there, quick=True).copies[0].files == 0  # of the right size, and nobody has looked
    house.configure(backup_root=there)
    assert house.verify(depth="files").failure is not None
    house.configure(backup_root=house.root)
    assert house.copy(there, quick=True).copies[0].repaired
    house.configure(backup_root=there)
    (found,) = Catalog(house.settings).locations()[0].sets
    assert found.good  # what the verify found is of the files that are gone
    assert house.verify(depth="files").failure is None


def test_a_root_that_is_out_of_reach_keeps_the_set_from_no_other(
    house: House, made: Any, make_root: MakeRoot, seaweed: S3, tmp_path: Path
) -> None:
    there = make_root("disk")
    result = house.copy(tmp_path / "not mounted", seaweed.root("s3://no-such-bucket/sets"), there)
    first, second, third = result.to_json()["copies"]
    assert first["error_type"] == second["error_type"] == "STORAGE_ERROR"
    assert "does not exist" in first["error"]
    assert "no-such-bucket" in second["error"]
    assert third["success"]
    assert isinstance(result.failure, StorageFault)
    assert not (tmp_path / "not mounted").exists()
    house.configure(create_root=True)
    assert house.copy(tmp_path / "not mounted").failure is None


def test_no_root_but_the_own_is_no_other_root(house: House, made: Any, make_root: MakeRoot) -> None:
    bucket = make_root("seaweed")
    with pytest.raises(InvalidParams, match="nowhere to copy to"):
        house.copy()
    for root in (house.root, f"{house.root}/", f"file://{house.root}", house.root / "copies", house.root.parent):
        with pytest.raises(InvalidParams, match="not apart"):
            house.copy(root)
    house.configure(backup_root=bucket)
    with pytest.raises(InvalidParams, match="not apart"):
        house.copy(os.fspath(bucket).replace("s3://", "s3a://") + "/")


def test_two_servers_may_have_buckets_of_one_name(house: House, seaweed: S3, moto: S3, make_root: MakeRoot) -> None:
    for server in (seaweed, moto):
        server.client().create_bucket(Bucket="of-one-name")
    here, there = seaweed.root("s3://of-one-name/sets"), moto.root("s3://of-one-name/sets")
    house.langchain(3)
    house.configure(backup_root=make_root("disk"))
    house.backup(now=NOW)
    told = house.copy(here, there).copies  # neither is taken for the other
    assert [(one.failure, one.files) for one in told] == [(None, 5), (None, 5)]
    house.configure(backup_root=here)
    place(there).remove(f"langchain_pg_embedding_{ID}.csv")
    assert [one.repaired for one in house.copy(there).copies] == [True]
    with pytest.raises(InvalidParams, match="are not apart"):
        house.copy(seaweed.root("s3a://of-one-name/sets/deeper"))


def test_every_set_of_every_place_with_the_oldest_first(house: House, make_root: MakeRoot) -> None:
    house.langchain()
    (house.root / "task_1").mkdir()
    for day in range(2):
        house.backup(now=NOW + timedelta(days=day))
    house.backup(now=NOW, task_id="task_1")
    (house.directory / "langchain_pg_embedding_20200101_000000.csv").write_text("uuid\n")
    for kind in ("disk", "seaweed"):
        there = make_root(kind)
        result = house.copy(there, all=True)
        assert result.failure is None
        assert [(one.backup_path, one.timestamp) for one in result.copies] == [
            ("vector_bak", ID),
            ("vector_bak", "20250722_234914"),
            ("task_1/vector_bak", ID),
        ]
        assert result.notes == ("vector_bak 20200101_000000: it has no manifest, so it is not copied",)
        assert [len(one.sets) for one in Catalog(replace(house.settings, backup_root=there)).locations()] == [2, 1]
        assert all(one.files == 0 for one in house.copy(there, all=True, quick=True).copies)
    with pytest.raises(InvalidParams, match="no manifest"):
        house.copy(there, timestamp="20200101_000000")
    with pytest.raises(NotFound):
        house.copy(there, timestamp="20190101_000000")
    with pytest.raises(InvalidParams, match="timestamp, all"):
        house.copy(there, timestamp=ID, all=True)


def test_one_damaged_set_stops_no_other(house: House, make_root: MakeRoot) -> None:
    house.langchain()
    first = house.backup(now=NOW)
    house.backup(now=NOW + timedelta(days=1))
    (house.directory / str(first.manifest_file)).write_text("{}")
    result = house.copy(make_root("disk"), all=True)
    assert {one.timestamp: one.failure is None for one in result.copies} == {ID: False, "20250722_234914": True}


@pytest.mark.parametrize("kind", ["disk", "seaweed"])
def test_a_pin_comes_along_and_what_a_verify_said_does_not(
    house: House, made: Any, make_root: MakeRoot, kind: str
) -> None:
    there = make_root(kind)
    house.verify()
    write_pin(place(house.root), ID, Pin("somebody", "audit"))
    house.copy(there)
    assert f"verified_{ID}.json" not in names(there)
    pin = read_pin(place(there), ID)
    assert pin is not None
    assert pin.reason == "audit"
    write_pin(place(there), ID, Pin("another", "kept longer here"))
    alter(there, file_of(made))
    assert house.copy(there).copies[0].repaired
    pin = read_pin(place(there), ID)
    assert pin is not None
    assert pin.reason == "kept longer here"


def test_the_set_is_held_while_it_is_copied(
    house: House, made: Any, make_root: MakeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = make_root("seaweed")
    seen = []
    close = object_writer.ObjectWriter.publish

    def watched(self: object_writer.ObjectWriter) -> None:
        close(self)
        with pytest.raises(Conflict), place(house.root).exclusive_lock(str(made.manifest_file)):
            pass
        seen.append(sorted(one.name for one in place(there).entries()))

    monkeypatch.setattr(object_writer.ObjectWriter, "publish", watched)
    assert house.copy(there).failure is None
    assert len(seen) == 10  # five files, and once more each when the set is committed
    assert all(listed == [f"manifest_{ID}.json.tmp"] for listed in seen), "nothing is seen before the manifest"


@pytest.mark.parametrize("kind", ["disk", "seaweed"])
def test_a_cancelled_copy_leaves_nothing(
    house: House, made: Any, make_root: MakeRoot, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, cancel = make_root(kind), Cancel()
    checks = itertools.count()
    check = Cancel.check

    def asked(self: Cancel) -> None:
        if next(checks) == 4:
            self.ask()
        check(self)

    monkeypatch.setattr(Cancel, "check", asked)
    with pytest.raises(Cancelled):
        house.copy(there, cancel=cancel)
    assert names(there) == []


@pytest.mark.parametrize("kind", ["disk", "seaweed", "rclone"])
def test_what_arrived_before_a_failure_is_not_sent_again(
    house: House, make_root: MakeRoot, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that broke off is; and until the set is whole nothing of it is seen."""
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "300"))
    house.configure(tables="langchain_pg_collection,langchain_pg_embedding,wide")
    result = house.backup(now=NOW)
    there = make_root(kind)
    opened = Location.open
    fails = True

    def open_or_fail(self: Location, name: str) -> Any:
        if fails and self.directory == str(house.directory) and name == file_of(result, "wide"):
            raise StorageFault(f"{name}: out of reach")
        return opened(self, name)

    monkeypatch.setattr(Location, "open", open_or_fail)
    (one,) = house.copy(there).copies
    assert isinstance(one.failure, StorageFault)
    assert one.files == 4
    assert place(there).entries() == [] or [e.name for e in place(there).entries()] == [f"manifest_{ID}.json.tmp"]
    assert Catalog(replace(house.settings, backup_root=there)).locations() == []
    fails = False
    (one,) = house.copy(there).copies
    assert one.failure is None
    assert one.files == 3  # the file, its index, the script
    house.configure(backup_root=there)
    assert house.verify(depth="rows").failure is None


@pytest.mark.parametrize("kind", ["disk", "seaweed", "rclone"])
def test_what_a_failed_copy_has_left_is_swept_by_whoever_comes_next(
    house: House, make_root: MakeRoot, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain()
    result = house.backup(now=NOW)
    there = make_root(kind)
    with monkeypatch.context() as patch:
        opened = Location.open

        def open_or_fail(self: Location, name: str) -> Any:
            if name == f"schema_{ID}.sql":
                raise StorageFault(f"{name}: out of reach")
            return opened(self, name)

        patch.setattr(Location, "open", open_or_fail)
        assert house.copy(there).failure is not None
    assert file_of(result) in names(there)
    later = house.backup(now=NOW + timedelta(days=1))
    assert house.copy(there).failure is None
    assert names(there) == sorted(name for name in names(house.root) if str(later.backup_id) in name)


def test_tables_are_emptied_only_once_the_copies_are_there(house: House, made: Any, make_root: MakeRoot) -> None:
    first, second = make_root("disk"), make_root("seaweed")
    house.configure(copy_roots=(first, second))
    with pytest.raises(Conflict, match="not whole at"):
        house.truncate(made)
    house.copy(first)
    with pytest.raises(Conflict, match="not whole at s3://"):
        house.truncate(made)
    house.copy()
    place(second).remove(file_of(made))
    with pytest.raises(Conflict, match="is missing"):
        house.truncate(made)
    house.copy()
    assert house.count("langchain_pg_embedding") == 58
    assert house.truncate(made).rows_after == {"langchain_pg_embedding": 0}
    # Each of them may be the only copy of the rows now, and retention has to know.
    for root in (house.root, first, second):
        assert list(json.loads(content(root, f"emptied_{ID}.json"))["tables"]) == ["langchain_pg_embedding"]


def test_tables_are_emptied_without_copies_where_that_is_configured(house: House, made: Any, tmp_path: Path) -> None:
    house.configure(copy_roots=(tmp_path / "not there",), truncate_needs_copies=False)
    assert house.truncate(made).rows_after == {"langchain_pg_embedding": 0}


@pytest.mark.parametrize("kind", ["disk", "seaweed"])
def test_what_an_increment_stands_on_goes_with_it(house: House, make_root: MakeRoot, kind: str) -> None:
    house.langchain()
    house.configure(mode="incremental")
    first = house.backup(now=NOW)
    house.database.run("DELETE FROM langchain_pg_embedding WHERE id = (SELECT min(id) FROM langchain_pg_embedding)")
    house.backup(now=NOW + timedelta(days=1))
    last = house.backup(now=NOW + timedelta(days=2))
    assert last.mode == "incremental"
    there = make_root(kind)
    house.configure(copy_roots=(there,))
    with pytest.raises(Conflict, match=f"set {first.backup_id} is not whole at"):
        house.truncate(last)
    (one,) = house.copy(quick=True).copies
    assert one.failure is None
    assert one.timestamp == last.backup_id
    assert names(there) == names(house.root)
    place(there).remove(file_of(first))
    with pytest.raises(Conflict, match="is missing"):
        house.truncate(last)
    (one,) = house.copy().copies
    assert (one.failure, one.files, one.repaired) == (None, 1, True)
    house.truncate(last)
    shutil.rmtree(house.directory)
    house.configure(backup_root=there, copy_roots=())
    assert house.verify(depth="rows").failure is None
    house.restore(timestamp=str(last.backup_id), on_conflict="skip")
    assert house.count("langchain_pg_embedding") == 57
    place(there).remove(file_of(first))
    (one,) = house.copy(house.root, timestamp=str(last.backup_id)).copies
    assert isinstance(one.failure, IntegrityFault)
    assert not house.directory.exists() or names(house.root) == []


def test_where_a_set_lies_is_told_without_its_data_and_without_waiting_for_who_is_silent(
    house: House, made: Any, make_root: MakeRoot, seaweed: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [make_root("disk"), make_root("seaweed"), make_root("disk"), seaweed.root("s3://no-such-bucket/x")]
    house.copy(*roots[:3])
    place(roots[1]).remove(file_of(made))
    for name in names(roots[2]):
        place(roots[2]).remove(name)
    house.configure(copy_roots=(*roots, "memory://slow"))
    entries = Location.entries

    def slow(self: Location) -> Any:
        if "slow" in self.directory:
            time.sleep(1)
        return entries(self)

    monkeypatch.setattr(Location, "entries", slow)
    monkeypatch.setattr(Location, "open", no_data(Location.open))
    told = whereabouts(house.settings, place(house.root), str(made.manifest_file), seconds=0.8)
    assert [one.state for one in told] == ["whole", "damaged", "missing", "unknown", "unknown"]
    assert [one.root for one in told] == [str(root) for root in house.settings.copy_roots]
    assert "is missing" in str(told[1].problem)
    assert "did not answer" in str(told[4].problem)


def no_data(opened: Callable[[Location, str], Any]) -> Callable[[Location, str], Any]:
    def watched(self: Location, name: str) -> Any:
        assert name.startswith("manifest_"), name
        return opened(self, name)

    return watched
