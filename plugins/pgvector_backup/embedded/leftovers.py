"""Servers that have lost their owners: what still runs in their directories is ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from pgvector_backup.embedded.locks import DirectoryInUseError, lock_directory


def remove_abandoned(directory: Path) -> bool:
    """Remove the directory of a disposable server whose owner is dead, with whatever still runs there.

    :return: whether it was abandoned, and is gone
    """
    try:
        lock = lock_directory(directory, seconds=0)
    except (DirectoryInUseError, OSError):
        return False
    try:
        data = directory / "data"
        if data.exists():
            end_processes_inside(data)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
    return not directory.exists()


def end_processes_inside(data: Path) -> None:
    """End the PostgreSQL processes at work in a data directory."""
    processes = list(_processes_inside(data))
    for number in (signal.SIGINT, signal.SIGKILL):  # fast shutdown, then force
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, processes = psutil.wait_procs(processes, timeout=10)


def _processes_inside(directory: Path) -> Iterator[psutil.Process]:
    """The PostgreSQL processes at work in a data directory: every one of them changes into it."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "postgres" and os.path.samefile(process.cwd(), directory):
                yield process
