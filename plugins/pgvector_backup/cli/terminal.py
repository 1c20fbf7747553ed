"""What people at a terminal see: progress bars, tables, a question before something is lost; logs go to stderr."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from pgvector_backup.engine.base.errors import Cancelled, InvalidParams
from pgvector_backup.engine.base.plain_text import plain, plain_lines
from pgvector_backup.engine.base.progress import OnProgress

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


def log_to_stderr(level: int) -> None:
    """Send what the engine logs to stderr."""
    logging.basicConfig(stream=sys.stderr, level=level, format=_LOG_FORMAT, datefmt="%H:%M:%S", force=True)


@contextmanager
def progress_bars(wanted: bool) -> Iterator[OnProgress | None]:
    """Bars on stderr, if that is a terminal and rich is installed; otherwise the log's lines have to do."""
    try:
        if not (wanted and sys.stderr.isatty()):
            raise ImportError
        from rich.console import Console  # noqa: PLC0415 (needed at a terminal only)
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TaskID,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
    except ImportError:
        yield None
        return
    # The bars say what lines of progress would; those would only tear them.
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def show(report: Mapping[str, Any]) -> None:
        for label, table in report["tables"].items():
            if label not in tasks:
                tasks[label] = bars.add_task(plain(label), total=table["expected_bytes"], rows=0)
            expected = table["expected_bytes"]
            # An estimate that was overtaken says nothing any more.
            total = expected if expected is None else max(expected, table["bytes"])
            bars.update(tasks[label], completed=table["bytes"], total=total, rows=table["rows"])

    with bars:
        yield show


def confirm(what: str, word: str, *, sure: bool) -> None:
    """Ask before rows or files are lost: the word has to be typed.

    :param sure: whether ``--yes`` was given
    :raises InvalidParams: when the answer is another, or there is nobody to ask
    """
    if sure:
        return
    require_terminal(what)
    with _ending_at_once():
        sys.stderr.write(f"{plain_lines(what)}\nType {word} to go on: ")
        sys.stderr.flush()
        _await_line()
        answer = sys.stdin.readline()
    if answer.strip() != word.strip():
        raise InvalidParams("not confirmed; nothing was changed")


def require_terminal(what: str) -> None:
    """Refuse to go on where nobody can be asked.

    :raises InvalidParams: then
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidParams(f"{what} Nobody can be asked here: add --yes if that is meant")


def _await_line() -> None:
    """Wait until there is something to read, or a signal has come.

    One that comes just before the read begins would not interrupt it: its handler's turn is only once that has ended.
    """
    signalled, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told)
    try:
        select.select([sys.stdin, signalled], [], [])
    finally:
        signal.set_wakeup_fd(before)
        os.close(signalled)
        os.close(told)


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the wait for an answer, after whoever else hears them; Python would wait on."""

    def end(number: int, frame: FrameType | None) -> None:
        other = others[signal.Signals(number)]
        if callable(other):
            other(number, frame)
        os.write(2, b"\n")  # a signal may come in the middle of a write
        raise Cancelled("not confirmed; nothing was changed")

    others = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in others:
            signal.signal(number, end)
        yield
    finally:
        for number, other in others.items():
            signal.signal(number, other)


def say(text: str = "") -> None:
    """A line of the result, on stdout; whatever names are in it, it stays one."""
    sys.stdout.write(f"{plain(text)}\n")


def say_lines(text: str) -> None:
    """A text of several lines that are our own, such as JSON."""
    sys.stdout.write(f"{plain_lines(text)}\n")


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
