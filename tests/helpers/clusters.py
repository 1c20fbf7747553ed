"""Clusters for drills: the first of a session is made by initdb, the others are copies of it from before its start.

Most of a small drill's work would be initdb's, which computes the same each time.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvector_backup.embedded.server import EmbeddedPostgres


@contextmanager
def remembered(directory: Path) -> Iterator[None]:
    """Within the block, drills of this process make no second cluster of a version; the first is kept here."""
    make = EmbeddedPostgres._make_cluster
    alone = threading.Lock()

    def make_or_copy(server: EmbeddedPostgres) -> None:
        kept = directory / str(server.version)
        with alone:
            if not server.confined:
                make(server)
            elif kept.exists():
                subprocess.run(["cp", "-a", str(kept), str(server.pgdata)], check=True)
            else:
                make(server)
                unfinished = kept.with_suffix(".tmp")
                subprocess.run(["cp", "-a", str(server.pgdata), str(unfinished)], check=True)
                unfinished.rename(kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedPostgres, "_make_cluster", make_or_copy)
        yield
