"""The command line as its users have it: a process of its own, an environment, exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.engine.conftest import house
from tests.helpers.command import Command, Done, environment_of
from tests.helpers.house import House

__all__ = ["house"]


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
