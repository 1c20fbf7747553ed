"""The command line as its users have it: a process of its own, an environment, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import House, house

__all__ = ["house"]

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


@pytest.fixture
def command(house: House) -> Command:
    """Run ``python -m pgvector_backup`` with these words; keyword arguments are environment variables, None unsets."""

    def run(*words: str, python: str = sys.executable, stdin: str = "", **environment: str | None) -> Done:
        known: Mapping[str, str | None] = environment_of(house) | environment
        ended = subprocess.run(
            [python, "-m", "pgvector_backup", *words],
            env={name: value for name, value in known.items() if value is not None},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return Done(ended.returncode, ended.stdout, ended.stderr)

    return run
