"""Where a run of the tests keeps its files: in memory, where the machine has room, and nothing stays behind.

The tests make thousands of databases and sets and look at each once. On a disk half of their time went into creating
and removing files; that files reach a disk is shown by the calls that are made (``test_durability``), not by waiting.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH = 6 << 30
_NAME = "pgvector_backup-tests-"


def prepared() -> Path | None:
    """A new directory in memory for this process and its children; None where there is none to be had."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK | os.X_OK):
        return None
    there = os.statvfs(MEMORY)
    if there.f_flag & os.ST_NOEXEC or min(there.f_bavail * there.f_frsize, _available()) < ENOUGH:
        return None
    _sweep()
    made = MEMORY / f"{_NAME}{os.getpid()}"
    made.mkdir()
    made.chmod(0o1777)  # as any temporary directory: a server that root starts runs as nobody
    return made


def _available() -> int:
    """Bytes of memory that can be had without swapping, in a container no more than it may take."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(found[1]) << 10 if found else 0
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    return free if allowed == "max" else min(free, int(allowed))


def _sweep() -> None:
    """Remove what a killed run left."""
    for left in MEMORY.glob(f"{_NAME}*"):
        if left.stat().st_uid == os.geteuid() and not Path("/proc", left.name.removeprefix(_NAME)).exists():
            shutil.rmtree(left, ignore_errors=True)


def move_into(made: Path) -> None:
    """Let this process and its children make their temporary files there."""
    os.environ["TMPDIR"] = str(made)
    tempfile.tempdir = None
