"""Memory does not grow with the table."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import Any

import pytest

from tests.engine import measured
from tests.engine.conftest import House

MEBIBYTE = 1 << 20
DIMENSIONS = 1536


def fill(house: House, rows: int) -> None:
    """Append vectors as fast as COPY takes them: always the same thousand rows, in PostgreSQL's binary format."""
    thousand = b"".join(
        struct.pack("!hi", 3, 8)
        + struct.pack("!q", number)
        + struct.pack("!ihh", 4 + 4 * DIMENSIONS, DIMENSIONS, 0)
        + struct.pack(f"!{DIMENSIONS}f", *((number + n) % 64 / 64 for n in range(DIMENSIONS)))
        + struct.pack("!i", 12)
        + b"a document\r\n"
        for number in range(1000)
    )
    with house.database.connect() as conn:
        conn.execute(f"CREATE TABLE IF NOT EXISTS t (id bigint, v vector({DIMENSIONS}), d text)".encode())
        with conn.cursor().copy(b"COPY t FROM STDIN (FORMAT binary)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for _ in range(rows // 1000):
                copy.write(thousand)
            copy.write(b"\xff\xff")


def measure(house: House, *, apart: bool = False, **request: Any) -> dict[str, int]:
    """What a process that backs the table up tells of itself."""
    order = {"uri": house.database.uri(), "root": str(house.root), "tables": "t", "request": request, "apart": apart}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, measured.__file__, json.dumps(order)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    for path in house.directory.iterdir():
        path.unlink()
    return told


def peak(house: House, **request: Any) -> tuple[int, int]:
    """Peak memory of a process that backs the table up, in bytes; the rows it wrote."""
    told = measure(house, **request)
    return told["peak"], told["rows"]


def test_ten_thousand_rows_or_four_times_as_many_take_the_same_memory(house: House) -> None:
    fill(house, 10_000)
    few, rows = peak(house)
    assert rows == 10_000
    fill(house, 30_000)
    many, rows = peak(house)
    assert rows == 40_000
    assert max(few, many) <= 64 * MEBIBYTE
    assert many - few <= 8 * MEBIBYTE


@pytest.mark.parametrize("request_", [{"compression": "zstd"}, {"compression": "gzip"}, {"file_format": "binary"}])
def test_other_files_stay_within_the_same_memory(house: House, request_: dict[str, str]) -> None:
    fill(house, 5_000)
    memory, _ = peak(house, **request_)
    assert memory <= 64 * MEBIBYTE


@pytest.mark.parametrize("request_", [{}, {"compression": "zstd"}, {"file_format": "binary"}])
def test_a_process_that_reads_stays_within_it_as_well(house: House, request_: dict[str, str]) -> None:
    fill(house, 5_000)
    told = measure(house, apart=True, **request_)
    assert told["rows"] == 5_000
    assert told["peak"] <= 64 * MEBIBYTE
    # With its own interpreter and its own libpq it cannot take less than this.
    assert 20 * MEBIBYTE < told["readers_peak"] <= 64 * MEBIBYTE
