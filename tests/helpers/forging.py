"""Sets altered so that every checksum still fits: what is wrong with them shows only when their rows are read."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.helpers.house import House


def manifest_of(house: House) -> Path:
    """The manifest of the only set."""
    (path,) = house.directory.glob("manifest_*.json")
    return path


def seal(path: Path, body: dict[str, Any]) -> None:
    """Write a manifest with the checksum of its own that it has to have."""
    body.pop("manifest_sha256", None)
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    body["manifest_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(body))


def reseal(house: House, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the only set's manifest, and let its checksum fit."""
    path = manifest_of(house)
    body = json.loads(path.read_bytes())
    change(body)
    seal(path, body)


def entry_of(house: House, table: str) -> dict[str, Any]:
    """What the manifest says of a table."""
    body = json.loads(manifest_of(house).read_bytes())
    return next(dict(entry) for entry in body["tables"] if entry["name"] == table)


def forge(
    house: House,
    table: str,
    blocks: Iterable[tuple[bytes, int]],
    *,
    pack: Callable[[bytes], bytes] = bytes,
    **told: Any,
) -> None:
    """Put other blocks into a table's file, with an index and a manifest to match.

    :param blocks: bytes before compression, and rows that they are said to hold
    :param told: what the manifest is to say of the table besides
    """
    entry = entry_of(house, table)
    content, index, unpacked, total = b"", b"PGVBIDX1", 0, 0
    for data, rows in blocks:
        stored = pack(data)
        content += stored
        unpacked += len(data)
        total += rows
        index += struct.pack("<IIII", len(stored), len(data), rows, zlib.crc32(stored))
    (house.directory / entry["file"]).write_bytes(content)
    (house.directory / entry["index"]).write_bytes(index)
    facts = {
        "bytes": len(content),
        "raw_bytes": unpacked,
        "rows": total,
        "sha256": hashlib.sha256(content).hexdigest(),
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }

    def change(body: dict[str, Any]) -> None:
        for one in body["tables"]:
            if one["name"] == table:
                one.update(facts | told)

    reseal(house, change)
