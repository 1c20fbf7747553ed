"""A verify's memory does not grow with the table."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.engine.conftest import House
from tests.engine.test_memory import MEBIBYTE, fill

VERIFY = r"""
import re, sys
from datetime import datetime, timezone
from pathlib import Path
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.verify import verify

result = verify(VerifyRequest(), Settings(backup_root=sys.argv[1]), None, now=datetime.now(timezone.utc))
assert result.errors == [], result.errors
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak(house: House) -> int:
    """Peak memory of a process that verifies the newest set, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(house.root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


@pytest.mark.parametrize("request_", [{}, {"file_format": "binary", "compression": "zstd"}])
def test_two_thousand_rows_or_five_times_as_many_take_the_same_memory(house: House, request_: dict[str, str]) -> None:
    house.configure(tables="t")
    fill(house, 2_000)
    house.backup(**request_)
    few = peak(house)
    fill(house, 8_000)
    house.backup(**request_)
    many = peak(house)
    assert many <= 96 * MEBIBYTE
    assert many - few <= 8 * MEBIBYTE
