"""Sets that the store itself holds: Object Lock, and the versions of what is removed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pgvector_backup.engine.base.errors import Conflict, InvalidParams, StorageFault
from pgvector_backup.engine.contract.requests import BackupRequest, PruneRequest
from pgvector_backup.engine.preview import preview
from pgvector_backup.engine.prune import prune
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store import object_lock
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.options import RemoteRoot
from pgvector_backup.engine.store.root import locate
from tests.helpers.house import House
from tests.helpers.object_stores import S3, Bucket
from tests.stores.conftest import fresh_bucket

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def locked_bucket(server: S3, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return fresh_bucket(server, monkeypatch, ObjectLockEnabledForBucket=True)


@pytest.fixture
def locked(seaweed: S3, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return locked_bucket(seaweed, monkeypatch)


@pytest.fixture(params=["seaweed", "moto"])
def any_locked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return locked_bucket(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def stocked(house: House) -> House:
    house.langchain(20)
    return house


def holds(bucket: Bucket) -> dict[str, tuple[str, datetime] | None]:
    """How each object of the bucket is held, as another client sees it."""
    client = bucket.server.client()
    told = {}
    for name in bucket.names():
        about = client.head_object(Bucket=bucket.name, Key=f"sets/vector_bak/{name}")
        mode, until = about.get("ObjectLockMode"), about.get("ObjectLockRetainUntilDate")
        told[name] = None if mode is None else (mode, until.astimezone(timezone.utc))
    return told


def versions(bucket: Bucket) -> list[str]:
    """Names of which anything is left, be it an old version or the mark of a removal."""
    told = bucket.server.client().list_object_versions(Bucket=bucket.name, Prefix="sets/vector_bak/")
    both = [*told.get("Versions", []), *told.get("DeleteMarkers", [])]
    return sorted({one["Key"].rpartition("/")[2] for one in both})


def removing(house: House, timestamp: str) -> list[str]:
    place = locate(house.settings.backup_root, None, "vector_bak", create=False)
    return remove(place, Catalog(house.settings).find(place, timestamp))


@pytest.mark.parametrize(("mode", "called"), [("governance", "GOVERNANCE"), ("compliance", "COMPLIANCE")])
def test_every_object_of_a_set_is_held_until_the_policy_lets_it_go(
    stocked: House, any_locked: Bucket, mode: str, called: str
) -> None:
    stocked.configure(backup_root=any_locked.url, object_lock=mode, keep_daily=7)
    when = now()
    made = stocked.backup(now=when)
    there = holds(any_locked)
    assert len(there) == 6, "two tables, their indexes, the script, the manifest"
    for name, hold in there.items():
        assert hold is not None, name
        assert hold[0] == called
        assert timedelta(0) <= hold[1] - (when + 7 * DAY) < timedelta(seconds=2), name
    client = any_locked.server.client()
    key = f"sets/vector_bak/{made.manifest_file}"
    version = client.head_object(Bucket=any_locked.name, Key=key)["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=any_locked.name, Key=key, VersionId=version)
    assert stocked.verify(depth="rows").failure is None


@pytest.mark.parametrize(
    ("rules", "days"),
    [
        ({"keep_last": 3}, 3),
        ({"keep_within": "14d"}, 14),
        ({"keep_hourly": 24}, 24),  # hours that have a set: one a day
        ({"keep_weekly": 4}, None),
        ({"keep_last": 2, "keep_within": "30d"}, 30),
    ],
)
def test_how_long_follows_from_the_rules(
    stocked: House, locked: Bucket, rules: dict[str, Any], days: int | None
) -> None:
    stocked.configure(backup_root=locked.url, object_lock="governance", **rules)
    when = now()
    stocked.backup(now=when)
    untils = {hold[1] for hold in holds(locked).values() if hold}
    assert len(untils) == 1
    (until,) = untils
    if days is None:  # on a Sunday it is the last of its week; on any other day the next day's set takes its place
        days = 28 if when.isoweekday() == 7 else 1
    assert abs(until - (when + days * DAY)) < timedelta(seconds=2)


def test_an_increment_holds_what_it_stands_on_as_long_as_itself(stocked: House, locked: Bucket) -> None:
    stocked.configure(backup_root=locked.url, object_lock="governance", keep_within="10d", mode="incremental")
    when = now()
    base = stocked.backup(now=when - 2 * DAY)
    first = holds(locked)
    made = stocked.backup(now=when)
    assert (made.mode, made.base_backup_id) == ("incremental", base.backup_id)
    for name, hold in holds(locked).items():
        assert hold is not None, name
        assert hold[1] >= when + 10 * DAY, name
    assert all(hold is not None and hold[1] < when + 9 * DAY for hold in first.values())


def test_a_hold_is_never_made_shorter(stocked: House, locked: Bucket) -> None:
    stocked.configure(backup_root=locked.url, object_lock="compliance", keep_within="10d")
    made = stocked.backup()
    place = locate(locked.url, None, "vector_bak")
    place.hold([str(made.manifest_file)], Hold("governance", now() + DAY))
    hold = holds(locked)[str(made.manifest_file)]
    assert hold is not None
    assert hold[0] == "COMPLIANCE"
    assert hold[1] > now() + 9 * DAY


@pytest.mark.parametrize("rules", [{}, {"keep_at_least": 3}])
def test_without_a_rule_nobody_knows_how_long(stocked: House, locked: Bucket, rules: dict[str, Any]) -> None:
    stocked.configure(backup_root=locked.url, object_lock="governance", **rules)
    with pytest.raises(InvalidParams, match=r"object_lock: no rule says how long .* keep_daily"):
        stocked.backup()
    assert locked.names() == []


def test_a_bucket_without_a_lock_is_refused_before_anything_is_written(stocked: House, bucket: Bucket) -> None:
    stocked.configure(backup_root=bucket.url, object_lock="governance", keep_daily=7)
    for attempt in (
        stocked.backup,
        lambda: preview(BackupRequest(), stocked.settings, stocked.connect),
    ):
        with pytest.raises(InvalidParams, match=r"has no Object Lock.*object-lock-enabled-for-bucket"):
            attempt()
    assert bucket.names() == []


def test_a_store_that_knows_no_lock_is_refused(stocked: House, rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fresh_bucket(rclone, monkeypatch)
    stocked.configure(backup_root=plain.url, object_lock="governance", keep_daily=7)
    with pytest.raises(InvalidParams, match="has no Object Lock"):
        stocked.backup()
    assert plain.names() == []


def test_a_directory_holds_nothing_and_says_so(stocked: House) -> None:
    stocked.configure(object_lock="governance", keep_daily=7)
    with pytest.raises(InvalidParams, match="in no bucket of S3"):
        stocked.backup()
    assert stocked.files() == []


def test_a_set_whose_hold_fails_is_none(stocked: House, locked: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked.configure(backup_root=locked.url, object_lock="governance", keep_daily=7)
    hold = object_lock.hold

    def failing(bucket: Any, path: str, shown: str, wanted: Hold) -> None:
        if "manifest_" in path:
            raise StorageFault("AccessDenied")
        hold(bucket, path, shown, wanted)

    with monkeypatch.context() as patched:
        patched.setattr(object_lock, "hold", failing)
        with pytest.raises(StorageFault, match="AccessDenied"):
            stocked.backup()
    assert locked.names() == []
    assert stocked.backup().failure is None


def test_a_held_set_is_retained_stops_no_other_and_goes_when_its_time_has_come(stocked: House, locked: Bucket) -> None:
    root = RemoteRoot(locked.url, remove_versions=True)
    stocked.configure(backup_root=root)
    when = now()
    ids = [str(stocked.backup(now=when - days * DAY).backup_id) for days in (3, 2, 1, 0)]
    place = locate(root, None, "vector_bak")
    # One file of one set is enough, be it by a hand of its own.
    place.hold([f"langchain_pg_embedding_{ids[1]}.csv"], Hold("governance", now() + timedelta(seconds=3)))
    stocked.configure(keep_last=2)
    before = len(locked.names())
    (told,) = prune(PruneRequest(), stocked.settings, now=when, run_id="test").to_json()["locations"]
    assert [one["timestamp"] for one in told["removed"]] == [ids[0]]
    (retained,) = [one for one in told["kept"] if "retained" in one]
    assert retained["timestamp"] == ids[1]
    assert "held by the store (governance) until" in retained["retained"]
    assert len(locked.names()) == before - 6 + 1, "the set that was let go, and a log"
    with pytest.raises(Conflict, match="held by the store"):
        removing(stocked, ids[1])
    wait_until(now() + timedelta(seconds=4))
    result = prune(PruneRequest(), stocked.settings, now=when, run_id="test")
    assert result.failure is None
    assert [one["timestamp"] for one in result.to_json()["locations"][0]["removed"]] == [ids[1]]
    assert not [name for name in versions(locked) if ids[0] in name or ids[1] in name]


def wait_until(moment: datetime) -> None:
    """The store's hold ends by its own clock."""
    while datetime.now(timezone.utc) < moment:
        time.sleep(0.1)


def test_a_legal_hold_has_no_end(stocked: House, locked: Bucket) -> None:
    stocked.configure(backup_root=locked.url)
    made = stocked.backup()
    locked.server.client().put_object_legal_hold(
        Bucket=locked.name, Key=f"sets/vector_bak/{made.manifest_file}", LegalHold={"Status": "ON"}
    )
    with pytest.raises(Conflict, match=r"held by the store \(legal hold\); it can be removed after that"):
        removing(stocked, str(made.backup_id))
    assert len(locked.names()) == 6


def test_a_prune_holds_longer_what_stays_longer(stocked: House, locked: Bucket) -> None:
    stocked.configure(backup_root=locked.url, object_lock="governance", keep_last=1)
    when = now()
    made = stocked.backup(now=when)
    stocked.configure(keep_last=30)
    assert prune(PruneRequest(), stocked.settings, now=when, run_id="test").failure is None
    there = {name: hold for name, hold in holds(locked).items() if str(made.backup_id) in name}
    assert len(there) == 6
    assert all(hold is not None and hold[1] >= when + 29 * DAY for hold in there.values())
    stocked.configure(keep_last=31)  # not by so much that each object is worth a request
    prune(PruneRequest(), stocked.settings, now=when, run_id="test")
    assert {name: hold for name, hold in holds(locked).items() if str(made.backup_id) in name} == there


def test_what_is_removed_goes_with_its_versions_where_the_settings_say_so(stocked: House, locked: Bucket) -> None:
    for keep_versions in (True, False):
        stocked.configure(backup_root=RemoteRoot(locked.url, remove_versions=not keep_versions))
        # Ids of their own: versions of the first one stay.
        made = stocked.backup(now=datetime.now(timezone.utc) - timedelta(hours=int(keep_versions)))
        key = f"sets/vector_bak/{made.manifest_file}"
        client = locked.server.client()
        content = client.get_object(Bucket=locked.name, Key=key)["Body"].read()
        client.put_object(Bucket=locked.name, Key=key, Body=content)  # two versions
        removing(stocked, str(made.backup_id))
        left = [name for name in versions(locked) if str(made.backup_id) in name]
        assert bool(left) == keep_versions
        assert not [name for name in locked.names() if str(made.backup_id) in name]


def test_versions_where_there_are_none_are_no_fault(stocked: House, bucket: Bucket) -> None:
    stocked.configure(backup_root=RemoteRoot(bucket.url, remove_versions=True))
    made = stocked.backup()
    removing(stocked, str(made.backup_id))
    assert bucket.names() == []


def test_copies_are_held_by_a_lock_and_a_policy_of_their_own(stocked: House, locked: Bucket) -> None:
    stocked.configure(copy_roots=(locked.root,), keep_last=1, copy_keep_within="5d", copy_object_lock="compliance")
    when = now()
    stocked.backup(now=when)
    assert stocked.copy().failure is None
    there = holds(locked)
    assert len(there) == 6
    assert all(hold is not None and hold[0] == "COMPLIANCE" for hold in there.values())
    assert all(hold is not None and abs(hold[1] - when - 5 * DAY) < timedelta(seconds=2) for hold in there.values())


def test_a_copy_that_cannot_be_held_is_a_failed_copy(stocked: House, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stocked.configure(copy_roots=(str(tmp_path / "other"),), keep_last=1, copy_object_lock="governance")
    stocked.backup()
    result = stocked.copy()
    assert isinstance(result.failure, InvalidParams)
    assert "in no bucket of S3" in result.failure.message
    assert not [one for one in (tmp_path / "other").rglob("*") if one.is_file()]


def test_the_manifest_says_what_it_did_before(stocked: House, locked: Bucket) -> None:
    """A hold is the store's affair: no set depends on it to be read."""
    stocked.configure(backup_root=locked.url, object_lock="governance", keep_daily=1)
    made = stocked.backup()
    assert "lock" not in json.loads(locked.get(str(made.manifest_file)))
    stocked.settings = replace(stocked.settings, object_lock="")
    stocked.restore(on_conflict="skip")
