"""One run of one command: time, processor, memory, bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.places import RUNS, client_environment

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_SETTLED_WITHIN: Final = 5.0
"""Seconds that the server's backends may take to end after their client."""


class RunFailed(Exception):
    """The command did not end well; the message has the end of what it printed."""


@dataclass(frozen=True)
class Measured:
    """What one run took. Seconds and bytes.

    :param client_cpu: user and system, of the command and all its children
    :param server_cpu: the same of all the server's processes
    :param rss: peak resident memory of the command, of its largest process where it has several
    :param bytes: of the files that it left
    """

    wall: float
    client_cpu: float
    server_cpu: float
    rss: int
    bytes: int


def fresh_directory() -> Path:
    """An empty directory for one run's files, with nothing of earlier runs left to be written to the disk."""
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    os.sync()
    return RUNS


def measure(command: Sequence[str], directory: Path, server: psutil.Process) -> Measured:
    """Run a command inside a directory of its own.

    :param server: the first process of the PostgreSQL server that it reads
    :raises RunFailed: when the command's exit code is not 0
    """
    log = directory.with_suffix(".log")
    backends = set(server.children())
    before = _cpu_of(server)
    launched = subprocess.run(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(log), *command],
        cwd=directory,
        env=client_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(launched.stdout)
    if report["code"] != 0:
        end = log.read_text(errors="replace")[-2000:]
        raise RunFailed(f"{command[0]} ended with code {report['code']}:\n{end}")
    deadline = time.monotonic() + _SETTLED_WITHIN
    while not set(server.children()) <= backends and time.monotonic() < deadline:
        time.sleep(0.01)
    return Measured(
        wall=report["wall"],
        client_cpu=report["cpu"],
        server_cpu=_cpu_of(server) - before,
        rss=report["rss"],
        bytes=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
    )


def _cpu_of(server: psutil.Process) -> float:
    """Seconds that the server has used; what its ended processes used is in its own ``children_*``."""
    own = server.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for process in server.children():
        times = process.cpu_times()
        total += times.user + times.system
    return float(total)
