"""Backups whose second connection is a process of its own, however small the tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from pgvector_backup.engine.dump import copy_out
from pgvector_backup.engine.dump.reader import LocalReader
from pgvector_backup.engine.dump.reader_process import ReaderProcess
from pgvector_backup.engine.sets.blocks import Block

WAIT_SECONDS = 30


def read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, start a process for each connection but the first."""
    monkeypatch.setattr(copy_out, "_WORTH_PROCESSES", 0)


def at_block_of_process(
    monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[psutil.Process], object]
) -> threading.Event:
    """Call ``action`` when a process has handed over its ``number``-th block; the other connections wait until then.

    :return: set when that has happened
    """
    read_apart(monkeypatch)
    local, remote = LocalReader.blocks, ReaderProcess.blocks
    reached = threading.Event()
    lock = threading.Lock()
    seen = 0

    def waiting(self: LocalReader, *query: Any) -> Generator[Block]:
        for block in local(self, *query):
            reached.wait(WAIT_SECONDS)
            yield block

    def counting(self: ReaderProcess, *query: Any) -> Generator[Block]:
        nonlocal seen
        for block in remote(self, *query):
            with lock:
                seen += 1
                if seen == number:
                    try:
                        action(psutil.Process(self.pid))
                    finally:
                        reached.set()
            yield block

    monkeypatch.setattr(LocalReader, "blocks", waiting)
    monkeypatch.setattr(ReaderProcess, "blocks", counting)
    return reached


def processes() -> list[int]:
    """Readers of this process that are still there."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("reader_main" in part for part in child.cmdline()):
                found.append(child.pid)
    return found
