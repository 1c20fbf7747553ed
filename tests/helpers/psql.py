"""The psql that comes with the tests' server."""

from __future__ import annotations

from pathlib import Path

from pgvector_backup.embedded.server import EmbeddedPostgres


def psql_of(server: EmbeddedPostgres) -> Path:
    """The program, of the server's own version."""
    return server.bin / "psql"
