"""What is shipped raises no capability; demo and tests, which may run as root below root's own directories, do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.embedded.programs import EmbeddedPostgresError
from pgvector_backup.embedded.server import EmbeddedPostgres

pytestmark = pytest.mark.apart

ROOT = os.geteuid() == 0
DAC_OVERRIDE = 1 << 1


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory that only its owner may go through."""
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        Path(directory).chmod(0o700)
        yield Path(directory)


def running_as(server: EmbeddedPostgres) -> tuple[str, int]:
    """Whose process the server is, and its capabilities."""
    pid = int((server.pgdata / "postmaster.pid").read_text().split()[0])
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return psutil.Process(pid).username(), int(status["CapEff"], 16)


def test_the_demos_server_runs_as_nobody_with_the_one_capability(closed: Path) -> None:
    with OpenedPostgres(closed / "postgres", disposable=True) as server:
        with psycopg.connect(server.dsn) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        user, capabilities = running_as(server)
    if ROOT:
        assert (user, capabilities) == ("nobody", DAC_OVERRIDE)
    else:
        assert capabilities == 0


def test_the_shipped_server_asks_for_an_open_place_instead(closed: Path) -> None:
    server = EmbeddedPostgres(closed / "postgres", disposable=True)
    if ROOT:
        with pytest.raises(EmbeddedPostgresError, match="use places below directories that are open to others"):
            server.start()
    else:
        with server:
            assert running_as(server)[1] == 0
