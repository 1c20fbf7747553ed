"""A request to stop is heard at every stage; nothing is left of the run, here or on the server."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.dump import ranges
from pgvector_backup.engine.postgres import transactions
from pgvector_backup.engine.store.staging import StagedFile
from pgvector_backup.engine.truncate import truncate
from tests.helpers.hooks import WIDE, activity, at_block
from tests.helpers.house import House


@pytest.fixture
def large(house: House) -> House:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "8000"))
    house.configure(tables="langchain_pg_collection,wide,langchain_pg_embedding")
    return house


def assert_nothing_is_left(house: House) -> None:
    assert house.files() == []
    deadline = time.monotonic() + 5  # a backend notices a closed connection in its own time
    while activity(house.database) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert activity(house.database) == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("copy", "finish"))] == []


class Watcher(threading.Thread):
    """Asks as soon as the server waits for a lock on the run's behalf; that it did is checked when it is joined."""

    def __init__(self, house: House, cancel: Cancel) -> None:
        super().__init__()
        self._house = house
        self._cancel = cancel
        self._seen = False

    def run(self) -> None:
        deadline = time.monotonic() + 30
        while not self._seen and time.monotonic() < deadline:
            self._seen = bool(
                self._house.database.run(
                    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
            time.sleep(0.01)
        self._cancel.ask()

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        assert self._seen, "nothing waited for a lock"


def when_waiting(house: House, cancel: Cancel) -> Watcher:
    """Ask as soon as the server waits for a lock on the run's behalf."""
    watcher = Watcher(house, cancel)
    watcher.start()
    return watcher


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("block", [1, 7])
def test_in_the_middle_of_a_table(large: House, monkeypatch: pytest.MonkeyPatch, jobs: int, block: int) -> None:
    large.configure(jobs=jobs)
    cancel = Cancel()
    at_block(monkeypatch, block, cancel.ask)
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    assert_nothing_is_left(large)


def test_before_the_first_connection(large: House) -> None:
    cancel = Cancel()
    cancel.ask()
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    assert_nothing_is_left(large)


def test_while_it_waits_for_a_lock(large: House) -> None:
    large.configure(lock_timeout=60)
    cancel = Cancel()
    with large.database.connect() as other:
        other.execute("LOCK TABLE wide")
        watcher = when_waiting(large, cancel)
        started = time.monotonic()
        with pytest.raises(Cancelled):
            large.backup(cancel=cancel)
        assert time.monotonic() - started < 20
        watcher.join()
    assert_nothing_is_left(large)


@pytest.mark.parametrize("step", ["estimate", "header", "cutter"])
def test_while_it_plans(large: House, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A cancel in the first table's plan is heard before the second's begins."""
    cancel = Cancel()
    calls = []
    original = getattr(ranges, step)

    def asking(*args: object, **named: object) -> object:
        calls.append(args)
        cancel.ask()
        return original(*args, **named)

    monkeypatch.setattr(f"pgvector_backup.engine.dump.table_plans.{step}", asking)
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    assert len(calls) == 1
    assert_nothing_is_left(large)


def test_while_the_server_is_busy_with_one_long_query(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Cancel()

    def sleeping(conn: object, *_: object) -> object:
        threading.Timer(0.2, cancel.ask).start()
        return conn.execute("SELECT pg_sleep(60)")  # type: ignore[attr-defined]

    monkeypatch.setattr(transactions, "late", sleeping)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    assert time.monotonic() - started < 20
    assert_nothing_is_left(large)


def test_when_the_last_row_was_read(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As late as a run can still be stopped: the set either is whole or is not there."""
    cancel = Cancel()
    sync = StagedFile.sync

    def asking(self: StagedFile) -> None:
        cancel.ask()
        sync(self)

    monkeypatch.setattr(StagedFile, "sync", asking)
    try:
        result = large.backup(cancel=cancel)
    except Cancelled:
        assert_nothing_is_left(large)
    else:
        assert result.failure is None


def test_asked_for_twice_is_asked_for_once(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Cancel()

    def ask_twice() -> None:
        cancel.ask()
        cancel.ask()

    at_block(monkeypatch, 2, ask_twice)
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    assert_nothing_is_left(large)


class Interrupted(BaseException):
    """What a signal handler raises in the main thread, as Airflow's time limit does."""


@pytest.fixture
def interrupting() -> Iterator[Callable[[], None]]:
    """Interrupts the main thread; safe to call from any other."""

    def raise_it(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, raise_it)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_exception_out_of_a_signal_handler_stops_every_reader(
    large: House, monkeypatch: pytest.MonkeyPatch, interrupting: Callable[[], None], jobs: int
) -> None:
    large.configure(jobs=jobs)
    at_block(monkeypatch, 3, interrupting)
    discard = StagedFile.discard
    still_reading: list[str] = []

    def noting(self: StagedFile) -> None:
        # The other thread that discards does so to one table's files, when the last reader has left that table.
        if threading.current_thread() is threading.main_thread():
            still_reading.extend(thread.name for thread in threading.enumerate() if thread.name.startswith("copy"))
        discard(self)

    monkeypatch.setattr(StagedFile, "discard", noting)
    with pytest.raises(Interrupted):
        large.backup()
    assert still_reading == []  # a reader that writes into a closed file may write into another one
    assert_nothing_is_left(large)


def test_a_truncate_that_waits_for_its_lock(large: House) -> None:
    large.configure(truncate_tables="langchain_pg_embedding", lock_timeout=60)
    result = large.backup()
    cancel = Cancel()
    with large.database.connect() as other:
        other.execute("LOCK TABLE langchain_pg_embedding IN ACCESS SHARE MODE")
        watcher = when_waiting(large, cancel)
        with pytest.raises(Cancelled):
            truncate(
                BackupRequest(),
                large.settings,
                large.connect,
                manifest_file=str(result.manifest_file),
                cancel=cancel,
            )
        watcher.join()
    assert large.count("langchain_pg_embedding") == 58


def test_a_truncate_that_reads_its_files(large: House) -> None:
    large.configure(truncate_tables="langchain_pg_embedding")
    result = large.backup()
    cancel = Cancel()
    cancel.ask()
    with pytest.raises(Cancelled):
        truncate(BackupRequest(), large.settings, large.connect, manifest_file=str(result.manifest_file), cancel=cancel)
    assert large.count("langchain_pg_embedding") == 58


def test_one_runs_cancel_is_no_other_runs(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs at once; one is asked to stop."""
    cancel = Cancel()
    results = []
    other = threading.Thread(target=lambda: results.append(large.backup()))

    def begin_other_then_ask() -> None:
        other.start()
        cancel.ask()

    at_block(monkeypatch, 2, begin_other_then_ask)
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    other.join()
    assert results[0].failure is None
