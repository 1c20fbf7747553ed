"""Backups that stand still in their middle, and how far they came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.helpers.installation import Installation, until

WAITING_AT_GATE = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextmanager
def closed_gate(installation: Installation) -> Iterator[None]:
    """While this lasts, a backup of the database `gate` stops in its middle."""
    with psycopg.connect(installation.server.uri("gate"), autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(1)")
        yield


def staged_bytes(directory: Path) -> int:
    """How much of the embeddings is on disk while they are being written."""
    total = 0
    for path in directory.glob("langchain_pg_embedding_*.csv.tmp"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def wait_for_the_middle(installation: Installation, directory: Path) -> None:
    until(lambda: installation.query("gate", WAITING_AT_GATE), "the backup's query to wait at the gate")
    until(lambda: staged_bytes(directory) > 1_000_000, "the file to grow")


def data_files(directory: Path) -> list[str]:
    """What lies there apart from the log."""
    return sorted(path.name for path in directory.iterdir() if path.name != "vector_backup_log.txt")
