"""A disk that is full, read-only or broken costs what it must and leaves nothing half-done."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import BackupError, StorageFault
from pgvector_backup.engine.store import disk_file, local, location, staging
from tests.helpers import small_disk
from tests.helpers.hooks import WIDE
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets
from tests.helpers.python import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MEBIBYTE = 1 << 20
NOON = datetime(2025, 7, 21, 12, 0, 0, tzinfo=timezone.utc)
TABLES = "langchain_pg_collection,wide,langchain_pg_embedding"
SMALL = "langchain_pg_collection,langchain_pg_embedding"


def own_disk() -> list[str] | None:
    """The command that gives another one mounts of its own; None where the system allows it to nobody here."""
    for command in (["unshare", "-m"], ["unshare", "-Urm"]):
        mounting = "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/tmp'], check=True)"
        test = [*command, sys.executable, "-c", mounting]
        try:
            if subprocess.run(test, capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


Outcomes = list[dict[str, Any]]


def on_small_disks(house: House, *orders: dict[str, Any]) -> list[Outcomes]:
    """For each order two backups on a disk of one mebibyte; where none can be had, with such a limit for each file."""
    prefix = own_disk()
    usual = {
        "uri": house.database.uri(),
        "root": str(house.root),
        "tables": TABLES,
        "then": SMALL,
        "disk": "tmpfs",
        "size": MEBIBYTE,
        "filled": 0,
        "trust": True,
    }
    asked = [usual | order | ({} if prefix else {"disk": "limit"}) for order in orders]
    command = [*(prefix or []), sys.executable, small_disk.__file__, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    outcomes: list[Outcomes] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(orders)
    return outcomes


def on_a_small_disk(house: House, **order: Any) -> Outcomes:
    """The same for one."""
    (outcomes,) = on_small_disks(house, order)
    return outcomes


@pytest.fixture
def large(house: House) -> House:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "3000"))
    house.configure(tables=TABLES)
    return house


def test_a_disk_that_fills_up_in_the_middle_fails_the_table_that_does_not_fit(large: House) -> None:
    first, second = on_a_small_disk(large)
    tables = first["result"]["tables_backed_up"]
    assert not tables["wide"]["success"]  # and whatever else was writing when nothing was free
    assert first["error"]["error_type"] == "STORAGE_ERROR"
    assert first["error"]["can_retry"]
    assert "free some" in first["error"]["response"] or "would exceed" in first["error"]["response"]
    assert not [name for name in first["files"] if name.startswith("wide") or name.endswith(".tmp")]
    for table in tables.values():
        assert not table["success"] or first["files"][table["backup_file"]] == table["bytes"]
    assert "error" not in second  # nothing holds on to the space


def test_however_little_is_free_a_set_is_whole_or_is_not_there(large: House) -> None:
    ends = set()
    orders = [{"tables": SMALL, "filled": MEBIBYTE - 4096 * pages - 1} for pages in range(12)]
    for first, _ in on_small_disks(large, *orders):
        names = list(first["files"])
        assert not [name for name in names if name.endswith(".tmp")]
        if "error" in first:
            assert first["error"]["error_type"] == "STORAGE_ERROR"
        if first.get("result", {}).get("backup_id") is None:
            assert names == []
            ends.add("nothing")
            continue
        succeeded = {label for label, table in first["result"]["tables_backed_up"].items() if table["success"]}
        assert {name.rsplit("_", 2)[0] for name in names if name.endswith(".csv")} == succeeded
        assert len([name for name in names if name.startswith("manifest_")]) == 1
        ends.add("all" if "error" not in first else "a part")
    assert ends >= {"nothing", "all"}


def test_a_read_only_disk_is_said_to_be_so(large: House) -> None:
    if own_disk() is None:
        large.configure(backup_root="/proc/self")  # where nobody may make a directory
        with pytest.raises(StorageFault):
            large.backup()
        return
    for outcome in on_a_small_disk(large, disk="read-only"):
        assert outcome["error"]["error_type"] == "STORAGE_ERROR"
        assert "read-only" in outcome["error"]["response"]
        assert outcome["files"] == {}


def test_too_little_space_is_known_before_the_first_byte(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 3_000_000
    usage = local.shutil.disk_usage(large.root)._replace(free=free)
    monkeypatch.setattr(local.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(staging.StagedFile, "write", lambda self, data: pytest.fail("a byte was written"))
    with pytest.raises(StorageFault, match=rf"needs about [\d,]+ bytes and {free:,} are free") as caught:
        large.backup()
    assert caught.value.can_retry
    assert large.files() == []


def test_the_estimate_is_near_the_truth(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(location.Location, "require_space", lambda self, needed: asked.append(needed))
    result = large.backup()
    written = sum(table.bytes for table in result.tables.values())
    assert written <= asked[0] <= 1.2 * written


@pytest.mark.parametrize("root", ["a file", "below a file", "in /proc"])
def test_a_root_that_cannot_be_made_is_a_storage_error(house: House, tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("mine")
    house.configure(
        backup_root={"a file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "in /proc": "/proc/nowhere"}[
            root
        ]
    )
    with pytest.raises(StorageFault) as caught:
        house.backup()
    assert caught.value.report()["error_type"] == "STORAGE_ERROR"
    assert (tmp_path / "file").read_text() == "mine"


class BrokenSystem:
    """The module ``os``, whose ``number``-th call to the disk fails."""

    WATCHED = ("open", "write", "fsync", "rename", "unlink", "close", "listdir")

    def __init__(self, number: int, code: int) -> None:
        self._number = number
        self._code = code
        self._calls = itertools.count(1)
        self.failed: str | None = None

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in self.WATCHED:
            return original

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(self._calls) == self._number:
                self.failed = name
                if name == "close":
                    original(*args)
                raise OSError(self._code, os.strerror(self._code))
            return original(*args, **kwargs)

        return call


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_failure_of_any_call_to_the_disk_is_told_and_tidied_up(
    house: House, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    house.langchain()
    house.configure(tables=SMALL, jobs=1)
    earlier = house.backup()
    for number in itertools.count(1):
        broken = BrokenSystem(number, code)
        with monkeypatch.context() as patch:
            patch.setattr(staging, "os", broken)
            patch.setattr(disk_file, "os", broken)
            fault: BackupError | None
            try:
                fault = house.backup(now=NOON + timedelta(minutes=number)).failure
            except BackupError as raised:
                fault = raised
        if broken.failed is None:
            assert fault is None
            break
        assert fault is None or isinstance(fault, StorageFault), f"{broken.failed}, call {number}: {fault!r}"
        if broken.failed in ("write", "fsync", "rename"):
            assert fault is not None, f"{broken.failed}, call {number}"
        if broken.failed not in ("unlink", "listdir"):
            assert leftovers(house.directory) == [], f"{broken.failed}, call {number}"
        assert earlier.backup_id in whole_sets(house.directory)
        assert house.backup(now=NOON - timedelta(minutes=number)).failure is None
        assert leftovers(house.directory) == [], f"{broken.failed}, call {number}"
    assert number > 25


def test_a_directory_that_is_taken_away_in_the_middle_fails_the_run(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = staging.StagedFile.sync

    def moving(self: staging.StagedFile) -> None:
        if large.directory.exists():
            large.directory.rename(large.root / "moved")
        sync(self)

    monkeypatch.setattr(staging.StagedFile, "sync", moving)
    with pytest.raises(StorageFault):
        large.backup()
    assert not list(large.root.rglob("manifest_*.json"))
    assert not list(large.root.rglob("*.csv"))
