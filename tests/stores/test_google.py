"""Sets in a bucket of Google Cloud Storage, read over `gs://`: made on a disk, and brought there by another client."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.fake_gcs import Google, fake_gcs
from tests.helpers.hooks import WIDE
from tests.helpers.house import House

_buckets = itertools.count(1)


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as running:
        yield running


@pytest.fixture
def name(google: Google) -> str:
    name = f"bucket-{next(_buckets)}"
    google.make_bucket(name)
    return name


def moved(house: House, google: Google, name: str) -> Any:
    """Back up to the disk, and go on with a bucket that holds the same."""
    result = house.backup()
    assert result.failure is None
    for file in Path(house.directory).iterdir():
        google.put(name, f"sets/vector_bak/{file.name}", file.read_bytes())
    house.configure(backup_root=google.root(f"gs://{name}/sets"))
    return result


def test_a_set_is_listed_verified_and_restored(house: House, google: Google, name: str) -> None:
    house.database.run(WIDE.replace("{rows}", "4000"))
    before = house.database.run("SELECT md5(string_agg(w::text, ',' ORDER BY w::text)) FROM wide AS w")
    house.configure(tables="wide")
    result = moved(house, google, name)
    (place,) = Catalog(house.settings).locations()
    assert [(one.backup_id, one.damaged) for one in place.sets] == [(result.backup_id, None)]
    assert place.location.directory == f"gs://{name}/sets/vector_bak"
    verified = house.verify(depth="rows")
    assert verified.failure is None
    house.database.run("DROP TABLE wide")
    house.restore()
    assert house.database.run("SELECT md5(string_agg(w::text, ',' ORDER BY w::text)) FROM wide AS w") == before


def test_an_altered_object_is_found(house: House, google: Google, name: str) -> None:
    house.langchain()
    result = moved(house, google, name)
    file = str(result.tables["langchain_pg_embedding"].file)
    content = bytearray((Path(result.directory) / file).read_bytes())
    content[len(content) // 2] ^= 1
    google.put(name, f"sets/vector_bak/{file}", bytes(content))
    with pytest.raises(IntegrityFault, match="langchain_pg_embedding"):
        house.restore(truncate_before_restore=True)
    with pytest.raises(IntegrityFault, match="langchain_pg_embedding"):
        house.truncate(result)
    assert house.count("langchain_pg_embedding") == 58


def test_what_cannot_be_written_is_no_set(house: House, google: Google, name: str) -> None:
    """This server refuses what the XML protocol writes: a clear error, and nothing emptied."""
    house.langchain()
    house.configure(backup_root=google.root(f"gs://{name}/sets"))
    with pytest.raises(StorageFault, match="invalid uploadType"):
        house.backup()
    assert Catalog(house.settings).locations() == []


def test_an_empty_bucket_and_one_that_is_not_there(house: House, google: Google, name: str) -> None:
    house.configure(backup_root=google.root(f"gs://{name}/sets"))
    with pytest.raises(NotFound, match="no backups in vector_bak"):
        house.restore()
    house.configure(backup_root=google.root("gs://nowhere/sets"))
    with pytest.raises(StorageFault):
        Catalog(house.settings).locations()
