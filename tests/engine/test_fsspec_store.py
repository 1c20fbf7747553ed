"""A backup root given as an fsspec URL: the same sets, uploaded whole or not at all."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import fsspec
import pytest

from pgvector_backup.engine.base.errors import Conflict, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store import fsspec_store, lease_objects
from pgvector_backup.engine.store.lease_objects import DEAD_AFTER
from pgvector_backup.engine.store.root import locate, locate_all
from tests.helpers.house import House

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)

_buckets = itertools.count()


@pytest.fixture
def bucket(house: House) -> Iterator[str]:
    url = f"memory://bucket{next(_buckets)}"
    house.configure(backup_root=url)
    yield url
    fsspec.filesystem("memory").rm("/", recursive=True)


def _names(url: str) -> list[str]:
    fs, path = fsspec.core.url_to_fs(url)
    return sorted(name.rsplit("/", 1)[-1] for name in fs.ls(path, detail=False))


def test_a_set_is_uploaded_and_emptied_on_its_word(house: House, bucket: str) -> None:
    house.langchain()
    result = house.backup()
    names = _names(result.directory)

    assert result.directory == f"{bucket}/vector_bak"
    files = [table.file for table in result.tables.values()]
    assert names == sorted(
        [*files, *(f"{file}.idx" for file in files), f"schema_{result.backup_id}.sql", str(result.manifest_file)]
    )
    fs, path = fsspec.core.url_to_fs(result.directory)
    manifest = Manifest.from_bytes(fs.cat_file(f"{path}/{result.manifest_file}"))
    assert [fs.size(f"{path}/{table.file}") for table in manifest.tables] == [t.bytes for t in manifest.tables]
    assert house.truncate(result).rows_before == {"langchain_pg_embedding": 58}
    assert house.count("langchain_pg_embedding") == 0


def test_an_altered_object_is_found_before_the_truncate(house: House, bucket: str) -> None:
    house.langchain()
    result = house.backup()
    fs, path = fsspec.core.url_to_fs(result.directory)
    name = f"{path}/{result.tables['langchain_pg_embedding'].file}"
    fs.pipe_file(name, fs.cat_file(name).replace(b"id-1", b"id-2", 1))
    with pytest.raises(IntegrityFault, match="SHA-256"):
        house.truncate(result)
    assert house.count("langchain_pg_embedding") == 58


def test_two_runs_in_one_second_do_not_meet(house: House, bucket: str) -> None:
    house.langchain()
    now = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
    assert [house.backup(now=now).backup_id for _ in range(3)] == [
        "20250721_234914",
        "20250721_234915",
        "20250721_234916",
    ]


def test_a_task_directory_must_exist(house: House, bucket: str) -> None:
    with pytest.raises(NotFound, match="指定的任务目录不存在: task_1"):
        house.backup(task_id="task_1")
    fs, path = fsspec.core.url_to_fs(bucket)
    fs.makedirs(f"{path}/task_1")
    house.langchain()
    assert house.backup(task_id="task_1").directory == f"{bucket}/task_1/vector_bak"


def test_a_failing_upload_leaves_nothing(house: House, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house.langchain()
    store = type(fsspec.filesystem("memory"))
    put = store.put_file

    def fail_on_the_second(self: Any, source: str, target: str, **more: Any) -> None:
        if "embedding" in target:
            raise ConnectionResetError("the store went away")
        put(self, source, target, **more)

    monkeypatch.setattr(store, "put_file", fail_on_the_second)
    with pytest.raises(StorageFault, match="the store went away"):
        house.backup()
    assert _names(f"{bucket}/vector_bak") == []


def test_a_dead_runs_files_are_swept_when_its_claim_is_old(house: House, bucket: str) -> None:
    house.langchain()
    fs, path = fsspec.core.url_to_fs(f"{bucket}/vector_bak")
    for name in ("manifest_20250101_000000.json.tmp", "langchain_pg_embedding_20250101_000000.csv"):
        fs.pipe_file(f"{path}/{name}", b"")
    house.backup()
    assert any("20250101" in name for name in _names(f"{bucket}/vector_bak"))  # young: its run may be at work
    for entry in fs.store.values():
        entry.modified -= timedelta(seconds=DEAD_AFTER + 60)
        entry.created -= timedelta(seconds=DEAD_AFTER + 60)
    house.backup()
    assert not any("20250101" in name for name in _names(f"{bucket}/vector_bak"))


def test_a_second_run_at_once_is_refused(house: House, bucket: str) -> None:
    """What has no conditional writes cannot keep two runs apart."""
    house.langchain()
    first = locate(bucket, None, "vector_bak").claim(NOW, "%Y%m%d_%H%M%S")
    with pytest.raises(Conflict, match="another backup is at work there"):
        house.backup(now=NOW + timedelta(hours=1))
    first.discard()
    assert house.backup(now=NOW).failure is None
    assert [name for name in _names(f"{bucket}/vector_bak") if name.endswith(".tmp")] == []


def test_a_set_that_is_read_cannot_be_removed_and_the_other_way_round(house: House, bucket: str) -> None:
    house.langchain()
    manifest = str(house.backup().manifest_file)
    location = locate(bucket, None, "vector_bak")
    with (
        location.shared_lock(manifest),
        location.shared_lock(manifest),
        pytest.raises(Conflict, match="is reading it"),
        location.exclusive_lock(manifest),
    ):
        pass
    with (
        location.exclusive_lock(manifest),
        pytest.raises(Conflict, match="being removed"),
        location.shared_lock(manifest),
    ):
        pass
    with location.shared_lock(manifest):
        pass
    assert [name for name in _names(f"{bucket}/vector_bak") if name.endswith(".tmp")] == []


def test_a_read_that_breaks_in_the_middle_is_a_storage_error(
    house: House, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain()
    house.backup()
    house.database.run("TRUNCATE langchain_pg_collection, langchain_pg_embedding")
    kind = type(fsspec.filesystem("memory").open("/x", "wb"))
    read = kind.read

    def broken(self: Any, size: int = -1) -> bytes:
        if "embedding" in self.path and ".idx" not in self.path:
            raise ConnectionResetError("the connection was reset")
        return bytes(read(self, size))

    monkeypatch.setattr(kind, "read", broken)
    with pytest.raises(StorageFault, match="the connection was reset"):
        house.restore()
    assert house.count("langchain_pg_embedding") == 0


def test_looking_makes_nothing(house: House, bucket: str) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    assert locate_all(bucket, "vector_bak") == []
    with pytest.raises(NotFound):
        house.verify(backup_path="vector_bak")
    with pytest.raises(NotFound):
        locate(bucket, None, "vector_bak", create=False)
    locate(bucket, None, "vector_bak")
    assert not fs.exists(bucket)


def test_the_log_grows_by_sections(house: House, bucket: str) -> None:
    location = locate(bucket, None, "vector_bak")
    location.append_log("one\n")
    location.append_log("two\n")
    with location.open("vector_backup_log.txt") as log:
        assert log.read() == b"one\ntwo\n"


def test_where_the_store_tells_no_time_a_lease_tells_its_own(
    house: House, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain()
    monkeypatch.setattr(fsspec_store, "_seconds", lambda listed: 0.0)
    running = locate(bucket, None, "vector_bak").claim(NOW, "%Y%m%d_%H%M%S")
    with pytest.raises(Conflict, match="another backup is at work there"):
        house.backup()
    assert _leases(bucket)
    later = time.time() + DEAD_AFTER + 60
    monkeypatch.setattr(lease_objects.time, "time", lambda: later)
    assert house.backup().failure is None
    assert not _leases(bucket)
    running.discard()


def _leases(bucket: str) -> list[str]:
    return [name for name in _names(f"{bucket}/vector_bak") if name.endswith(".tmp")]
