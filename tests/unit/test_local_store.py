"""A directory as a store: looking makes nothing, and errors are the storage's in the middle of a read too."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_backup.engine.base.errors import NotFound, StorageFault
from pgvector_backup.engine.store.local import LocalStore
from pgvector_backup.engine.store.root import foresee, locate, locate_all, locate_path, require_writable


def test_looking_makes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "nowhere" / "yet"
    assert locate_all(root, "vector_bak") == []
    location = locate(root, None, "vector_bak")
    assert location.entries() == []
    assert location.sweep() == []
    foresee(root, None, "vector_bak")
    require_writable(root)
    for look in (
        lambda: locate(root, None, "vector_bak", create=False),
        lambda: locate_path(root, "vector_bak", "vector_bak"),
        lambda: locate(root, "task_1", "vector_bak"),
        lambda: location.open("manifest_1.json"),
    ):
        with pytest.raises(NotFound):
            look()
    assert list(tmp_path.iterdir()) == []


def test_what_writes_first_makes_the_place(tmp_path: Path) -> None:
    location = locate(tmp_path / "root", None, "vector_bak")
    location.append_log("one\n")
    assert (tmp_path / "root" / "vector_bak" / "vector_backup_log.txt").read_text() == "one\n"


def test_a_task_directory_is_never_made(tmp_path: Path) -> None:
    (tmp_path / "task_1").mkdir()
    location = locate(tmp_path, "task_1", "vector_bak")
    (tmp_path / "task_1").rmdir()
    with pytest.raises(StorageFault):
        location.append_log("one\n")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_middle_of_a_read_is_a_storage_error() -> None:
    """The first page of a process's memory: a regular file that opens, and whose reading is an I/O error."""
    with LocalStore(Path("/proc/self")).open("mem") as file:
        for read in (lambda: file.read(10), file.read, lambda: file.read(1 << 20)):
            with pytest.raises(StorageFault, match=r"/proc/self/mem: Input/output error"):
                read()


def test_a_sweep_does_not_follow_a_link_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    precious = tmp_path / "elsewhere" / "t_20250721_234914.csv.tmp"
    precious.write_text("precious")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "vector_bak").symlink_to("../elsewhere")
    with pytest.raises(NotFound, match="leads outside the backup root"):
        locate(tmp_path / "root", None, "vector_bak").sweep()
    assert precious.read_text() == "precious"
