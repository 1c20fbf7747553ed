"""Sets removed by a policy, and sets that nothing removes: on real sets, row by row and file by file."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import Conflict, IntegrityFault, InvalidParams, NotFound, StorageFault
from pgvector_backup.engine.contract.prune_result import PruneResult
from pgvector_backup.engine.contract.requests import PruneRequest
from pgvector_backup.engine.pin import pin
from pgvector_backup.engine.prune import prune
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets import base_set
from pgvector_backup.engine.sets.beside import Pin, lift_pin, parse_until, read_pin, write_pin
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import locate
from tests.helpers.chains import restored
from tests.helpers.database import contents
from tests.helpers.forker import forking
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)


def make(house: House, *days: int, **request: Any) -> list[str]:
    """A set made so many days ago, for each."""
    ids = []
    for day in sorted(days, reverse=True):
        made = house.backup(now=NOW - timedelta(days=day), **request).backup_id
        assert made is not None
        ids.append(made)
    return ids


def pruned(house: House, **request: Any) -> PruneResult:
    return prune(PruneRequest.from_mapping(request), house.settings, now=NOW, run_id="test")


def place(house: House) -> Location:
    return locate(house.root, None, "vector_bak", create=False)


def ids(house: House) -> list[str]:
    return [one.backup_id for one in Catalog(house.settings).at(place(house)).sets]


@pytest.fixture
def stocked(house: House) -> House:
    """A house with LangChain's tables and sets of five nights."""
    house.langchain(20)
    make(house, *range(5))
    return house


def test_without_a_policy_nothing_is_removed(stocked: House) -> None:
    before = stocked.files()
    result = pruned(stocked, force=True).to_json()
    assert (result["prune_performed"], result["locations"], result["bytes_freed"]) == (False, [], 0)
    assert result["response"] == "未设置保留策略,未删除任何备份"
    assert stocked.files() == before


def test_a_policy_removes_what_it_lets_go_and_every_set_left_is_whole(stocked: House) -> None:
    stocked.configure(keep_last=3)
    result = pruned(stocked).to_json()
    assert result["response"] == "Vector表备份清理完成"
    (one,) = result["locations"]
    assert [gone["timestamp"] for gone in one["removed"]] == ["20261123_120000", "20261122_120000"]
    assert one["removed"][0]["reasons"] == ["no rule keeps it"]
    assert ids(stocked) == ["20261126_120000", "20261125_120000", "20261124_120000"]
    assert not [name for name in stocked.files() if "20261123" in name or "20261122" in name]
    assert result["bytes_freed"] == sum(gone["bytes"] for gone in one["removed"]) > 0
    for timestamp in ids(stocked):
        assert stocked.verify(backup_path="vector_bak", timestamp=timestamp, depth="rows").failure is None
    assert "PRUNE OK" in (stocked.directory / "vector_backup_log.txt").read_text()
    assert pruned(stocked).to_json()["locations"][0]["removed"] == []


def test_a_dry_run_says_the_same_and_removes_nothing(stocked: House) -> None:
    stocked.configure(keep_last=3)
    before = stocked.files()
    planned = pruned(stocked, dry_run=True).to_json()
    assert stocked.files() == before
    done = pruned(stocked).to_json()
    assert planned["response"] == "Vector表备份清理预演完成,未执行任何更改"
    assert (planned["prune_performed"], done["prune_performed"]) == (False, True)
    assert planned["locations"] == done["locations"]
    assert planned["bytes_freed"] == done["bytes_freed"]


def test_more_than_half_waits_for_a_second_run_that_says_the_same(stocked: House) -> None:
    stocked.configure(keep_last=1)
    first = pruned(stocked)
    assert len(ids(stocked)) == 5
    (one,) = first.to_json()["locations"]
    assert "more than half" in one["waiting"]
    assert one["removed"] == []
    assert len([kept for kept in one["kept"] if "retained" in kept]) == 4
    pruned(stocked)
    assert ids(stocked) == ["20261126_120000"]
    assert "prune_announced.json" not in stocked.files()


def test_a_second_run_that_says_something_else_waits_again(stocked: House) -> None:
    stocked.configure(keep_last=1)
    pruned(stocked)
    make(stocked, -1 / 24)
    pruned(stocked)
    assert len(ids(stocked)) == 6


def test_a_dry_run_announces_nothing(stocked: House) -> None:
    stocked.configure(keep_last=1)
    pruned(stocked, dry_run=True)
    pruned(stocked, dry_run=True)
    pruned(stocked)
    assert len(ids(stocked)) == 5


def test_force_does_not_wait(stocked: House) -> None:
    stocked.configure(keep_last=1)
    pruned(stocked, force=True)
    assert ids(stocked) == ["20261126_120000"]


def test_a_set_that_is_read_is_retained_and_goes_the_next_time(stocked: House) -> None:
    stocked.configure(keep_last=3)
    with place(stocked).shared_lock("manifest_20261122_120000.json"):
        (one,) = pruned(stocked).to_json()["locations"]
    assert [gone["timestamp"] for gone in one["removed"]] == ["20261123_120000"]
    (retained,) = [kept for kept in one["kept"] if "retained" in kept]
    assert retained["timestamp"] == "20261122_120000"
    assert "in use" in retained["retained"]
    assert len(pruned(stocked).to_json()["locations"][0]["removed"]) == 1


def test_a_removal_that_the_store_refuses_stops_no_other(stocked: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked.configure(keep_last=3)
    removing = Location.remove

    def refusing(self: Location, name: str) -> None:
        if "20261123" in name:
            raise StorageFault("object lock until 2027")
        removing(self, name)

    monkeypatch.setattr(Location, "remove", refusing)
    result = pruned(stocked)
    assert [gone["timestamp"] for gone in result.to_json()["locations"][0]["removed"]] == ["20261122_120000"]
    assert result.failure is not None
    assert result.to_json()["errors"] == ["object lock until 2027"]


def test_what_a_truncate_relied_on_stays_until_a_later_set_holds_rows(house: House) -> None:
    house.langchain(20)
    (relied,) = make(house, 40)
    backup = house.backup(now=NOW - timedelta(days=39))
    house.truncate(backup)
    emptied = make(house, *range(10))
    house.configure(keep_last=2)
    pruned(house, force=True)
    assert ids(house) == [emptied[-1], emptied[-2], "20261018_120000"]
    assert relied not in ids(house)
    house.restore(timestamp="20261018_120000", tables=["langchain_pg_embedding"])
    make(house, -1 / 24)
    pruned(house, force=True)
    assert "20261018_120000" not in ids(house)


def test_a_truncate_that_is_refused_holds_no_set(house: House) -> None:
    house.langchain(20)
    backup = house.backup()
    house.database.run(
        "INSERT INTO langchain_pg_embedding SELECT 'late', collection_id FROM langchain_pg_embedding LIMIT 1"
    )
    with pytest.raises(Conflict):
        house.truncate(backup)
    assert not [name for name in house.files() if name.startswith("emptied_")]


def test_a_rehearsed_truncate_holds_no_set(house: House) -> None:
    house.langchain(20)
    from pgvector_backup.engine.contract.requests import BackupRequest
    from pgvector_backup.engine.truncate import truncate

    backup = house.backup()
    assert backup.manifest_file is not None
    truncate(BackupRequest(), house.settings, house.connect, manifest_file=backup.manifest_file, dry_run=True)
    assert not [name for name in house.files() if name.startswith("emptied_")]


def test_a_set_known_to_be_damaged_is_no_good_set(stocked: House) -> None:
    newest = stocked.directory / "langchain_pg_embedding_20261126_120000.csv"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    stocked.verify(backup_path="vector_bak", timestamp="20261126_120000", depth="files")
    stocked.configure(keep_last=1)
    pruned(stocked, force=True)
    assert ids(stocked) == ["20261126_120000", "20261125_120000"]


def test_a_set_whose_manifest_is_broken_stops_nobody_and_goes_with_the_others(stocked: House) -> None:
    broken = stocked.directory / "manifest_20261123_120000.json"
    broken.write_text("{")
    os.utime(broken, (0, (NOW - timedelta(days=3)).timestamp()))  # all that is left to tell its age
    stocked.configure(keep_last=3)
    pruned(stocked)
    assert ids(stocked) == ["20261126_120000", "20261125_120000", "20261124_120000"]


def test_one_location_named_leaves_the_others_alone(stocked: House) -> None:
    (stocked.root / "t").mkdir()
    make(stocked, *range(4), task_id="t")
    stocked.configure(keep_last=2)
    result = pruned(stocked, task_id="t").to_json()
    assert [one["backup_path"] for one in result["locations"]] == ["t/vector_bak"]
    assert len(ids(stocked)) == 5
    assert len(pruned(stocked, force=True).to_json()["locations"]) == 2


def test_another_tools_files_are_not_ours_to_remove(stocked: House) -> None:
    foreign = stocked.directory / "langchain_pg_embedding_20200101_000000.csv"
    foreign.write_text("id\n1\n")
    stocked.configure(keep_last=1)
    pruned(stocked, force=True)
    assert foreign.exists()


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"task_id": "a/b"}, "无效的task_id格式"),
        ({"dry_run": "yes"}, "dry_run: expected boolean, got str"),
        ({"backup_path": "vector_bak", "task_id": "t"}, "give one of them"),
        ({"keep": 1}, "unknown key 'keep'"),
    ],
)
def test_a_bad_request_is_refused(conf: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParams, match=said):
        PruneRequest.from_mapping(conf)


def test_a_place_that_is_not_there_is_not_found(stocked: House) -> None:
    stocked.configure(keep_last=1)
    with pytest.raises(NotFound):
        pruned(stocked, task_id="nowhere")


def test_a_bad_policy_is_refused_by_its_key(stocked: House) -> None:
    stocked.configure(keep_within="a fortnight")
    with pytest.raises(InvalidParams, match=r"keep_within: 'a fortnight' is no length of time"):
        pruned(stocked)


# --- pins ---


def test_a_pinned_set_survives_every_policy_and_a_removal_by_hand(stocked: House) -> None:
    write_pin(place(stocked), "20261122_120000", Pin("admin", "audit", parse_until("2027-03-01", timezone.utc), NOW))
    stocked.configure(keep_last=1)
    pruned(stocked, force=True)
    assert ids(stocked) == ["20261126_120000", "20261122_120000"]
    catalog = Catalog(stocked.settings)
    with pytest.raises(Conflict, match="pinned until 2027-03-01 by admin: audit; unpin it first"):
        remove(place(stocked), catalog.find(place(stocked), "20261122_120000"))
    assert lift_pin(place(stocked), "20261122_120000").reason == "audit"
    remove(place(stocked), catalog.find(place(stocked), "20261122_120000"))
    assert not [name for name in stocked.files() if "20261122" in name]


def test_a_pin_that_cannot_be_read_holds_its_set(stocked: House) -> None:
    (stocked.directory / "pinned_20261122_120000.json").write_bytes(b"\xff{")
    stocked.configure(keep_last=1)
    pruned(stocked, force=True)
    assert "20261122_120000" in ids(stocked)
    pin = read_pin(place(stocked), "20261122_120000")
    assert pin is not None
    assert pin.holds(NOW + timedelta(days=10_000))


def test_a_pin_of_a_gigabyte_is_not_read(stocked: House) -> None:
    with (stocked.directory / "pinned_20261122_120000.json").open("wb") as file:
        file.truncate(1 << 30)
    pin = read_pin(place(stocked), "20261122_120000")
    assert pin is not None
    assert pin.by == "somebody"


def test_a_pins_words_cannot_speak_to_a_terminal(stocked: House) -> None:
    write_pin(place(stocked), "20261122_120000", Pin("mal\x1b[2Jory", "a\n==== forged\u202e", None, NOW))
    pin = read_pin(place(stocked), "20261122_120000")
    assert pin is not None
    assert pin.describe(timezone.utc).isprintable()


def test_a_pin_needs_a_reason(stocked: House) -> None:
    with pytest.raises(InvalidParams, match="say why"):
        write_pin(place(stocked), "20261122_120000", Pin("admin", "  ", None, NOW))


def test_what_is_not_pinned_cannot_be_unpinned(stocked: House) -> None:
    with pytest.raises(NotFound, match="is not pinned"):
        lift_pin(place(stocked), "20261122_120000")


@pytest.mark.parametrize("text", ["tomorrow", "2027-13-01", "1", "2027/03/01"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InvalidParams, match="until: .* is no date; write it as 2027-03-01"):
        parse_until(text, timezone.utc)


def test_a_day_holds_up_to_its_end() -> None:
    until = parse_until("2027-03-01", timezone.utc)
    assert until == datetime(2027, 3, 1, 23, 59, 59, tzinfo=timezone.utc)


# --- an error that passes ---


def _unreadable_once(patch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Have the first opening of a file fail; the names of those that did."""
    opening = os.open
    failed: list[str] = []

    def opened(path: Any, *args: Any, **more: Any) -> int:
        if Path(path).name == name and not failed:
            failed.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opening(path, *args, **more)

    patch.setattr(os, "open", opened)
    return failed


@pytest.mark.parametrize("day", [22, 24, 26])
def test_a_set_that_cannot_be_read_just_now_stays(stocked: House, monkeypatch: pytest.MonkeyPatch, day: int) -> None:
    """It looks damaged, and a damaged set goes once a newer good one is there."""
    stocked.configure(keep_last=2)
    name = f"202611{day}_120000"
    made = datetime(2026, 11, day, 12, tzinfo=timezone.utc).timestamp()
    os.utime(stocked.directory / f"manifest_{name}.json", (made, made))
    with monkeypatch.context() as patch:
        failed = _unreadable_once(patch, f"manifest_{name}.json")
        (one,) = pruned(stocked, force=True).to_json()["locations"]
    assert failed
    (kept,) = [kept for kept in one["kept"] if kept["timestamp"] == name]
    assert any(reason.startswith("nobody knows what it holds: ") for reason in kept["reasons"])
    # Of the others as many good ones stay as have to.
    good = [f"202611{other}_120000" for other in (26, 25, 24) if other != day][:2]
    assert ids(stocked) == sorted({*good, name}, reverse=True)
    pruned(stocked, force=True)
    assert ids(stocked) == sorted({*good, name}, reverse=True)[:2]


def test_a_set_whose_verification_cannot_be_read_just_now_makes_up_for_no_other(
    stocked: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"depth": "rows", "ok": False, "damaged": True, "errors": ["altered"]}
    (stocked.directory / "verified_20261126_120000.json").write_text(json.dumps(told))
    stocked.configure(keep_last=1)
    with monkeypatch.context() as patch:
        failed = _unreadable_once(patch, "verified_20261126_120000.json")
        pruned(stocked, force=True)
    assert failed
    assert ids(stocked) == ["20261126_120000", "20261125_120000"]


# --- crashes ---


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(12))
def test_a_removal_that_dies_at_any_step_leaves_whole_sets_and_nothing_that_a_sweep_does_not_remove(
    stocked: House, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    stocked.configure(keep_last=3)
    deeds = iter(range(1000))

    def dying(deed: Any) -> Any:
        def done(*arguments: Any) -> Any:
            if next(deeds) == step:
                raise Died
            return deed(*arguments)

        return done

    with monkeypatch.context() as patched:
        patched.setattr(Location, "remove", dying(Location.remove))
        patched.setattr(Location, "retire", dying(Location.retire))
        with pytest.raises(Died):
            pruned(stocked)
    listed = Catalog(stocked.settings).at(place(stocked)).sets
    assert {"20261126_120000", "20261125_120000", "20261124_120000"} <= {one.backup_id for one in listed}
    assert all(one.manifest_file is not None for one in listed), "what is left of a set is no foreign set"
    for one in listed:
        assert stocked.verify(backup_path="vector_bak", timestamp=one.backup_id, depth="files").failure is None
    place(stocked).sweep()
    there = {one.backup_id for one in listed}
    assert not [
        name
        for name in stocked.files()
        if not any(backup_id in name for backup_id in there) and name != "vector_backup_log.txt"
    ]
    pruned(stocked)
    assert ids(stocked) == ["20261126_120000", "20261125_120000", "20261124_120000"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_prune_killed_at_every_change_leaves_whole_sets_and_the_next_one_ends_it(house: House) -> None:
    """A process of its own, killed with -9 before each write, rename, fsync and unlink, and half-way in each write."""
    house.langchain(20)
    house.configure(mode="incremental", full_every=1)
    made = make(house, *range(6))
    write_pin(place(house), made[1], Pin("admin", "audit", None, NOW))  # an increment: its base stays for its sake
    stays = [made[0], made[1], *made[4:]]
    policy = {"keep_last": 1}
    original = house.root.parent / "original"
    shutil.copytree(house.root, original)
    kept = {name: (house.directory / name).read_bytes() for name in house.files() if any(one in name for one in stays)}
    assert len(kept) > 20
    partly = 0
    with forking() as forker:
        for call in itertools.count(1):
            status = forker.prune(house, now=NOW, call=call, **policy)
            listed = Catalog(house.settings).at(place(house)).sets
            assert set(stays) <= {one.backup_id for one in listed} <= set(made)
            partly += len(stays) < len(listed) < len(made)
            for one in listed:
                assert one.good, f"{one.backup_id} after a kill at change {call}: {one.fault}"
                for file in [one.manifest_file, *(table.file for table in one.tables)]:
                    assert (house.directory / str(file)).read_bytes() == (
                        original / "vector_bak" / str(file)
                    ).read_bytes()
            for name, content in kept.items():
                assert (house.directory / name).read_bytes() == content, f"{name} was touched"
            if status == 0:
                break
            assert os.WIFSIGNALED(status)
            house.configure(**policy)
            result = pruned(house, force=True)
            assert result.failure is None
            place(house).sweep()
            assert sorted(ids(house)) == sorted(stays)
            others = [name for name in house.files() if name not in kept and name != "vector_backup_log.txt"]
            assert others == [], f"left over by a kill at change {call}"
            for path in house.directory.iterdir():
                path.unlink()
            for path in (original / "vector_bak").iterdir():
                os.link(path, house.directory / path.name)
    assert call > 25
    assert partly > 8
    house.configure(**policy)
    for one in ids(house):
        assert house.verify(backup_path="vector_bak", timestamp=one, depth="rows").failure is None


# --- chains ---


@pytest.fixture
def chained(house: House) -> House:
    """Six nights: a full set and two increments, twice."""
    house.langchain(20)
    house.configure(mode="incremental", full_every=2)
    make(house, *range(6))
    return house


def test_each_manifest_is_read_once_for_all_removals(chained: House, monkeypatch: pytest.MonkeyPatch) -> None:
    chained.configure(keep_last=1)
    pruned(chained, dry_run=True)
    reading, read = Manifest.read, []

    def counting(location: Location, name: str) -> Manifest:
        read.append(name)
        return reading(location, name)

    monkeypatch.setattr(base_set.Manifest, "read", counting)
    (told,) = pruned(chained, force=True).to_json()["locations"]
    assert len(told["removed"]) == 3
    # Once to see what lies there, once to see what stands on what.
    assert max(read.count(name) for name in read) <= 2


def test_an_increment_made_between_two_removals_is_seen(chained: House) -> None:
    base = Catalog(chained.settings).find(place(chained), "20261121_120000")
    read: base_set.ReadChains = {}
    standing = base_set.standing_on(place(chained), base, read)
    assert standing == ["20261122_120000", "20261123_120000"]
    (chained.directory / "manifest_20261123_120000.json").rename(chained.directory / "away")
    assert base_set.standing_on(place(chained), base, read) == standing[:1]
    (chained.directory / "away").rename(chained.directory / "manifest_20261123_120000.json")
    assert base_set.standing_on(place(chained), base, read) == standing


def test_a_base_stays_while_an_increment_on_it_is_retained(chained: House) -> None:
    chained.configure(keep_last=1)
    with place(chained).shared_lock("manifest_20261123_120000.json"):
        (told,) = pruned(chained, force=True).to_json()["locations"]
    retained = {one["timestamp"]: one["retained"] for one in told["kept"] if "retained" in one}
    assert set(retained) == {"20261123_120000", "20261122_120000", "20261121_120000"}
    assert "in use" in retained["20261123_120000"]
    assert "is the base of 20261123_120000" in retained["20261122_120000"]
    assert all(one.good for one in Catalog(chained.settings).at(place(chained)).sets)
    (told,) = pruned(chained, force=True).to_json()["locations"]
    assert len(told["removed"]) == 3


# --- copies ---


@pytest.fixture
def copied(stocked: House, tmp_path: Path) -> House:
    """The five nights, at another root too."""
    copy = tmp_path / "copies"
    shutil.copytree(stocked.root, copy)
    stocked.configure(copy_roots=(str(copy),))
    return stocked


def there(house: House) -> list[str]:
    """What lies at the other root, the newest first."""
    return [
        one.backup_id
        for one in Catalog(replace(house.settings, backup_root=house.settings.copy_roots[0])).locations()[0].sets
    ]


def test_copies_have_a_policy_of_their_own(copied: House) -> None:
    copied.configure(keep_last=3, copy_keep_last=4)
    told = pruned(copied).to_json()["locations"]
    assert [(one.get("root"), len(one["removed"])) for one in told] == [(None, 2), (copied.settings.copy_roots[0], 1)]
    assert (len(ids(copied)), len(there(copied))) == (3, 4)


def test_copies_without_a_policy_of_their_own_have_the_same(copied: House) -> None:
    copied.configure(keep_last=3)
    pruned(copied)
    assert there(copied) == ids(copied)


def test_a_policy_for_copies_alone_leaves_the_originals(copied: House) -> None:
    copied.configure(copy_keep_last=3)
    result = pruned(copied)
    assert result.has_policy
    assert (len(ids(copied)), len(there(copied))) == (5, 3)


def test_what_holds_the_original_holds_its_copy(copied: House) -> None:
    pin(
        place(copied), Catalog(copied.settings).find(place(copied), "20261122_120000"), Pin("admin", "audit", None, NOW)
    )
    copied.configure(copy_keep_last=1)
    pruned(copied, force=True)
    assert there(copied) == ["20261126_120000", "20261122_120000"]


def test_a_root_of_copies_that_is_not_there_stops_nobody(copied: House, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    roots = (str(tmp_path / "nowhere"), str(tmp_path / "file"), *copied.settings.copy_roots)
    copied.configure(copy_roots=roots, keep_last=3)
    result = pruned(copied)
    assert [one.root for one in result.locations] == [None, roots[-1]]
    assert len(ids(copied)) == 3


@pytest.mark.parametrize("bad", [{"copy_keep_within": "soon"}, {"copy_keep_last": 1, "copy_keep_at_least": 0}])
def test_a_bad_policy_for_copies_is_refused_by_its_key(copied: House, bad: dict[str, Any]) -> None:
    copied.configure(**bad)
    with pytest.raises(InvalidParams, match="copy_keep_"):
        pruned(copied)


def nights_of(house: House, count: int) -> list[str]:
    """A chain of so many nights, each with a row of its own."""
    house.langchain(40)
    made = []
    for night in range(count):
        moment = NOW - timedelta(days=count - night)
        made.append(str(house.backup(mode="incremental", now=moment).backup_id))
        house.database.run(f"UPDATE langchain_pg_embedding SET document = 'night {night}' WHERE id = 'id-{night + 1}'")
    return made


def test_a_chain_that_stays_for_its_last_set_alone_becomes_a_full_set(house: House) -> None:
    chain = nights_of(house, 4)
    house.configure(keep_last=1)
    assert [one.timestamp for one in pruned(house, force=True).locations[0].removed] == []
    with restored(house, chain[-1]) as target:
        before = contents(target, *PAIR)
    rehearsed = pruned(house, force=True, consolidate=True, dry_run=True).to_json()["locations"][0]
    assert rehearsed["consolidated"] == [{"timestamp": chain[-1], "backup_id": None}]
    assert sorted(ids(house)) == chain
    result = pruned(house, force=True, consolidate=True).to_json()
    assert result["errors"] == []
    (new,) = result["locations"][0]["consolidated"]
    assert new["timestamp"] == chain[-1]
    assert ids(house) == [new["backup_id"]]
    (one,) = Catalog(house.settings).at(place(house)).sets
    assert (one.chain, one.proven) == ((), NOW)
    with restored(house, one.backup_id) as target:
        assert contents(target, *PAIR) == before
    following = house.backup(mode="incremental", now=NOW)
    assert following.mode == "incremental", following.full_because


def test_what_the_policy_keeps_for_itself_is_not_written_anew(house: House) -> None:
    chain = nights_of(house, 3)
    house.configure(keep_last=3)
    result = pruned(house, consolidate=True).to_json()
    assert "consolidated" not in result["locations"][0]
    assert sorted(ids(house)) == chain


def test_a_chain_that_is_damaged_or_pinned_stays_as_it_is(house: House) -> None:
    chain = nights_of(house, 3)
    house.configure(keep_last=1)
    write_pin(place(house), chain[-1], Pin("somebody", "a word", None, NOW))
    result = pruned(house, force=True, consolidate=True).to_json()
    assert len(result["locations"][0]["consolidated"]) == 1
    assert set(chain) < set(ids(house))
    file = house.directory / f"langchain_pg_embedding_{chain[0]}.csv"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    for one in set(ids(house)) - set(chain):
        catalog = Catalog(house.settings)
        remove(place(house), catalog.find(place(house), one))
    before = house.files()
    result = pruned(house, force=True, consolidate=True)
    assert isinstance(result.failure, IntegrityFault)
    assert [name for name in house.files() if name not in before] == []
