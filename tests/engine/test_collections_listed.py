"""A set says which of LangChain's collections it holds, and how many embeddings of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.consolidate import consolidate
from pgvector_backup.engine.dump import langchain_collections
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.sets import collection_entry
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.collection_entry import CollectionEntry
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.set_json import describe_set
from tests.helpers.house import House

NOW = datetime(2026, 11, 25, 2, tzinfo=timezone.utc)


def listed(house: House, backup_id: str | None = None) -> Any:
    """Names and rows, as the set's JSON has them."""
    catalog = Catalog(house.settings)
    found = catalog.find(catalog.place("vector_bak", None), backup_id or "latest")
    told = describe_set(found, has_log=False)["collections"]
    return None if told is None else [(one["name"], one["rows"]) for one in told]


def test_collections_are_listed_with_the_rows_of_the_moment(house: House) -> None:
    house.langchain(58)
    house.database.run("""
        INSERT INTO langchain_pg_collection (name) VALUES ('empty, "of" 😀');
        INSERT INTO langchain_pg_embedding (id) VALUES ('of none');
    """)
    house.backup(now=NOW)
    assert listed(house) == [
        ("collection 1", 14),
        ("collection 2", 15),
        ("collection 3", 15),
        ("collection 4", 14),
        ('empty, "of" 😀', 0),
    ]


def test_an_increment_lists_all_and_not_only_what_it_wrote(house: House) -> None:
    house.langchain(58)
    house.backup(mode="incremental", now=NOW)
    house.database.run("DELETE FROM langchain_pg_embedding WHERE id = 'id-4'")
    made = house.backup(mode="incremental", now=NOW + timedelta(minutes=1))
    assert made.chain_length == 2
    assert dict(listed(house))["collection 1"] == 13
    catalog = Catalog(house.settings)
    location = catalog.place("vector_bak", None)
    whole = consolidate(location, catalog.find(location, "latest"), house.settings, now=NOW + timedelta(minutes=2))
    assert dict(listed(house, whole.backup_id))["collection 1"] == 13


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE TABLE t (id int PRIMARY KEY, v vector(3))",
        "CREATE TABLE t (uuid uuid, name varchar)",
        "CREATE TABLE t (uuid text, name varchar); CREATE TABLE e (collection_id text, v vector(3))",
        "CREATE TABLE t (uuid uuid, name bytea); CREATE TABLE e (collection_id uuid, v vector(3))",
    ],
)
def test_tables_that_are_not_langchains_list_none(house: House, tables: str) -> None:
    house.database.run(tables)
    house.configure(tables="t,e" if "TABLE e" in tables else "t")
    house.backup()
    assert listed(house) is None
    assert b'"collections"' not in next(house.directory.glob("manifest_*.json")).read_bytes()


def test_names_that_are_not_unique_and_none_at_all(house: House) -> None:
    house.database.run("""
        CREATE TABLE c (uuid uuid, name text); CREATE TABLE e (collection_id uuid, v vector(3));
        INSERT INTO c VALUES ('00000000-0000-0000-0000-000000000001', 'same'),
            ('00000000-0000-0000-0000-000000000002', 'same'),
            ('00000000-0000-0000-0000-000000000003', NULL), (NULL, '');
        INSERT INTO e VALUES ('00000000-0000-0000-0000-000000000002', NULL), (NULL, NULL);
    """)
    house.configure(tables="c,e")
    house.backup()
    assert listed(house) == [("", 0), ("same", 0), ("same", 1)]


def test_a_count_that_fails_or_finds_too_many_costs_the_list_and_nothing_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain(58)
    monkeypatch.setattr(langchain_collections, "_PATIENCE", 0.001)
    monkeypatch.setattr(
        langchain_collections, "_of", lambda conn, *_: conn.execute("SELECT pg_sleep(1)").fetchall() or []
    )
    assert house.backup(now=NOW).failure is None
    assert listed(house) is None
    monkeypatch.undo()
    for module in (langchain_collections, collection_entry):
        monkeypatch.setattr(module, "AT_MOST", 3)
    assert house.backup(now=NOW + timedelta(minutes=1)).failure is None
    assert listed(house) is None


@pytest.mark.parametrize(
    "forged",
    [
        (CollectionEntry("a", "not a uuid", 1),),
        (CollectionEntry("a", "00000000-0000-0000-0000-000000000001", -1),),
        (CollectionEntry("a", "00000000-0000-0000-0000-000000000001", 1),) * 2,
        (CollectionEntry("a" * 100_000, "00000000-0000-0000-0000-000000000001", 1),),
    ],
    ids=["uuid", "rows", "twice", "name"],
)
def test_what_no_backup_of_ours_says_is_refused(house: House, forged: tuple[CollectionEntry, ...]) -> None:
    house.langchain(1)
    made = house.backup()
    manifest = Manifest.from_bytes((house.directory / str(made.manifest_file)).read_bytes())
    with pytest.raises(IntegrityFault, match="shape"):
        Manifest.from_bytes(replace(manifest, collections=forged).to_bytes())


def test_a_count_that_is_late_is_over_before_its_connection_is_needed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain(5)
    count, ended = langchain_collections._of, []

    def late(conn: Any, *tables: Any) -> Any:
        conn.execute("SELECT pg_sleep(0.5)")
        counted = list(count(conn, *tables))
        ended.append(True)
        return counted

    awaited = Snapshot.await_disk

    def waits(snapshot: Snapshot) -> None:
        assert ended
        awaited(snapshot)

    monkeypatch.setattr(langchain_collections, "_of", late)
    monkeypatch.setattr(Snapshot, "await_disk", waits)
    house.backup(mode="incremental")
    assert len(listed(house)) == 4
