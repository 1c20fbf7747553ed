"""Backups that are stopped in their middle, and backups that meet."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil

from tests.helpers.gate import closed_gate, data_files, staged_bytes, wait_for_the_middle
from tests.helpers.installation import DAG_ID, LARGE_ROWS, LONG_ROWS, Installation, manifest_of, until


def test_a_retry_after_a_kill_makes_a_whole_set(installation: Installation) -> None:
    directory = installation.make_task_directory("killed")
    run_id = installation.client.trigger(DAG_ID, {"task_id": "killed", "db_connection": "pgvector_large"})
    pid = until(lambda: running_pid(installation, run_id), "the task's process", every=0.01)
    until(lambda: staged_bytes(directory) > 1_000_000, "the file to grow", every=0.002)
    os.kill(pid, signal.SIGKILL)
    left = data_files(directory)
    assert any(name.endswith(".csv.tmp") for name in left)
    assert not [name for name in left if name.endswith((".csv", ".json"))]

    outcome = installation.wait(run_id)
    assert outcome.state == "success"
    assert installation.task(run_id, "backup")["try_number"] == 2
    after = data_files(directory)
    assert not [name for name in after if name.endswith(".tmp")]
    assert [name for name in after if name.startswith("manifest_")] == [outcome.results["report"]["manifest_file"]]
    assert {table["rows"] for table in manifest_of(outcome)["tables"]} == {0, LARGE_ROWS}
    (file,) = directory.glob("langchain_pg_embedding_*.csv")
    assert file.read_bytes().count(b"\n") == LARGE_ROWS + 1
    log = installation.client.task_log(DAG_ID, run_id, "backup", 2)
    for name in left:
        assert f"removed {name}, left over by a run that was killed" in log


def test_a_killed_task_takes_the_processes_that_read_for_it_along(installation: Installation) -> None:
    installation.make_task_directory("killed_readers")
    run_id = installation.client.trigger(DAG_ID, {"task_id": "killed_readers", "db_connection": "pgvector_long"})
    pid = until(lambda: running_pid(installation, run_id), "the task's process", every=0.01)
    (reader,) = until(lambda: readers_of(pid), "another process to read", every=0.01)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(reader.pid), "the other process to end", seconds=10)

    outcome = installation.wait(run_id)
    assert outcome.state == "success"
    assert {table["rows"] for table in manifest_of(outcome)["tables"]} == {0, LONG_ROWS}
    assert "without a process of its own" not in installation.client.task_log(DAG_ID, run_id, "backup", 2)


def readers_of(pid: int) -> list[psutil.Process]:
    """The processes that read for a backup."""
    return [
        child
        for child in psutil.Process(pid).children()
        if any("reader_main" in argument for argument in child.cmdline())
    ]


def running_pid(installation: Installation, run_id: str) -> int | None:
    """The process of the backup; None as long as it does not run."""
    tasks = [task for task in installation.client.task_instances(DAG_ID, run_id) if task["task_id"] == "backup"]
    return next((int(task["pid"]) for task in tasks if task["state"] == "running" and task["pid"]), None)


def test_a_task_marked_failed_cancels_its_query_and_leaves_no_file(installation: Installation) -> None:
    directory = installation.make_task_directory("marked_failed")
    with closed_gate(installation):
        run_id = installation.client.trigger(DAG_ID, {"task_id": "marked_failed", "db_connection": "pgvector_gate"})
        wait_for_the_middle(installation, directory)
        assert installation.connections() > 0
        pid = running_pid(installation, run_id)
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/backup"
        installation.client.request("PATCH", path, {"new_state": "failed"})
        until(lambda: installation.connections() == 0, "the server to be rid of the backup's queries", seconds=30)
        until(lambda: not is_alive(pid), "the task's process to end", seconds=30)
        assert data_files(directory) == []
        outcome = installation.wait(run_id)
    assert outcome.state == "failed"
    (error,) = outcome.results["report"]["errors"]
    # The report may be under way before the task has said its last word, and then does not know.
    said = error.startswith("cancelled on request")
    assert said or "task backup is failed and gave no reason" in error
    assert outcome.results["report"]["backup_performed"] is (False if said else None)
    assert data_files(directory) == []
    log = installation.client.task_log(DAG_ID, run_id, "backup")
    assert "asked to stop; cancelling what runs on the server" in log
    assert error in (directory / "vector_backup_log.txt").read_text(encoding="utf-8")


def is_alive(pid: int | None) -> bool:
    assert pid is not None
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_run_waits_for_the_first(installation: Installation) -> None:
    directory = installation.make_task_directory("one_at_a_time")
    conf = {"task_id": "one_at_a_time", "db_connection": "pgvector_gate"}
    with closed_gate(installation):
        first = installation.client.trigger(DAG_ID, conf)
        wait_for_the_middle(installation, directory)
        second = installation.client.trigger(DAG_ID, conf)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert run_of(installation, first)["state"] == "running"
            assert run_of(installation, second)["state"] == "queued"
            assert set(installation.states(second).values()) <= {None}
            time.sleep(0.3)
    outcomes = [installation.wait(run_id) for run_id in (first, second)]
    assert [outcome.state for outcome in outcomes] == ["success", "success"]
    assert len({outcome.results["report"]["backup_id"] for outcome in outcomes}) == 2
    assert run_of(installation, second)["start_date"] >= run_of(installation, first)["end_date"]
    for outcome in outcomes:
        assert {table["rows"] for table in manifest_of(outcome)["tables"]} == {0, 500}


def run_of(installation: Installation, run_id: str) -> dict[str, Any]:
    run = installation.client.request("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}")
    assert isinstance(run, dict)
    return run
