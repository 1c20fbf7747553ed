"""The command line as its users have it: a process of its own, an environment, exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.house import House

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGINS = CHECKOUT / "plugins"


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which has to be JSON and nothing else."""
        return json.loads(self.out)


Command = Callable[..., Done]


def environment_of(house: House, **more: str) -> dict[str, str]:
    """An environment that knows the database and the backup root, and of nothing else that could matter."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.lstrip("_").startswith(("AIRFLOW", "PG", "DATABASE_URL", "PYTHON"))
    }
    return {
        **inherited,
        "PYTHONPATH": str(PLUGINS),
        "DATABASE_URL": house.database.uri(),
        "AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT": str(house.root),
        "AIRFLOW__PGVECTOR_BACKUP__LOCK_TIMEOUT": "2",
        "AIRFLOW_HOME": str(house.root.parent / "airflow"),
        **more,
    }
