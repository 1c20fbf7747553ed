"""A file written past the page cache holds what was written, whatever the pieces, and says so when the disk fails."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_backup.engine.store import disk_file
from pgvector_backup.engine.store.disk_file import DiskFile

BUFFER = 1 << 16
AS_IT_IS = disk_file._BUFFER_BYTES


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_file, "_BUFFER_BYTES", BUFFER)


def write(path: Path, pieces: list[bytes]) -> str:
    file = DiskFile(path)
    for piece in pieces:
        file.write(piece)
    file.sync()
    return file.sha256


def assert_holds(path: Path, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert write(path, pieces) == hashlib.sha256(whole).hexdigest()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER, 11 * BUFFER + 777])
@pytest.mark.parametrize("piece", [1000, 4096, BUFFER, 2 * BUFFER + 3])
def test_it_holds_what_was_written(tmp_path: Path, size: int, piece: int) -> None:
    content = os.urandom(size)
    assert_holds(tmp_path / "f", [content[at : at + piece] for at in range(0, size, piece)])


@given(st.lists(st.integers(0, 3 * BUFFER), max_size=8))
@settings(max_examples=30, deadline=None)
def test_whatever_the_pieces(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    assert_holds(tmp_path_factory.mktemp("pieces") / "f", [os.urandom(size) for size in sizes])


def refuse_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = fcntl.fcntl

    def refusing(descriptor: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return setting(descriptor, command, argument)

    monkeypatch.setattr(disk_file.fcntl, "fcntl", refusing)


def test_on_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_direct(monkeypatch)
    assert_holds(tmp_path / "f", [os.urandom(3 * BUFFER + 5)])


def test_on_a_disk_that_refuses_direct_writes_only_when_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, refused = os.write, []

    def picky(descriptor: int, data: memoryview) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(len(data))
            raise OSError(errno.EINVAL, "Invalid argument")
        return writing(descriptor, data)

    monkeypatch.setattr(disk_file.os, "write", picky)
    assert_holds(tmp_path / "f", [os.urandom(3 * BUFFER + 5)])
    assert len(refused) == 1 or not refused  # none where the file system has no direct writes at all


def test_a_disk_that_takes_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = os.write
    monkeypatch.setattr(disk_file.os, "write", lambda descriptor, data: writing(descriptor, data[:5000]))
    assert_holds(tmp_path / "f", [os.urandom(3 * BUFFER + 5)])


def test_a_full_disk_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk_file.os, "write", full)
    file = DiskFile(tmp_path / "f")
    with pytest.raises(OSError, match="No space left"):
        file.write(os.urandom(4 * BUFFER))
    with pytest.raises(OSError, match="No space left"):
        file.write(os.urandom(BUFFER))
    with pytest.raises(OSError, match="No space left"):
        file.sync()
    file.close()
    file = DiskFile(tmp_path / "g")
    file.write(b"a little")
    with pytest.raises(OSError, match="No space left"):
        file.sync()
    file.close()


def test_a_disk_that_fails_once_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, calls = os.write, []

    def failing_once(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) == 3:
            raise OSError(errno.EIO, "Input/output error")
        return writing(descriptor, data)

    refuse_direct(monkeypatch)  # which tries again by itself
    monkeypatch.setattr(disk_file.os, "write", failing_once)
    file = DiskFile(tmp_path / "f")
    with pytest.raises(OSError, match="Input/output error"):
        file.write(os.urandom(20 * BUFFER))
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.close()


def test_given_up_it_is_closed_once(tmp_path: Path) -> None:
    file = DiskFile(tmp_path / "f")
    file.write(os.urandom(3 * BUFFER))
    file.close()
    # The number that the file had is the next one's now, which a second close must leave alone.
    with (tmp_path / "g").open("wb") as other:
        file.close()
        other.write(b"x")
    assert (tmp_path / "g").read_bytes() == b"x"


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        DiskFile(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"x"


def test_a_large_file_is_written_in_large_pieces_of_whole_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_file, "_BUFFER_BYTES", AS_IT_IS)
    writing, sizes = os.write, []

    def counted(descriptor: int, data: memoryview) -> int:
        sizes.append(len(data))
        return writing(descriptor, data)

    monkeypatch.setattr(disk_file.os, "write", counted)
    assert_holds(tmp_path / "f", [os.urandom(1 << 20)] * 9 + [b"rest"])
    assert len(sizes) <= 20
    assert all(size % mmap.PAGESIZE == 0 for size in sizes[:-1])
