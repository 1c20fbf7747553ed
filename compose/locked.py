"""Print the part of requirements.lock that the image needs beside what Airflow's own image brings.

    python locked.py requirements.lock PACKAGE…

Each package as the lock has it for this Python, with its hashes, so that pip installs that file or none.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement


def locked(lock: str, wanted: set[str]) -> list[str]:
    """The entries of a lock for some packages, those of other Pythons and systems left out."""
    chosen = []
    for entry in re.split(r"\n(?=[a-z0-9])", lock, flags=re.IGNORECASE):
        text = entry.split(" \\\n", maxsplit=1)[0].strip()
        if not text or text.startswith("#"):
            continue
        requirement = Requirement(text)
        if requirement.name in wanted and (requirement.marker is None or requirement.marker.evaluate()):
            chosen.append(entry.strip())
    return chosen


if __name__ == "__main__":
    wanted = set(sys.argv[2:])
    entries = locked(Path(sys.argv[1]).read_text(encoding="utf-8"), wanted)
    missing = wanted - {Requirement(entry.split(" \\\n", maxsplit=1)[0]).name for entry in entries}
    if missing:
        sys.exit(f"requirements.lock has no {', '.join(sorted(missing))}; write it anew: make lock")
    sys.stdout.write("\n".join(entries) + "\n")
