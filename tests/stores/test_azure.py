"""Containers of Azure: what differs there from buckets of S3, against the emulator that Microsoft maintains."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault, StorageFault
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store import lease_objects, object_writer
from pgvector_backup.engine.store.naming import manifest_name
from pgvector_backup.engine.store.root import locate
from tests.helpers.azurite import ACCOUNT, Container
from tests.helpers.hooks import WIDE
from tests.helpers.house import House

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
FORMAT = "%Y%m%d_%H%M%S"
MEBIBYTE = 1 << 20


def test_a_large_table_goes_up_in_blocks_and_comes_back_by_ranges(
    house: House, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_writer, "_SMALLEST_PART", 5 * MEBIBYTE)
    house.database.run(WIDE.replace("{rows}", "8000"))
    before = house.database.run("SELECT md5(string_agg(w::text, ',' ORDER BY w::text)) FROM wide AS w")
    house.configure(backup_root=container.root, tables="wide")
    result = house.backup()
    assert result.failure is None
    assert result.tables["wide"].bytes > 15 * MEBIBYTE
    assert house.verify(depth="rows").failure is None
    house.database.run("DROP TABLE wide")
    house.restore()
    assert house.database.run("SELECT md5(string_agg(w::text, ',' ORDER BY w::text)) FROM wide AS w") == before


def test_blocks_that_were_never_committed_are_seen_by_nobody_and_swept_with_their_claim(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = locate(container.url, None, "vector_bak")
    claim = location.claim(NOW, FORMAT)
    file = claim.stage("wide", "csv", expected=20 * MEBIBYTE)
    for _ in range(20):
        file.write(os.urandom(MEBIBYTE))
    file.sync()
    assert container.names() == ["manifest_20250721_234914.json.tmp"]
    assert Catalog(Settings(backup_root=container.url)).locations() == []
    monkeypatch.setattr(lease_objects, "DEAD_AFTER", -1e9)
    assert location.sweep() == ["manifest_20250721_234914.json.tmp"]
    assert container.names() == []
    with pytest.raises(StorageFault):
        claim.commit(b"{}")
    assert manifest_name(claim.backup_id) not in container.names()


def test_an_altered_blob_is_found_before_the_truncate(house: House, container: Container) -> None:
    house.langchain()
    house.configure(backup_root=container.url)
    result = house.backup()
    name = str(result.tables["langchain_pg_embedding"].file)
    content = bytearray(container.get(name))
    content[len(content) // 2] ^= 1
    container.put(name, bytes(content))
    with pytest.raises(IntegrityFault, match="langchain_pg_embedding"):
        house.truncate(result)
    with pytest.raises(IntegrityFault, match="langchain_pg_embedding"):
        house.restore(truncate_before_restore=True)
    assert house.count("langchain_pg_embedding") == 58


def test_a_copy_goes_from_a_disk_to_a_container_and_back(house: House, container: Container) -> None:
    house.langchain()
    made = house.backup()
    assert house.copy(container.root).failure is None
    for file in house.files():
        (house.directory / file).unlink()
    home = house.root
    house.configure(backup_root=container.root)
    assert house.verify(depth="rows").failure is None
    assert house.copy(home, timestamp=str(made.backup_id)).failure is None
    house.configure(backup_root=home)
    assert house.truncate(made).rows_before == {"langchain_pg_embedding": 58}
    house.restore(on_conflict="skip")
    assert house.count("langchain_pg_embedding") == 58


def test_credentials_that_are_refused_are_named_and_not_shown(house: House, container: Container) -> None:
    house.langchain()
    wrong = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcg"
    server = replace(container.server, key=wrong)
    house.configure(backup_root=replace(container, server=server).root)
    with pytest.raises(StorageFault, match="the store refuses the credentials") as caught:
        house.backup()
    assert wrong not in str(caught.value)
    assert container.names() == []


def test_a_container_that_is_not_there_is_said_to_be_so(house: House, container: Container) -> None:
    house.langchain()
    house.configure(backup_root=container.server.root("az://nowhere/sets"))
    with pytest.raises(StorageFault, match="there is no bucket 'nowhere'"):
        house.backup()


@pytest.mark.parametrize("url", ["abfs://{name}/sets", "abfs://{name}@{account}.dfs.core.windows.net/sets"])
def test_it_may_be_named_as_hadoop_does(house: House, container: Container, url: str) -> None:
    house.langchain()
    root = container.server.root(url.format(name=container.name, account=ACCOUNT))
    house.configure(backup_root=root)
    result = house.backup()
    assert result.failure is None
    assert str(result.manifest_file) in container.names()
