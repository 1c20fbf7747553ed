"""How much memory a story takes, and a table large enough to ask."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from typing import Any

from tests.helpers import measured
from tests.helpers.house import House
from tests.helpers.python import environment

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


def command(house: House, story: str, **more: Any) -> list[str]:
    """What starts a process that tells its memory; see :mod:`tests.helpers.measured`."""
    order = {"story": story, "uri": house.database.uri(), "root": str(house.root)} | more
    return [sys.executable, measured.__file__, json.dumps(order)]


def measure(house: House, story: str, **more: Any) -> dict[str, int]:
    """What a process that does it tells of itself."""
    done = subprocess.run(command(house, story, **more), capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    return told
