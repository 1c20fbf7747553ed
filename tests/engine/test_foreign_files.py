"""What others can put into a directory of sets, or hold there: nothing of it makes a run wait for ever."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store import file_locks
from pgvector_backup.engine.store.naming import LOG_FILE
from tests.helpers.command import environment_of
from tests.helpers.house import House

HOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
if os.geteuid() == 0:
    os.setuid(65534)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process, of another user where that can be, locks what it may only read."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As patient as a test can be."""
    monkeypatch.setattr(file_locks, "_WAIT_SECONDS", 0.5)


def test_a_pipe_named_as_the_log_is_refused(house: House) -> None:
    house.langchain(8)
    house.backup()
    os.mkfifo(house.directory / LOG_FILE)
    location = Catalog(house.settings).place("vector_bak", None)
    with pytest.raises(StorageFault, match="regular file"):
        location.append_log("a section")
    result = house.verify(depth="files")
    assert result.errors == []
    assert any("regular file" in note for note in result.notes)


def test_a_pipe_in_place_of_each_file_of_a_set_is_damage(house: House) -> None:
    house.langchain(8)
    house.backup()
    for name in [name for name in house.files() if "langchain" in name]:
        content = (house.directory / name).read_bytes()
        (house.directory / name).unlink()
        os.mkfifo(house.directory / name)
        result = house.verify(depth="rows")
        assert isinstance(result.failure, IntegrityFault), name
        with pytest.raises((IntegrityFault, NotFound)):
            house.restore(timestamp=result.sets[0].backup_id)
        (house.directory / name).unlink()
        (house.directory / name).write_bytes(content)
    assert house.verify(depth="rows").errors == []


def test_a_pipe_named_as_a_manifest_or_a_claim_is_no_set_and_no_run(house: House) -> None:
    house.langchain(8)
    house.backup()
    for name in ("manifest_20200101_000000.json", "manifest_20200101_000001.json.tmp", "t_20200101_000000.csv"):
        os.mkfifo(house.directory / name)
    assert len(Catalog(house.settings).locations()[0].sets) == 1
    assert house.backup().failure is None


def test_a_device_in_place_of_a_file_is_not_read(house: House) -> None:
    house.langchain(8)
    house.backup()
    (path,) = house.directory.glob("langchain_pg_embedding_*.csv")
    path.unlink()
    path.symlink_to("/dev/zero")
    assert isinstance(house.verify(depth="rows").failure, IntegrityFault)


@pytest.mark.parametrize("what", ["log", "directory"])
def test_a_lock_that_a_reader_holds_is_not_waited_for_without_end(house: House, what: str) -> None:
    house.langchain(8)
    house.backup()
    location = Catalog(house.settings).place("vector_bak", None)
    location.append_log("a section\n")
    path = house.directory / LOG_FILE if what == "log" else house.directory
    path.chmod(path.stat().st_mode | 0o005)
    before = time.monotonic()
    waits = {"log": lambda: location.append_log("another\n"), "directory": house.backup}
    with held(path), pytest.raises(StorageFault, match="does not let go"):
        waits[what]()  # type: ignore[operator]
    assert time.monotonic() - before < 20
    location.append_log("another\n")
    assert house.backup().failure is None


@pytest.mark.parametrize("what", ["log", "directory"])
def test_waiting_for_a_lock_ends_when_the_run_is_cancelled(
    house: House, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(file_locks, "_WAIT_SECONDS", 60)
    house.langchain(8)
    house.backup()
    path = house.directory / LOG_FILE if what == "log" else house.directory
    path.touch()
    path.chmod(path.stat().st_mode | 0o005)
    cancel = Cancel()
    stories = {
        "log": lambda: house.verify(depth="files", cancel=cancel),
        "directory": lambda: house.backup(cancel=cancel),
    }
    before = time.monotonic()
    with held(path):
        threading.Timer(0.5, cancel.ask).start()
        with pytest.raises(Cancelled):
            stories[what]()
    assert 0.4 < time.monotonic() - before < 10


@pytest.mark.apart
def test_a_command_that_waits_for_a_lock_ends_with_a_signal(house: House) -> None:
    house.langchain(8)
    house.backup()
    house.directory.chmod(0o705)
    with held(house.directory):
        process = subprocess.Popen(
            [sys.executable, "-m", "pgvector_backup", "backup"],
            env=environment_of(house),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        while not _sleeps_in_a_lock(process.pid):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - before < 5
        assert "CANCELLED" in process.stderr.read()
        process.stderr.close()


def _sleeps_in_a_lock(pid: int) -> bool:
    """Whether it has the directory open, which it does to lock it alone."""
    with suppress(FileNotFoundError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if link.readlink().name == "vector_bak":
                    return True
    return False


def test_a_claim_that_somebody_else_locks_is_left_alone(house: House) -> None:
    house.langchain(8)
    house.backup()
    path = house.directory / "manifest_20200101_000000.json.tmp"
    path.write_bytes(b"")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert house.backup().failure is None
        assert path.exists()
    assert house.backup().failure is None
    assert not path.exists()


def test_a_claim_of_a_gigabyte_is_swept_unread(house: House) -> None:
    house.langchain(8)
    house.backup()
    path = house.directory / "manifest_20200101_000000.json.tmp"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert house.backup().failure is None
    assert not path.exists()


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def modes(house: House) -> set[int]:
    found = {path.stat().st_mode & 0o777 for path in house.directory.iterdir()}
    return found | {house.directory.stat().st_mode & 0o777}


@pytest.mark.usefixtures("umask")
def test_what_is_written_is_its_owners_and_groups_alone(house: House) -> None:
    house.langchain(8)
    house.backup()
    house.verify(depth="files")
    assert (house.directory / LOG_FILE).exists()
    assert not {mode & 0o007 for mode in modes(house)} - {0}


@pytest.mark.usefixtures("umask")
def test_a_setting_lets_others_read(house: House) -> None:
    house.langchain(8)
    house.configure(readable_by_others=True)
    house.backup()
    house.verify(depth="files")
    assert {mode & 0o007 for mode in modes(house)} == {0o4, 0o5}
    house.configure(readable_by_others=False)


def test_a_sweep_of_one_id_leaves_another_that_ends_alike(house: House) -> None:
    house.langchain(8)
    house.backup()
    mine = house.directory / "t_20261126_150333.csv.tmp"
    claim = house.directory / "manifest_20261126_150333.json.tmp"
    dead = house.directory / "manifest_150333.json.tmp"
    for path in (mine, claim, dead):
        path.write_bytes(b"")
    with claim.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert house.backup().failure is None
        assert mine.exists()
        assert claim.exists()
        assert not dead.exists()
