"""Runs that die, stall or race at an object store: nothing half-done is ever seen, and the next run tidies up."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import BackupError, StorageFault
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store import bucket as bucket_module
from pgvector_backup.engine.store import lease_objects, object_reader, object_writer
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name
from pgvector_backup.engine.store.root import locate
from tests.helpers import store_children
from tests.helpers.azurite import Container
from tests.helpers.hooks import WIDE
from tests.helpers.house import House
from tests.helpers.object_stores import S3, Bucket
from tests.helpers.relay import Decide, Relay
from tests.stores.conftest import fresh_bucket, fresh_place

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
FORMAT = "%Y%m%d_%H%M%S"
TABLES = "langchain_pg_collection,wide,langchain_pg_embedding"


class Forked:
    """The process that forks children; see `store_children`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, store_children.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def start(self, *orders: dict[str, Any]) -> list[int]:
        """Let children begin; their process ids."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        return self._line()

    def wait(self) -> list[int]:
        """The wait statuses of those that were started last."""
        return self._line()

    def _line(self) -> list[int]:
        assert self._process.stdout is not None
        return [int(number) for number in json.loads(self._process.stdout.readline())]

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=30) == 0
        self._process.stdout.close()


@pytest.fixture
def children() -> Iterator[Forked]:
    process = Forked()
    yield process
    process.end()


@pytest.fixture
def relay(seaweed: S3) -> Iterator[Relay]:
    with Relay(seaweed.endpoint) as running:
        yield running


def at_call(wanted: int, fault: str, until: int = 0) -> Decide:
    """A fault at one request, or at every one from there until another."""
    return lambda number, method, path: fault if number == wanted or wanted < number < until else None


def after_change(wanted: int) -> Decide:
    """A kill after the ``wanted``-th of the requests that change something."""
    changes = itertools.count(1)

    def decide(number: int, method: str, path: str) -> str | None:
        return "kill after" if method in ("PUT", "POST", "DELETE") and next(changes) == wanted else None

    return decide


def whole_sets(bucket: Bucket, names: list[str] | None = None) -> list[str]:
    """Ids of the sets whose manifests are there; one that does not verify fails the test.

    :param names: what is there, if that was asked already
    """
    found = []
    for name in bucket.names() if names is None else names:
        if name.startswith("manifest_") and name.endswith(".json"):
            manifest = json.loads(bucket.get(name))
            for table in manifest["tables"]:
                content = bucket.get(table["file"])
                assert hashlib.sha256(content).hexdigest() == table["sha256"], table["file"]
                assert hashlib.sha256(bucket.get(table["index"])).hexdigest() == table["index_sha256"]
            found.append(manifest["backup_id"])
    return found


def leftovers(bucket: Bucket, names: list[str] | None = None) -> list[str]:
    """What belongs to no set, and uploads that are not ended."""
    names = bucket.names() if names is None else names
    sets = [name.removeprefix("manifest_").removesuffix(".json") for name in names if name.startswith("mani")]
    loose = [name for name in names if name.endswith(".tmp") or not any(f"_{one}." in name for one in sets)]
    return [*loose, *bucket.uploads()]


def remove(bucket: Bucket, names: list[str]) -> None:
    """Delete them at once."""
    keys = [{"Key": f"sets/vector_bak/{name}"} for name in names]
    answer = bucket.server.client().delete_objects(Bucket=bucket.name, Delete={"Objects": keys})
    assert "Errors" not in answer


def test_killed_after_every_single_change(house: House, bucket: Bucket, relay: Relay, children: Forked) -> None:
    house.langchain(10)
    house.database.run(WIDE.replace("{rows}", "3000"))
    house.configure(backup_root=bucket.url, tables=TABLES, jobs=1)
    earlier = str(house.backup(now=NOW - timedelta(days=1)).backup_id)
    order = {
        "do": "backup",
        "environment": {"AWS_ENDPOINT_URL": relay.endpoint},
        "uri": house.database.uri(),
        "root": bucket.url,
        "tables": TABLES,
        "now": NOW.isoformat(),
    }
    seen = {"claimed": 0, "uploading": 0, "committed": 0}
    for call in range(1, 100):
        # Nothing changes but by these: to be killed before one of them is to be killed after the one before.
        relay.begin(after_change(call))
        (child,) = children.start(order)
        relay.victims.put(child)
        (status,) = children.wait()
        last = relay.seen[-1]
        names = bucket.names()
        sets = whole_sets(bucket, names)
        assert earlier in sets
        seen["claimed"] += any(name.endswith(".tmp") for name in names)
        seen["uploading"] += bool(bucket.uploads())
        seen["committed"] += len(sets) > 1
        (place,) = Catalog(house.settings).locations()
        assert sorted(one.backup_id for one in place.sets) == sorted(sets), f"killed after {last}"
        assert all(one.whole for one in place.sets)

        result = house.backup(now=NOW)
        assert result.failure is None
        names = bucket.names()
        assert leftovers(bucket, names) == [], f"left over by a kill after {last}"
        assert sorted(whole_sets(bucket, names)) == sorted({*sets, str(result.backup_id)})
        remove(bucket, [name for name in names if earlier not in name])
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    else:
        raise AssertionError("the run never ended")
    assert call > 15
    assert seen["claimed"] > 10
    assert seen["uploading"] >= 3
    assert seen["committed"] >= 2


def test_a_copy_killed_after_every_single_change(
    house: House, bucket: Bucket, relay: Relay, children: Forked, tmp_path: Path
) -> None:
    """What it has brought whole is taken over by the next try, and swept by a copy of another set."""
    house.langchain(10)
    house.database.run(WIDE.replace("{rows}", "3000"))
    house.configure(tables="langchain_pg_collection,wide")
    earlier = str(house.backup(now=NOW - timedelta(days=1)).backup_id)
    made = house.backup(now=NOW)
    assert house.copy(bucket.url, timestamp=earlier).failure is None
    order = {
        "do": "copy",
        "environment": {"AWS_ENDPOINT_URL": relay.endpoint},
        "root": str(house.root),
        "to": bucket.url,
    }
    resumed = swept = 0
    for call in range(6, 100):  # to find out what the store can do is the backup's as well
        relay.begin(after_change(call))
        (child,) = children.start(order)
        relay.victims.put(child)
        (status,) = children.wait()
        last = relay.seen[-1]
        sets = whole_sets(bucket)
        assert earlier in sets
        (place,) = Catalog(replace(house.settings, backup_root=bucket.url)).locations()
        assert sorted(one.backup_id for one in place.sets) == sorted(sets), f"killed after {last}"
        if call % 2:
            (one,) = house.copy(bucket.url).copies
            assert one.failure is None
            resumed += 0 < one.files < 5
            assert sorted(whole_sets(bucket)) == sorted([earlier, str(made.backup_id)])
        else:
            names = bucket.names()
            remove(bucket, [name for name in names if earlier in name])
            swept += any(name.endswith(".tmp") for name in names if earlier not in name)
            assert house.copy(bucket.url, timestamp=earlier).failure is None
        names = bucket.names()
        assert leftovers(bucket, names) == [], f"left over by a kill after {last}"
        remove(bucket, [name for name in names if earlier not in name])
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    else:
        raise AssertionError("the copy never ended")
    assert call > 10
    assert resumed >= 2
    assert swept >= 3


@pytest.mark.parametrize("server", ["seaweed", "moto", "azure"])
def test_of_fifty_claims_at_once_one_wins(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, children: Forked, server: str
) -> None:
    bucket = fresh_place(server, request, monkeypatch)
    children.start(*(_claim(bucket) for _ in range(50)))
    ends = [os.WEXITSTATUS(status) for status in children.wait()]
    assert sorted(ends) == [store_children.WON] + [store_children.LOST] * 49


def test_of_claims_at_once_at_most_one_wins_where_nothing_is_conditional(
    rclone: S3, monkeypatch: pytest.MonkeyPatch, children: Forked
) -> None:
    bucket = fresh_bucket(rclone, monkeypatch)
    bucket.put("x", b"")
    children.start(*(_claim(bucket) for _ in range(10)))
    ends = [os.WEXITSTATUS(status) for status in children.wait()]
    assert ends.count(store_children.WON) <= 1
    assert set(ends) <= {store_children.WON, store_children.LOST, store_children.REFUSED}


def _claim(bucket: Bucket | Container) -> dict[str, Any]:
    return {
        "do": "claim",
        "environment": bucket.server.environment,
        "root": bucket.url,
        "now": NOW.strftime(FORMAT),
    }


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what takes minutes takes seconds; the server tells its time in whole ones."""
    monkeypatch.setattr(lease_objects, "BEAT", 0.2)
    monkeypatch.setattr(lease_objects, "DEAD_AFTER", 2.0)


def test_a_run_of_another_machine_is_dead_when_its_lease_has_run_out_and_not_before(
    bucket: Bucket, short_leases: None
) -> None:
    location = locate(bucket.url, None, "vector_bak")
    living = location.claim(NOW, FORMAT)
    elsewhere = {"token": "x", "pid": 1, "started": "1", "system": "another machine", "host": "pod"}
    bucket.put("manifest_20250101_000000.json.tmp", json.dumps(elsewhere).encode())
    bucket.put("wide_20250101_000000.csv", b"whole, and of no set")
    assert location.sweep() == []
    until = time.monotonic() + 30
    while not (removed := location.sweep()):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert sorted(removed) == ["manifest_20250101_000000.json.tmp", "wide_20250101_000000.csv"]
    living.commit(b"{}")
    assert bucket.names() == ["manifest_20250721_234914.json"]


def test_a_run_that_was_taken_for_dead_cannot_commit(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood still for too long; another run has removed what it wrote."""
    location = locate(bucket.url, None, "vector_bak")
    stalled = location.claim(NOW, FORMAT)
    file = stalled.stage("wide", "csv")
    file.write(b"rows")
    file.sync()
    with monkeypatch.context() as patch:
        patch.setattr(lease_objects, "DEAD_AFTER", -1e9)  # everything is too old
        assert location.sweep() == ["manifest_20250721_234914.json.tmp"]
    with pytest.raises(StorageFault, match="another run took this one for dead"):
        stalled.commit(b"{}")
    assert bucket.names() == []
    assert bucket.uploads() == []


def test_a_run_that_was_taken_for_dead_leaves_the_next_ones_claim_alone(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = locate(bucket.url, None, "vector_bak")
    stalled = location.claim(NOW, FORMAT)
    with monkeypatch.context() as patch:
        patch.setattr(lease_objects, "DEAD_AFTER", -1e9)
        location.sweep()
    other = location.claim(NOW, FORMAT)
    assert other.backup_id == stalled.backup_id
    with pytest.raises(StorageFault):
        stalled.commit(b'{"stalled": 1}')
    other.commit(b'{"other": 1}')
    assert bucket.get(manifest_name(other.backup_id)) == b'{"other": 1}'


def test_uploads_of_others_are_left_alone(bucket: Bucket) -> None:
    client = bucket.server.client()
    for key in (
        "sets/vector_bak/holiday.mp4",
        "sets/vector_bak/deeper/wide_20250101_000000.csv",
        "wide_20250101_0.csv",
    ):
        client.create_multipart_upload(Bucket=bucket.name, Key=key)
    client.create_multipart_upload(Bucket=bucket.name, Key="sets/vector_bak/wide_20250101_000000.csv")
    bucket.put("x", b"")
    assert locate(bucket.url, None, "vector_bak").sweep() == ["wide_20250101_000000.csv"]
    assert len(bucket.uploads()) == 3


KINDS = ("500", "503", "expired", "403", "409", "412", "reset in the body", "lost answer", "slow", "503 and so on")


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_faults_of_each_kind_end_in_a_whole_set_or_a_clear_error(
    bucket: Bucket, relay: Relay, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Each at another request of a run: claim, upload of several parts, commit, reading back."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
    monkeypatch.setattr(object_writer, "_SMALLEST_PART", 5 << 20)
    monkeypatch.setitem(bucket_module._RETRY, "max_retries", 3)  # type: ignore[arg-type]
    monkeypatch.setattr(object_reader, "_WAIT", 0.01)
    fault = kind.removesuffix(" and so on")
    good: dict[str, bytes] = {}
    failed = 0
    for number in range(1, 21):
        relay.begin(at_call(number + 2, fault, number + 30 if kind != fault else 0))
        try:
            location = locate(bucket.url, None, "vector_bak")
            claim = location.claim(NOW, FORMAT)
            try:
                file = claim.stage("wide", "csv", expected=6 << 20)
                data = os.urandom(2 << 20 if number % 4 == 0 else 2 << 10)  # an upload of two parts, or one request
                for _ in range(3):
                    file.write(data)
                file.write(str(number).encode())
                file.sync()
                body = json.dumps({"file": file.name, "sha256": file.sha256}).encode()
                claim.commit(body)
            except BaseException:
                claim.discard()
                raise
            good[claim.backup_id] = body
            with location.open(file.name) as stored:
                assert stored.read() == data * 3 + str(number).encode()
        except BackupError as raised:
            assert isinstance(raised, StorageFault), raised
            assert bucket.name in raised.message
            failed += 1
            print(raised)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.endpoint)
    location = locate(bucket.url, None, "vector_bak")
    monkeypatch.setattr(lease_objects, "DEAD_AFTER", -1e9)
    location.sweep()
    committed = {name for name in bucket.names() if name.startswith("manifest_")}
    assert {manifest_name(one) for one in good} <= committed
    for name in committed:
        told = json.loads(bucket.get(name))
        assert hashlib.sha256(bucket.get(told["file"])).hexdigest() == told["sha256"]
    assert leftovers(bucket) == []
    if kind in ("500", "503", "slow"):
        assert failed == 0  # what passes is waited for
    if kind == fault:
        assert failed < 20  # one bad answer is not the end of every run, as an outage is


def test_a_read_that_breaks_off_is_resumed_where_it_was(
    bucket: Bucket, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(20 << 20)
    bucket.put("wide_20250721_234914.csv", content)
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
    location = locate(bucket.url, None, "vector_bak")
    relay.begin(lambda call, method, path: "reset in the body" if call % 2 == 0 else None)
    with location.open("wide_20250721_234914.csv") as file:
        assert file.read(1 << 20) == content[: 1 << 20]
        assert file.read() == content[1 << 20 :]
        file.seek(12_345_678)
        assert file.read(100) == content[12_345_678:][:100]
    asked = len(relay.seen)
    relay.begin(lambda call, method, path: "reset in the body" if call > 2 else None)
    with location.open("wide_20250721_234914.csv") as file, pytest.raises(StorageFault, match="wide_20250721_234914"):
        file.read()
    assert 6 < asked < 30


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(bucket: Bucket) -> None:
    bucket.put("wide_20250721_234914.csv", os.urandom(20 << 20))
    location = locate(bucket.url, None, "vector_bak")
    with location.open("wide_20250721_234914.csv") as file:
        file.read(1 << 20)
        bucket.put("wide_20250721_234914.csv", os.urandom(20 << 20))
        with pytest.raises(StorageFault, match="replaced while it was being read"):
            file.read()


def test_an_error_in_the_middle_of_a_restore_is_a_storage_error_and_nothing_is_restored(
    house: House, bucket: Bucket, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.database.run(WIDE.replace("{rows}", "3000"))
    house.configure(backup_root=bucket.url, tables="wide")
    house.backup()
    house.database.run("DROP TABLE wide")
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
    ranges = 0

    def decide(call: int, method: str, path: str) -> str | None:
        nonlocal ranges
        ranges += method == "GET" and "/wide_" in path and ".idx" not in path
        return "403" if ranges > 3 and "/wide_" in path and method == "GET" else None

    relay.begin(decide)
    with pytest.raises(StorageFault, match="refuses the credentials"):
        house.restore()
    assert ranges > 3
    assert house.database.run("SELECT to_regclass('wide')") == [(None,)]


@pytest.mark.parametrize(
    "name", ["manifest_20250101_000000.json.tmp", "manifest_20250101_000000.json.abcdefghijkl.reader.tmp"]
)
def test_what_is_too_large_for_a_lease_is_not_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    bucket.put(name, b"x" * (1 << 17))
    location = locate(bucket.url, None, "vector_bak")
    assert location.sweep() == []
    monkeypatch.setattr(lease_objects, "DEAD_AFTER", -1e9)
    assert location.sweep() == [name]


@pytest.mark.parametrize(
    ("kind", "reading"),
    [*((kind, False) for kind in KINDS), *((kind, True) for kind in ("500", "expired", "reset in the body", "slow"))],
)
def test_faults_at_either_end_of_a_copy_end_in_a_whole_set_or_a_clear_error(
    house: House,
    bucket: Bucket,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    reading: bool,
) -> None:
    """Each at another request; what went wrong is made good by the next copy, whatever the last one has left."""
    house.langchain(10)
    monkeypatch.setitem(bucket_module._RETRY, "max_retries", 2)  # type: ignore[arg-type]
    monkeypatch.setattr(object_reader, "_WAIT", 0.01)
    through = replace(bucket.server, endpoint=relay.endpoint).root(bucket.url)
    if reading:
        house.configure(backup_root=bucket.root)
    house.backup(now=NOW)
    there: Any = tmp_path / "other" if reading else through
    (tmp_path / "other").mkdir()
    source = house.settings.backup_root
    fault = kind.removesuffix(" and so on")
    for number in range(2, 21, 4):
        relay.begin(at_call(number, fault, number + 30 if kind != fault else 0))
        house.configure(backup_root=through if reading else source)
        try:
            failure = house.copy(there).failure
        except BackupError as raised:
            failure = raised
        relay.begin(lambda number, method, path: None)
        assert failure is None or isinstance(failure, StorageFault), failure
        house.configure(backup_root=there if reading else bucket.root)
        for place in Catalog(house.settings).locations():
            for one in place.sets:
                assert failure is None or one.whole
                assert house.verify(backup_path="vector_bak", timestamp=one.backup_id, depth="files").failure is None
        house.configure(backup_root=source)
        location = locate(there if reading else bucket.root, None, "vector_bak")

        def sweep(location: Location = location) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(lease_objects, "DEAD_AFTER", -1e9)  # this process lives, and so would what it has left
                location.sweep()

        if kind != fault:  # its claim could not be given back
            sweep()
        assert house.copy(there if reading else bucket.root).failure is None
        sweep()
        assert [entry.name for entry in location.store.entries() if entry.name.endswith(".tmp")] == []
        for entry in location.store.entries():
            location.remove(entry.name)
