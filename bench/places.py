"""Where the benchmark keeps its things, all of it below ``.bench``, and the Python with the other readers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
DIRECTORY: Final = CHECKOUT / ".bench"
RUNS: Final = DIRECTORY / "runs"
RAW: Final = DIRECTORY / "measurements.json"
REQUIREMENTS: Final = CHECKOUT / "bench" / "requirements.txt"
PYTHON: Final = DIRECTORY / "venv" / "bin" / "python"
"""Of an environment of its own: what the other readers need is no part of the project."""

_STAMP: Final = DIRECTORY / "venv" / "installed-from"


def client_environment() -> dict[str, str]:
    """For every contender: ours, without what would steer libpq or Python."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    return inherited | {"PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugins")))}


def install_readers() -> None:
    """Make the environment of the other readers; what does not install is left out, its rows will say so."""
    wanted = f"{CHECKOUT}\n{REQUIREMENTS.read_text()}"
    if PYTHON.exists() and _STAMP.exists() and _STAMP.read_text() == wanted:
        return
    print("installing the other readers into .bench/venv …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PYTHON.parent.parent)], check=True)
    if not _pip("-r", str(REQUIREMENTS)):
        for line in REQUIREMENTS.read_text().splitlines():
            if line and not line.startswith("#") and not _pip(line):
                print(f"  did not install: {line}", flush=True)
    _STAMP.write_text(wanted)


def installed(module: str) -> bool:
    """Whether the other readers' Python has this module."""
    return find(module) is not None


def find(module: str) -> Path | None:
    """Where the other readers' Python has this package."""
    if not PYTHON.exists():
        return None
    code = f"import importlib.util as u; s = u.find_spec({module!r}); print(s.origin if s else '')"
    origin = subprocess.run([str(PYTHON), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return Path(origin).parent if origin else None


def _pip(*wanted: str) -> bool:
    command = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir", *wanted]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
