"""The command line as its users have it: a process of its own, an environment, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.engine.conftest import house
from tests.helpers import commanding
from tests.helpers.command import Command, Done, environment_of
from tests.helpers.house import House
from tests.helpers.python import environment as environment_of_ours

__all__ = ["house"]

Fork = Callable[[tuple[str, ...], dict[str, str], Path], int]


@pytest.fixture(scope="session")
def fork() -> Iterator[Fork]:
    """Run a command in a process that need not import it first; its exit code. See `commanding`."""
    process = subprocess.Popen(
        [sys.executable, commanding.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_of_ours(),
    )
    with process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def run(words: tuple[str, ...], environment: dict[str, str], place: Path) -> int:
            stdin.write(json.dumps({"words": words, "environment": environment, "place": str(place)}) + "\n")
            stdin.flush()
            return os.waitstatus_to_exitcode(int(stdout.readline()))

        yield run
        stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.fixture
def command(house: House, fork: Fork, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run ``python -m pgvector_backup`` with these words; keyword arguments are environment variables, None unsets."""

    def run(*words: str, python: str | None = None, stdin: str = "", **environment: str | None) -> Done:
        wanted: Mapping[str, str | None] = environment_of(house) | environment
        known = {name: value for name, value in wanted.items() if value is not None}
        if python is None:
            place = tmp_path_factory.mktemp("command")
            (place / "in").write_text(stdin)
            code = fork(words, known, place)
            done = Done(code, (place / "out").read_text(), (place / "err").read_text())
        else:
            ended = subprocess.run(
                [python, "-m", "pgvector_backup", *words],
                env=known,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert "Traceback" not in done.err, done.err
        return done

    return run
