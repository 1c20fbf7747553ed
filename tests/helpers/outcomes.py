"""What a run left in the database and on disk, and its error."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from tests.helpers.database import Database

ERROR = {"response", "error_type", "can_retry", "timestamp"}


def rows(database: Database, table: str = "langchain_pg_embedding") -> int:
    return int(database.run(f"SELECT count(*) FROM {table}")[0][0])


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def log(directory: Path) -> str:
    return (directory / "vector_backup_log.txt").read_text(encoding="utf-8")


def check_error(error: dict[str, Any], error_type: str, *, can_retry: bool = False) -> str:
    """The error's shape and kind; its text is returned."""
    assert set(error) == ERROR
    assert error["error_type"] == error_type
    assert error["can_retry"] is can_retry
    assert datetime.fromisoformat(error["timestamp"]).tzinfo is not None
    return str(error["response"])
