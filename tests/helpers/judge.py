"""What lies in a directory of sets, judged without the engine: by JSON and hashes alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def whole_sets(directory: Path) -> list[str]:
    """The ids of the sets, each of whose files is exactly what the manifest says.

    A manifest that does not verify fails the test.
    """
    found = []
    for path in sorted(directory.glob("manifest_*.json")):
        manifest = json.loads(path.read_bytes())
        for table in manifest["tables"]:
            content = (directory / table["file"]).read_bytes()
            assert len(content) == table["bytes"], table["file"]
            assert hashlib.sha256(content).hexdigest() == table["sha256"], table["file"]
        found.append(manifest["backup_id"])
    return found


def leftovers(directory: Path, *, foreign: Iterable[str] = ()) -> list[str]:
    """Names that belong to no set and are not ``foreign``."""
    known = {*foreign, "vector_backup_log.txt"}
    ids = [path.name.removeprefix("manifest_").removesuffix(".json") for path in directory.glob("manifest_*.json")]
    return sorted(
        path.name
        for path in directory.iterdir()
        if path.name not in known and (path.name.endswith(".tmp") or not any(f"_{id_}." in path.name for id_ in ids))
    )
