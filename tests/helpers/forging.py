"""Sets altered so that every checksum still fits: what is wrong with them shows only when their rows are read."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.helpers.house import House


def manifest_of(house: House) -> Path:
    """The manifest of the only set."""
    (path,) = house.directory.glob("manifest_*.json")
    return path


def seal(path: Path, body: dict[str, Any]) -> None:
    """Write a manifest with the checksum of its own that it has to have."""
    body.pop("manifest_sha256", None)
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    body["manifest_sha256"] = hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()
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


def mutations() -> st.SearchStrategy[tuple[list[Any], Any]]:
    """Where in a manifest to put what, both of them odd."""
    steps = st.lists(st.integers(0, 40), min_size=1, max_size=6)
    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(st.characters(), max_size=12)
        | st.sampled_from(["../x", "a\0b", "\ud800", "20260101_000000", "", "0" * 300]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    return st.tuples(steps, values)


def put(body: Any, steps: list[int], value: Any) -> None:
    """Walk down a manifest by numbers, and put a value where the way ends."""
    for at, step in enumerate(steps):
        names = list(body) if isinstance(body, dict) else list(range(len(body)))
        if not names:
            return
        name = names[step % len(names)]
        if at == len(steps) - 1 or not isinstance(body[name], (dict, list)):
            body[name] = value
            return
        body = body[name]
