"""A request that leads nowhere, or somewhere it must not, is refused before anything is touched."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pgvector_backup.engine.base.errors import Conflict, InvalidParams, NotFound, StorageFault
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.root import locate
from tests.helpers.house import House
from tests.helpers.judge import whole_sets

NOON = datetime(2025, 7, 21, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize("task_id", ["../x", "", "中文", "a" * 300, "task\n", "a/b", ".", "a b", "x\0y"])
def test_a_malformed_task_id_is_refused_in_the_words_of_the_contract(house: House, task_id: str) -> None:
    with pytest.raises(InvalidParams, match=r"^无效的task_id格式,只能包含字母、数字和下划线$"):
        house.backup(task_id=task_id)
    assert list(house.root.iterdir()) == []


def test_a_missing_task_directory_is_not_made(house: House) -> None:
    with pytest.raises(NotFound, match=r"^指定的任务目录不存在: task_1$"):
        house.backup(task_id="task_1")
    assert list(house.root.iterdir()) == []


def test_a_task_directory_below_a_missing_root_is_missing(house: House) -> None:
    house.configure(backup_root=house.root / "nowhere")
    # A root that is not there may be a volume that is not mounted, whatever lies in it.
    with pytest.raises(StorageFault, match="the backup root does not exist"):
        house.backup(task_id="task_1")
    assert list(house.root.iterdir()) == []


def test_a_file_is_no_task_directory(house: House) -> None:
    (house.root / "task_1").write_text("a file")
    with pytest.raises(NotFound, match="指定的任务目录不存在"):
        house.backup(task_id="task_1")
    assert (house.root / "task_1").read_text() == "a file"


def test_a_task_directory_that_leads_out_of_the_root_is_refused(house: House, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (house.root / "task_1").symlink_to(outside)
    with pytest.raises(NotFound, match="指定的任务目录不存在"):
        house.backup(task_id="task_1")
    assert list(outside.iterdir()) == []


def test_a_task_directory_that_is_a_dangling_link_is_refused(house: House) -> None:
    (house.root / "task_1").symlink_to("nowhere")
    (house.root / "task_2").symlink_to("task_2")
    for task_id in ("task_1", "task_2"):
        with pytest.raises(NotFound, match="指定的任务目录不存在"):
            house.backup(task_id=task_id)


def test_a_root_that_is_itself_a_link_is_followed(house: House, tmp_path: Path) -> None:
    (house.root / "task_1").mkdir()
    link = tmp_path / "link"
    link.symlink_to(house.root)
    house.langchain()
    house.configure(backup_root=link)
    house.backup(task_id="task_1")
    assert len(whole_sets(house.root / "task_1" / "vector_bak")) == 1


@pytest.mark.parametrize("with_task", [False, True])
def test_a_vector_bak_that_leads_out_of_the_root_is_refused(house: House, tmp_path: Path, with_task: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    parent = house.root / "task_1" if with_task else house.root
    parent.mkdir(exist_ok=True)
    (parent / "vector_bak").symlink_to(outside)
    with pytest.raises(NotFound, match="outside the backup root"):
        house.backup(**({"task_id": "task_1"} if with_task else {}))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_vector_bak_that_is_no_directory_is_refused(house: House, kind: str) -> None:
    path = house.root / "vector_bak"
    path.write_text("mine") if kind == "file" else path.symlink_to("nowhere")
    with pytest.raises(StorageFault, match="is not a directory"):
        house.backup()
    assert path.is_symlink() or path.read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "中文", "x\n"])
def test_a_backup_directory_that_is_not_one_plain_name_is_refused(house: House, name: str) -> None:
    house.configure(backup_directory=name)
    with pytest.raises(InvalidParams, match="backup_directory"):
        house.backup()
    assert list(house.root.iterdir()) == []


@pytest.mark.parametrize("later", [0, 1, 58, 59])
@pytest.mark.parametrize("timestamp_format", ["%Y%m%d", "%Y%m%d_%H%M", "always", "%H", "%f"])
def test_a_timestamp_format_that_repeats_is_refused_at_any_second(
    house: House, timestamp_format: str, later: int
) -> None:
    house.configure(timestamp_format=timestamp_format)
    with pytest.raises(InvalidParams, match="timestamp_format"):
        house.backup(now=NOON + timedelta(hours=11, minutes=59, seconds=later))
    assert house.files() == []


@pytest.mark.parametrize(
    "timestamp_format", ["%Y/%m/%d_%H%M%S", "../%S", "%Y %S", "%H:%M:%S", "%S.csv", "", "%S\n", "秒%S"]
)
def test_a_timestamp_format_that_gives_unsafe_names_is_refused(house: House, timestamp_format: str) -> None:
    house.configure(timestamp_format=timestamp_format)
    with pytest.raises(InvalidParams, match="timestamp_format"):
        house.backup(now=NOON)
    assert house.files() == []


def test_a_timestamp_whose_every_name_is_taken_is_a_conflict(house: House) -> None:
    house.langchain()
    house.configure(timestamp_format="%S")
    house.backup(now=NOON)
    for second in range(60):
        (house.directory / f"langchain_pg_embedding_{second:02}.csv").touch()
    with pytest.raises(Conflict, match="no free backup id"):
        house.backup(now=NOON)


def test_a_taken_timestamp_moves_on_to_the_next_second(house: House) -> None:
    house.langchain()
    house.directory.mkdir()
    (house.directory / "langchain_pg_embedding_20250721_120001.csv").write_text("of an older tool")
    ids = [house.backup(now=NOON).backup_id for _ in range(3)]
    assert ids == ["20250721_120000", "20250721_120002", "20250721_120003"]
    assert (house.directory / "langchain_pg_embedding_20250721_120001.csv").read_text() == "of an older tool"


@pytest.mark.parametrize("name", ["../manifest_x.json", "/etc/passwd", "..", "", "a\\b", "a\0b"])
def test_a_manifest_is_looked_for_in_its_own_directory_only(house: House, name: str) -> None:
    location = locate(house.root, None, "vector_bak")
    with pytest.raises(Exception, match="not a bare file name"):
        Manifest.read(location, name)


@pytest.mark.parametrize("key", ["jobs", "progress_rows", "lock_timeout"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_setting_that_must_be_positive_is_named(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(InvalidParams, match=f"^{key}: "):
        Settings(backup_root=tmp_path, **{key: value})  # type: ignore[arg-type]


def test_only_what_is_backed_up_may_be_emptied(tmp_path: Path) -> None:
    with pytest.raises(InvalidParams, match="truncate_tables names other"):
        Settings(backup_root=tmp_path, truncate_tables=parse_names("other"))


def test_two_tables_that_would_share_a_name_are_refused_or_kept_apart(house: House) -> None:
    """``a.b`` is a table in a schema, ``"a.b"`` a table with a dot in its name."""
    house.database.run('CREATE SCHEMA a; CREATE TABLE a.b (x int); CREATE TABLE "a.b" (y text)')
    house.database.run("INSERT INTO a.b VALUES (1), (2); INSERT INTO \"a.b\" VALUES ('one')")
    house.configure(tables='a.b,"a.b"')
    result = house.backup()
    assert result.failure is None
    assert sorted(table.rows for table in result.tables.values()) == [1, 2]
    assert len({table.file for table in result.tables.values()}) == 2


def test_a_name_too_long_for_a_file_system_still_gets_a_file(house: House) -> None:
    schema, table = "、" * 21, "。" * 21  # 63 bytes each, the longest that PostgreSQL takes
    house.database.run(f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}"."{table}" (x int)')
    house.langchain()
    house.configure(tables=f'langchain_pg_embedding,"{schema}"."{table}"')
    result = house.backup()
    assert result.failure is None
    assert whole_sets(house.directory) == [result.backup_id]
