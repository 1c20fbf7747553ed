"""Locks of files: they exclude, they are waited for and given up on, and what is no file is not opened."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store import file_locks
from pgvector_backup.engine.store.file_locks import alone, lock, open_regular, same_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    return path


def held(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


class Waits:
    """Takes the place of the pauses: each does something instead, on a clock that the pause moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deed: Callable[[int], None]) -> None:
        self.paused = 0
        self.now = 1000.0
        self._deed = deed
        monkeypatch.setattr(file_locks, "pause", self.pause)
        monkeypatch.setattr(file_locks.time, "monotonic", lambda: self.now)

    def pause(self, seconds: float) -> None:
        self.paused += 1
        assert 0 < seconds <= 1, "whoever lets go is not to be waited for much longer"
        assert self.paused < 5000, "it is waited for for ever"
        self.now += seconds
        self._deed(self.paused)


def test_a_lock_is_ones_own(path: Path) -> None:
    mine = os.open(path, os.O_RDONLY)
    lock(mine, path)
    other = os.open(path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(other)
    os.close(mine)


def test_a_lock_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = held(path)
    waits = Waits(monkeypatch, lambda number: os.close(holder) if number == 3 else None)
    mine = os.open(path, os.O_RDONLY)
    lock(mine, path)
    assert waits.paused == 3
    os.close(mine)


@pytest.mark.parametrize(("seconds", "waited"), [(None, 30.0), (2.0, 2.0), (0.0, 0.0)])
def test_a_lock_that_nobody_lets_go_of_is_given_up_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float | None, waited: float
) -> None:
    holder = held(path)
    waits = Waits(monkeypatch, lambda number: None)
    mine = os.open(path, os.O_RDONLY)
    with pytest.raises(StorageFault, match="does not let go; find it with lsof") as caught:
        lock(mine, path, seconds=seconds)
    assert str(path) in caught.value.message
    assert caught.value.can_retry
    assert waited <= waits.now - 1000 <= waited + 0.2
    os.close(mine)
    os.close(holder)


def test_one_at_a_time_in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    with alone(tmp_path):
        other = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        order.append("first")
    holder = held(tmp_path)

    def let_go(number: int) -> None:
        order.append("second")
        os.close(holder)

    Waits(monkeypatch, let_go)
    with alone(tmp_path):
        order.append("third")
    assert order == ["first", "second", "third"]


def test_where_no_directory_can_be_locked_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_locks.fcntl, "flock", refusing)
    before = len(os.listdir("/proc/self/fd"))
    with alone(tmp_path):
        pass
    with pytest.raises(KeyError), alone(tmp_path):
        raise KeyError
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_path_that_leads_elsewhere_by_now(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    assert same_file(descriptor, path)
    path.with_name("g").write_bytes(b"another")
    os.replace(path.with_name("g"), path)
    assert not same_file(descriptor, path)
    path.unlink()
    assert not same_file(descriptor, path)
    os.close(descriptor)


def test_a_regular_file_is_opened_as_asked(path: Path) -> None:
    descriptor = open_regular(path, os.O_RDONLY)
    assert os.read(descriptor, 99) == b"content"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    new = path.with_name("new")
    os.close(open_regular(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    assert stat.S_IMODE(new.stat().st_mode) == 0o600


def test_an_error_of_a_regular_file_is_told_as_it_is(path: Path) -> None:
    with pytest.raises(FileExistsError):
        open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with pytest.raises(FileNotFoundError):
        open_regular(path.with_name("nothing"), os.O_RDONLY)


@pytest.mark.timeout(20)  # whoever waits for the other end of a pipe waits for ever
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("kind", ["a link", "a dangling link", "a pipe", "a directory", "a device"])
def test_what_is_no_regular_file_is_not_opened(path: Path, kind: str, flags: int) -> None:
    other = path.with_name("other")
    if kind == "a link":
        other.symlink_to(path)
    elif kind == "a dangling link":
        other.symlink_to("nothing")
    elif kind == "a pipe":
        os.mkfifo(other)
    elif kind == "a directory":
        other.mkdir()
    else:
        other = Path("/dev/null")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StorageFault, match="is not a regular file; remove it") as caught:
        open_regular(other, flags, 0o600)
    assert not caught.value.can_retry
    assert len(os.listdir("/proc/self/fd")) == before
    assert path.read_bytes() == b"content"
