"""A person at a terminal: bars, a question, Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.helpers.command import environment_of
from tests.helpers.hooks import activity
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets

EMBEDDING = "langchain_pg_embedding"
SLOW = ["backup", "--max-mb-per-second", "1", "--tables", "wide"]


@dataclass
class Terminal:
    """A command whose standard streams are a terminal."""

    process: subprocess.Popen[bytes]
    master: int
    seen: bytes = field(default=b"")

    def until(self, text: str, seconds: float = 60) -> None:
        """Read until this is on the screen."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, self.seen.decode(errors="replace")
            self._read(0.1)

    def end(self) -> str:
        """Read until the process has ended; what was on the screen."""
        while self.process.poll() is None:
            self._read(0.1)
        while self._read(0.1):
            pass
        return self.seen.decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            part = os.read(self.master, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += part
        return bool(part)


@contextmanager
def terminal(house: House, *words: str, **environment: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgvector_backup", *words],
        env=environment_of(house, TERM="xterm", COLUMNS="160", **environment),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


@pytest.fixture
def wide(house: House) -> House:
    house.database.run(
        "CREATE TABLE wide (id int PRIMARY KEY, document text);"
        "INSERT INTO wide SELECT n, repeat(md5(n::text), 64) FROM generate_series(1, 6000) AS n"
    )
    return house


def test_bars_are_drawn(wide: House) -> None:
    with terminal(wide, "backup", "--tables", "wide", "--max-mb-per-second", "6") as screen:
        shown = screen.end()
        assert screen.process.returncode == 0
    assert "━" in shown
    assert "wide" in shown
    assert "6,000 rows" in shown
    assert "INFO" not in shown, "the bars say it"


def test_without_rich_there_are_lines(wide: House, tmp_path: object) -> None:
    package = wide.root.parent / "hidden" / "rich"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(package.parent), environment_of(wide)["PYTHONPATH"]])
    with terminal(wide, "backup", "--tables", "wide", "--progress-rows", "1000", PYTHONPATH=path) as screen:
        shown = screen.end()
        assert screen.process.returncode == 0
    assert "━" not in shown
    assert "wide: 6,000 rows" in shown


def test_the_question_is_answered(house: House) -> None:
    house.langchain()
    backup = house.backup()
    words = ["truncate", "--timestamp", str(backup.backup_id)]
    name, server = house.database.name, house.database.server
    with terminal(house, *words) as screen:
        screen.until(f"Type {name} to go on")
        assert EMBEDDING in screen.seen.decode()
        assert f"In database {name} (PostgreSQL " in screen.seen.decode()
        assert "by DATABASE_URL" in screen.seen.decode()
        assert str(server.port) in screen.seen.decode()
        screen.type(f"{EMBEDDING}\n")
        assert "nothing was changed" in screen.end()
        assert screen.process.returncode == 2
    assert house.count(EMBEDDING) == 58
    with terminal(house, *words) as screen:
        screen.until(f"Type {name} to go on")
        screen.type(f"{name}\n")
        screen.end()
        assert screen.process.returncode == 0
    assert house.count(EMBEDDING) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_question_ends_at_once(house: House, number: signal.Signals, code: int) -> None:
    house.langchain()
    backup = house.backup()
    with terminal(house, "truncate", "--timestamp", str(backup.backup_id)) as screen:
        screen.until("to go on")
        os.kill(screen.process.pid, number)
        assert screen.process.wait(5) == code
        assert "nothing was changed" in screen.end()
    assert house.count(EMBEDDING) == 58


def running(house: House) -> bool:
    """Whether a backup is in the middle of its rows."""
    return any(name.startswith("wide_") for name in house.files())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_order(wide: House, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pgvector_backup", *SLOW, "--json"],
        env=environment_of(wide),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not running(wide):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b'"CANCELLED"' in out
    assert b"Traceback" not in err
    assert whole_sets(wide.directory) == []
    assert leftovers(wide.directory) == []
    assert activity(wide.database) == []
    assert "FAILED" in (wide.directory / "vector_backup_log.txt").read_text()


def test_ctrl_c_at_the_terminal(wide: House) -> None:
    with terminal(wide, *SLOW) as screen:
        screen.until("━")
        # The terminal's own Ctrl-C would need it to be the process's controlling one; the signal is the same.
        screen.process.send_signal(signal.SIGINT)
        shown = screen.end()
        assert screen.process.returncode == 130
    assert "stopping" in shown
    assert leftovers(wide.directory) == []


def test_ctrl_c_in_a_restore_changes_nothing(wide: House) -> None:
    wide.configure(tables="wide")
    backup = wide.backup()
    wide.database.run("ALTER TABLE wide RENAME TO other")
    wide.database.run("CREATE TABLE wide (LIKE other INCLUDING ALL)")
    with wide.database.connect() as locker:
        locker.execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pgvector_backup",
                "restore",
                "--timestamp",
                str(backup.backup_id),
                "--lock-timeout",
                "60",
            ],
            env=environment_of(wide) | {"AIRFLOW__PGVECTOR_BACKUP__TABLES": "wide"},
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while not wide.database.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert wide.count("wide") == 0
