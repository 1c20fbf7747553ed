"""The engine's tests have a database and a directory each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.database import Database
from tests.helpers.house import House


@pytest.fixture
def house(database: Database, backup_root: Path) -> House:
    """A database and a directory of one's own."""
    return House(database, backup_root)
