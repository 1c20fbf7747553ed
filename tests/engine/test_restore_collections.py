"""Only some collections of LangChain's pair, and collections under another name beside the original."""

from __future__ import annotations

from typing import Any

import pytest

from pgvector_backup.engine.base.errors import Conflict, InvalidParams, NotFound
from tests.helpers.database import Database, contents
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

COLLECTION, EMBEDDING = PAIR

OLDER = """
ALTER TABLE langchain_pg_embedding DROP CONSTRAINT langchain_pg_embedding_pkey;
ALTER TABLE langchain_pg_embedding RENAME id TO custom_id;
ALTER TABLE langchain_pg_embedding ADD COLUMN uuid uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY;
"""


@pytest.fixture(params=["csv", "binary"])
def backed_up(house: House, request: pytest.FixtureRequest) -> House:
    house.langchain()
    house.backup(file_format=request.param)
    return house


def by_collection(database: Database) -> dict[str, set[Any]]:
    """Document and vector of each embedding, by the name of its collection."""
    rows = database.run(
        "SELECT c.name, e.document, e.embedding::text, e.cmetadata::text FROM langchain_pg_embedding e"
        " JOIN langchain_pg_collection c ON c.uuid = e.collection_id"
    )
    found: dict[str, set[Any]] = {}
    for name, *rest in rows:
        found.setdefault(name, set()).add(tuple(rest))
    return found


def test_some_collections_into_an_empty_database(backed_up: House, elsewhere: Database) -> None:
    before = by_collection(backed_up.database)
    wanted = ["collection 1", "collection 3"]
    result = backed_up.restore(collections=wanted, into=elsewhere)
    assert by_collection(elsewhere) == {name: before[name] for name in wanted}
    assert elsewhere.run("SELECT name FROM langchain_pg_collection ORDER BY 1") == [(name,) for name in wanted]
    table = result.tables[EMBEDDING]
    assert table.rows + table.left_out == 58


def test_a_collection_that_was_deleted(backed_up: House) -> None:
    before = contents(backed_up.database, *PAIR)
    backed_up.database.run("DELETE FROM langchain_pg_collection WHERE name = 'collection 2'")
    assert backed_up.count(COLLECTION) == 3
    result = backed_up.restore(collections=["collection 2"])
    assert contents(backed_up.database, *PAIR) == before
    assert result.tables[COLLECTION].rows == 1


def test_embeddings_alone_of_some_collections(backed_up: House) -> None:
    before = contents(backed_up.database, *PAIR)
    backed_up.database.run(
        "DELETE FROM langchain_pg_embedding e USING langchain_pg_collection c"
        " WHERE c.uuid = e.collection_id AND c.name = 'collection 2'"
    )
    backed_up.restore(collections=["collection 2"], tables=[EMBEDDING])
    assert contents(backed_up.database, *PAIR) == before


def test_a_copy_beside_the_original(backed_up: House) -> None:
    before = by_collection(backed_up.database)
    original = contents(backed_up.database, *PAIR)
    result = backed_up.restore(collections=["collection 2"], rename_collection={"collection 2": "copy"})
    assert by_collection(backed_up.database) == {**before, "copy": before["collection 2"]}
    assert "new ones" in " ".join(result.tables[EMBEDDING].notes)
    # Once more: the same collection and the same embeddings, not a third of each.
    with pytest.raises(Conflict):
        backed_up.restore(collections=["collection 2"], rename_collection={"collection 2": "copy"})
    again = backed_up.restore(
        collections=["collection 2"], rename_collection={"collection 2": "copy"}, on_conflict="skip"
    )
    assert again.tables[EMBEDDING].rows == 0
    backed_up.database.run("DELETE FROM langchain_pg_collection WHERE name = 'copy'")
    assert contents(backed_up.database, *PAIR) == original


def test_what_is_renamed_is_restored_alone(backed_up: House, elsewhere: Database) -> None:
    before = by_collection(backed_up.database)
    backed_up.restore(rename_collection={"collection 2": "copy"}, into=elsewhere)
    assert by_collection(elsewhere) == {"copy": before["collection 2"]}
    backed_up.restore(rename_collection={"collection 2": "copy"})
    assert by_collection(backed_up.database) == {**before, "copy": before["collection 2"]}


def test_the_copy_stays_itself_when_the_original_is_gone(backed_up: House) -> None:
    request = {"collections": ["collection 2"], "rename_collection": {"collection 2": "copy"}}
    backed_up.restore(**request)
    backed_up.database.run("DELETE FROM langchain_pg_collection WHERE name = 'collection 2'")
    rows = backed_up.count(EMBEDDING)
    assert backed_up.restore(**request, on_conflict="skip").tables[EMBEDDING].rows == 0
    assert backed_up.count(EMBEDDING) == rows


def test_renamed_into_an_empty_database_keys_stay(backed_up: House, elsewhere: Database) -> None:
    before = by_collection(backed_up.database)
    swapped = {"collection 1": "collection 2", "collection 2": "collection 1"}
    backed_up.restore(collections=list(before), rename_collection=swapped, into=elsewhere)
    after = by_collection(elsewhere)
    assert after["collection 1"] == before["collection 2"]
    assert after["collection 2"] == before["collection 1"]
    assert after["collection 3"] == before["collection 3"]
    ids = "SELECT id FROM langchain_pg_embedding ORDER BY 1"
    assert elsewhere.run(ids) == backed_up.database.run(ids)
    uuids = "SELECT uuid FROM langchain_pg_collection WHERE name IN ('collection 1', 'collection 2')"
    assert not set(elsewhere.run(uuids)) & set(backed_up.database.run(uuids))


def test_the_older_shape_of_the_pair(house: House) -> None:
    house.langchain()
    house.database.run(OLDER)
    house.backup()
    before = by_collection(house.database)
    house.restore(collections=["collection 4"], rename_collection={"collection 4": "copy"})
    assert by_collection(house.database) == {**before, "copy": before["collection 4"]}


def test_a_set_of_other_tables(house: House) -> None:
    house.database.run("CREATE TABLE t (id int)")
    house.configure(tables="t")
    house.backup()
    with pytest.raises(InvalidParams, match="no pair"):
        house.restore(collections=["x"])


def test_a_pair_of_other_names(house: House) -> None:
    """Which table is the collections' is known by its columns, whatever it is called."""
    house.langchain()
    house.database.run("ALTER TABLE langchain_pg_collection RENAME TO a_collection")
    house.configure(tables="a_collection,langchain_pg_embedding", truncate_tables=EMBEDDING)
    before = contents(house.database, "a_collection", EMBEDDING)
    house.backup()
    house.database.run("DELETE FROM a_collection WHERE name = 'collection 2'")
    assert house.restore(collections=["collection 2"]).tables["a_collection"].rows == 1
    assert contents(house.database, "a_collection", EMBEDDING) == before


@pytest.mark.parametrize("other", ["a_table", "zz_table"])
def test_of_two_tables_with_uuid_and_name_the_one_of_langchain_s_name(house: House, other: str) -> None:
    house.langchain()
    house.database.run(f"CREATE TABLE {other} (uuid uuid PRIMARY KEY, name text)")
    house.configure(tables=f"{COLLECTION},{EMBEDDING},{other}", truncate_tables=EMBEDDING)
    house.backup()
    house.database.run("DELETE FROM langchain_pg_collection WHERE name = 'collection 2'")
    house.restore(tables=list(PAIR), collections=["collection 2"])
    assert house.count(COLLECTION) == 4


def test_two_candidates_and_none_of_langchain_s_name(house: House) -> None:
    house.langchain()
    house.database.run(
        "CREATE TABLE b (uuid uuid PRIMARY KEY, name text); ALTER TABLE langchain_pg_collection RENAME TO a"
    )
    house.configure(tables=f"a,b,{EMBEDDING}", truncate_tables=EMBEDDING)
    house.backup()
    with pytest.raises(InvalidParams, match="no pair of LangChain's tables"):
        house.restore(collections=["collection 2"])


def test_of_many_collections_twenty_are_named(house: House) -> None:
    house.langchain()
    house.database.run(
        "INSERT INTO langchain_pg_collection (uuid, name)"
        " SELECT gen_random_uuid(), 'x' || i FROM generate_series(1, 16) AS i"
    )
    house.backup()
    with pytest.raises(NotFound, match=r"not in set \S+, which holds collection 1, .*, x9$"):
        house.restore(collections=["nowhere"])
    house.database.run("INSERT INTO langchain_pg_collection (uuid, name) VALUES (gen_random_uuid(), 'y')")
    house.backup()
    with pytest.raises(NotFound, match=r", x9, …$"):
        house.restore(collections=["nowhere"])
