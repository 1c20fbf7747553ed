"""Killed with -9 at any moment: no file that is not whole, no set that does not verify, and the next run tidies up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.helpers.forker import Forker, forking
from tests.helpers.hooks import WIDE
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
TABLES = "langchain_pg_collection,wide,langchain_pg_embedding"
FOREIGN = {
    "langchain_pg_collection_20240101_000000.csv": b"uuid,name\n1,of the older tool\n",
    "langchain_pg_embedding_20240101_000000.csv": b"half a line of the older to",
    "README.txt": b"mine",
    "x.tmp": b"another tool's",
    "export.csv.tmp": b"another tool's",
    "vector_backup_log.txt": b"==== earlier\n\n",
}


@pytest.fixture
def forker() -> Iterator[Forker]:
    with forking() as running:
        yield running


def finals(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.csv") if path.name not in FOREIGN}


def table_of(file: str) -> str:
    return file.rsplit("_", 2)[0]


def test_killed_at_every_single_call(house: House, forker: Forker) -> None:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "1500"))
    house.configure(tables=TABLES, jobs=1)
    earlier = house.backup(now=datetime(2025, 1, 1, tzinfo=timezone.utc))
    for name, content in FOREIGN.items():
        (house.directory / name).write_bytes(content)
    kept = {name: (house.directory / name).read_bytes() for name in house.files()}
    whole = {label: (house.directory / table.file).read_bytes() for label, table in earlier.tables.items()}

    seen_half_committed = seen_staged = 0
    for call in range(1, 1000):
        status = forker.backup(house, tables=TABLES, now=NOW, call=call)

        for name, content in finals(house.directory).items():
            assert content == whole[table_of(name)], f"{name} is not whole after a kill at call {call}"
        sets = whole_sets(house.directory)
        assert earlier.backup_id in sets
        left = leftovers(house.directory, foreign=FOREIGN)
        seen_staged += any(name.endswith(".csv.tmp") for name in left)
        seen_half_committed += any(name.endswith(".csv") for name in left)

        result = house.backup(now=NOW)
        assert result.failure is None
        assert leftovers(house.directory, foreign=FOREIGN) == [], f"left over by a kill at call {call}"
        assert whole_sets(house.directory) == sorted({*sets, str(result.backup_id)})
        for name, content in kept.items():
            assert (house.directory / name).read_bytes() == content, f"{name} was touched"
        for name in house.files():
            if name not in kept:
                (house.directory / name).unlink()
        if status == 0:
            break
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
    else:
        raise AssertionError("the run never ended")
    assert call > 30
    assert seen_staged > 5
    assert seen_half_committed >= 3


def test_killed_before_the_directory_is_there(house: House, forker: Forker) -> None:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "1"))
    house.configure(tables=TABLES)
    assert os.WIFSIGNALED(forker.backup(house, tables=TABLES, now=NOW, call=1))
    assert list(house.root.iterdir()) == []
    assert house.backup().failure is None


def test_killed_again_and_again(house: House, forker: Forker) -> None:
    """What several killed runs have left lies there together."""
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "1500"))
    house.configure(tables=TABLES)
    for call in range(5, 45, 3):
        forker.backup(house, tables=TABLES, now=NOW, call=call)
    result = house.backup(now=NOW)
    assert result.failure is None
    assert leftovers(house.directory) == []
    assert result.backup_id in whole_sets(house.directory)


HOSTILE = {
    "rubbish": b"\xff\x00",
    "a list": b"[1]",
    "tables that are no list": b'{"tables": 5}',
    "a file that climbs": b'{"tables": [{"file": "../../precious_20250721_234914.csv", "index": "x"}]}',
    "a file that is absolute": b'{"tables": [{"file": "/precious_20250721_234914.csv", "index": "x"}]}',
    "a file that is a number": b'{"tables": [{"file": 5, "index": null}]}',
    "a file of another set": b'{"tables": [{"file": "t_20250101_000000.csv", "index": "x"}]}',
    "a great depth": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_leftover_that_nobody_of_us_wrote_is_swept_and_not_obeyed(house: House, kind: str) -> None:
    house.langchain()
    precious = house.root.parent / "precious_20250721_234914.csv"
    precious.write_text("precious")
    house.directory.mkdir()
    (house.directory / "t_20250101_000000.csv").write_text("of another set")
    (house.directory / "manifest_20250721_234914.json.tmp").write_bytes(HOSTILE[kind])
    assert house.backup().failure is None
    assert precious.read_text() == "precious"
    assert (house.directory / "t_20250101_000000.csv").read_text() == "of another set"
    assert not (house.directory / "manifest_20250721_234914.json.tmp").exists()


@pytest.mark.parametrize("kind", ["directory", "dangling link", "pipe"])
def test_what_only_looks_like_a_leftover_does_not_stop_a_backup(house: House, kind: str) -> None:
    house.langchain()
    house.directory.mkdir()
    for name in ("manifest_20250721_234914.json.tmp", "t_20250721_234914.csv.tmp"):
        path = house.directory / name
        if kind == "directory":
            path.mkdir()
        elif kind == "dangling link":
            path.symlink_to("nowhere")
        else:
            os.mkfifo(path)
    assert house.backup().failure is None


def test_leftovers_without_a_claim_are_swept(house: House) -> None:
    """As after a power cut, when names reach the disk in any order."""
    house.langchain()
    house.directory.mkdir()
    for name in ("langchain_pg_embedding_20250721_234914.csv.tmp", "rag.items_20250721_234914.csv.zst.tmp"):
        (house.directory / name).write_bytes(b"half")
    assert house.backup().failure is None
    assert leftovers(house.directory) == []
