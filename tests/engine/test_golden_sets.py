"""Sets that earlier releases made, verified and restored by this one.

Each directory below `tests/golden/` is a backup root as that release left it, one set for each format and compression,
and `rows.json` beside it: how many rows each table held and what they hash to on the server. They are never made anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.database import Database
from tests.helpers.house import House

GOLDEN = Path(__file__).parents[1] / "golden"
MANIFESTS = sorted(GOLDEN.glob("*/vector_bak/manifest_*.json"))
FINGERPRINT = "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {} t"


def named(manifest: Path) -> str:
    """Release, format and compression of a set."""
    table = json.loads(manifest.read_text())["tables"][0]
    return f"{manifest.parents[1].name}-{table['format']}-{table['compression']}"


@pytest.fixture(params=MANIFESTS, ids=named)
def golden(request: Any, house: House) -> tuple[str, dict[str, Any]]:
    """A set's id, in a root of the test's own, and what its tables held."""
    manifest: Path = request.param
    shutil.copytree(manifest.parents[1], house.root, dirs_exist_ok=True)
    return json.loads(manifest.read_text())["backup_id"], json.loads((house.root / "rows.json").read_text())


def test_every_format_and_compression_is_there() -> None:
    assert sorted(named(manifest) for manifest in MANIFESTS if manifest.parents[1].name == "0.1.0") == [
        f"0.1.0-{form}-{packing}" for form in ("binary", "csv") for packing in ("gzip", "none", "zstd")
    ]


def test_a_set_of_an_earlier_release_is_whole(house: House, golden: tuple[str, dict[str, Any]]) -> None:
    timestamp, rows = golden
    result = house.verify(backup_path="vector_bak", timestamp=timestamp, depth="rows")
    (found,) = result.to_json()["sets"]
    assert found["ok"]
    assert {name: (table["rows"], table["fingerprint"]) for name, table in found["tables"].items()} == {
        name: (held["rows"], "equal") for name, held in rows.items()
    }


def test_a_set_of_an_earlier_release_comes_back(
    house: House, golden: tuple[str, dict[str, Any]], elsewhere: Database
) -> None:
    timestamp, rows = golden
    house.restore(timestamp=timestamp, create_missing=True, into=elsewhere)
    for name, held in rows.items():
        assert elsewhere.run(FINGERPRINT.format(name)) == [(held["rows"], held["md5"])]
    indexes = elsewhere.run("SELECT indexdef FROM pg_indexes WHERE tablename = 'langchain_pg_embedding'")
    assert sorted(one.split(" USING ")[1] for (one,) in indexes) == [
        "btree (id)",
        "gin (cmetadata jsonb_path_ops)",
        "hnsw (embedding vector_cosine_ops)",
    ]
