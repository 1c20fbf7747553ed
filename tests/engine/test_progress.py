"""What a listener is told of a backup's progress, and that it cannot disturb the backup."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import pytest

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.base.progress import OnProgress
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.contract.requests import BackupRequest
from tests.helpers.hooks import WIDE, at_block
from tests.helpers.house import House

FIELDS = {
    "rows",
    "bytes",
    "expected_rows",
    "expected_bytes",
    "share",
    "seconds",
    "seconds_left",
    "bytes_per_second",
    "tables",
}


@pytest.fixture
def large(house: House) -> House:
    house.database.run(WIDE.replace("{rows}", "4000"))
    house.database.run("CREATE TABLE small (id int)")
    house.configure(tables="wide,small")
    return house


def run(house: House, listener: OnProgress) -> BackupResult:
    return backup(BackupRequest(), house.settings, house.connect, now=datetime.now(timezone.utc), on_progress=listener)


def test_it_grows_to_the_whole(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, Any]] = []
    middle = threading.Event()

    def listen(report: Mapping[str, Any]) -> None:
        told.append(report)
        if 0 < report["rows"] < 4000:
            middle.set()

    at_block(monkeypatch, 5, lambda: middle.wait(10))
    result = run(large, listen)
    assert middle.is_set()
    assert all(set(report) == FIELDS for report in told)
    assert [report["rows"] for report in told] == sorted(report["rows"] for report in told)
    (between,) = [report for report in told if 0 < report["rows"] < 4000][:1]
    assert 0 < between["share"] < 1
    assert between["seconds_left"] > 0
    last = told[-1]
    assert last["rows"] == 4000
    assert last["tables"]["wide"]["rows"] == result.tables["wide"].rows
    assert last["tables"]["wide"]["expected_rows"] == pytest.approx(4000, rel=0.1)
    assert last["share"] == pytest.approx(1, abs=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_listener_that_fails_costs_the_reports_only(large: House, caplog: pytest.LogCaptureFixture) -> None:
    def listen(report: Mapping[str, Any]) -> None:
        raise RuntimeError("nobody there")

    assert run(large, listen).failure is None
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    # The tests' role is a superuser, which is worth one as well.
    assert [one for one in warnings if "is a superuser" not in one] == [
        "progress is not reported any more: RuntimeError"
    ]


def test_the_last_word_is_said_when_the_backup_fails(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, Any]] = []

    def break_down() -> None:
        raise MemoryError

    at_block(monkeypatch, 3, break_down)
    with pytest.raises(MemoryError):
        run(large, told.append)
    assert told[-1]["rows"] < 4000
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
