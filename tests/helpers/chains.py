"""What tests of increments do again and again: back up as an increment, restore any set, compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgvector_backup.engine.contract.backup_result import BackupResult
from tests.helpers.database import Database, contents, fresh
from tests.helpers.house import House


def increment(house: House, **request: Any) -> BackupResult:
    """Back up incrementally; no table may fail."""
    result = house.backup(mode="incremental", **request)
    assert result.failure is None, result.failure
    return result


@contextmanager
def restored(house: House, backup_id: str, **request: Any) -> Iterator[Database]:
    """A set, restored into a database of its own."""
    with fresh(house.database.server) as target:
        house.restore(into=target, timestamp=backup_id, **request)
        yield target


def require_equal(house: House, backup_id: str, *tables: str, wanted: dict[str, list[Any]] | None = None) -> None:
    """A set restored holds what its tables held, as of now unless the caller has looked before."""
    with restored(house, backup_id) as target:
        assert contents(target, *tables) == (wanted or contents(house.database, *tables))
