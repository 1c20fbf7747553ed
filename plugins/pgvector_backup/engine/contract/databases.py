"""How results name a database."""

from __future__ import annotations

from typing import Any

from pgvector_backup.engine.postgres.source import Source


def database_json(source: Source | None) -> dict[str, Any] | None:
    """A database and its server; None where nothing tells which it is."""
    if source is None:
        return None
    return {
        "database": source.database,
        "server_version": source.server_version,
        "system_identifier": source.system_identifier,
    }
