"""Runs at the same time in the same directory keep out of each other's way."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.root import locate
from tests.helpers.hooks import WIDE, at_block
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets
from tests.helpers.memory import command
from tests.helpers.python import environment

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
TABLES = "langchain_pg_collection,wide,langchain_pg_embedding"


@pytest.fixture
def large(house: House) -> House:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "1500"))
    house.configure(tables=TABLES)
    return house


@pytest.mark.parametrize("number", [2, 4])
def test_threads_that_begin_in_the_same_second_make_a_set_each(large: House, number: int) -> None:
    together = threading.Barrier(number)

    def run(_: int) -> str:
        together.wait()
        result = large.backup(now=NOW)
        assert result.failure is None
        return str(result.backup_id)

    with ThreadPoolExecutor(number) as pool:
        ids = list(pool.map(run, range(number)))
    assert sorted(ids) == [f"20250721_2349{14 + later}" for later in range(number)]
    assert whole_sets(large.directory) == sorted(ids)
    assert leftovers(large.directory) == []


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.apart
def test_processes_at_once_make_a_set_each(large: House, number: int) -> None:
    backing_up = command(large, "backup", tables=TABLES)
    processes = [
        subprocess.Popen(backing_up, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    for process in processes:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert json.loads(told)["rows"] == 1500 + 58 + 4
    assert len(whole_sets(large.directory)) == number
    assert leftovers(large.directory) == []


def test_a_sweep_leaves_a_running_backup_alone(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    location = locate(large.root, None, "vector_bak")
    swept: list[str] = []
    for block in (1, 3):
        with monkeypatch.context() as patch:
            at_block(patch, block, lambda: swept.extend(location.sweep()))
            assert large.backup().failure is None
    assert swept == []
    assert len(whole_sets(large.directory)) == 2


@pytest.mark.slow
def test_many_short_runs_some_of_them_stopped_never_hurt_one_another(house: House) -> None:
    house.langchain(10)
    kept: list[str] = []

    def run(number: int) -> None:
        cancel = Cancel()
        timer = threading.Timer(number % 7 / 1000, cancel.ask) if number % 3 == 0 else None
        if timer:
            timer.start()
        try:
            result = house.backup(now=NOW, cancel=cancel)
        except Cancelled:
            return
        assert result.failure is None
        kept.append(str(result.backup_id))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(80)))
    assert len(kept) >= 50
    assert whole_sets(house.directory) == sorted(kept)
    assert leftovers(house.directory) == []
    location = locate(house.root, None, "vector_bak")
    for backup_id in kept[:5]:
        for entry in Manifest.read(location, f"manifest_{backup_id}.json").tables:
            StoredFile(location, entry).check(Cancel())


def test_task_directories_do_not_meet(large: House) -> None:
    for task_id in ("task_1", "task_2"):
        (large.root / task_id).mkdir()
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(large.backup, now=NOW, **({"task_id": t} if t else {})) for t in ("task_1", "task_2", None)]
    assert {run.result().backup_id for run in runs} == {"20250721_234914"}
    for directory in (large.root, large.root / "task_1", large.root / "task_2"):
        assert whole_sets(directory / "vector_bak") == ["20250721_234914"]


def test_sections_of_the_log_stay_whole(house: House) -> None:
    location = locate(house.root, None, "vector_bak")
    sections = [f"==== {number}\n" + f"{number}\n" * 2000 + "\n" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(location.append_log, sections))
    text = (house.directory / "vector_backup_log.txt").read_text()
    assert sorted(f"==== {part}" for part in text.split("==== ")[1:]) == sorted(sections)


def test_a_claim_made_while_another_run_sweeps_is_not_taken_for_a_leftover(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id was another claim's when the sweep began to look, and is free for a moment."""
    location = locate(house.root, None, "vector_bak")
    first = location.claim(NOW, "%Y%m%d_%H%M%S")
    first.stage("a", "csv").sync()
    made: list[Claim] = []

    def claim_again() -> None:
        again = location.claim(NOW, "%Y%m%d_%H%M%S")
        again.stage("a", "csv").sync()
        made.append(again)

    claiming = threading.Thread(target=claim_again)
    listdir, calls = os.listdir, 0

    def listing(path: Any) -> list[str]:
        nonlocal calls
        if threading.current_thread() is claiming:
            return listdir(path)
        calls += 1
        if calls == 2:
            first.discard()
            found = listdir(path)
            claiming.start()
            claiming.join(1)  # it may have to wait until the sweep is over
            return found
        return listdir(path)

    monkeypatch.setattr(os, "listdir", listing)
    location.sweep()
    claiming.join(30)
    monkeypatch.undo()
    (again,) = made
    assert again.backup_id == first.backup_id
    again.commit(b"{}")
    assert house.files() == [f"a_{again.backup_id}.csv", f"manifest_{again.backup_id}.json"]
