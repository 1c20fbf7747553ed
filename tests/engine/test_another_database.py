"""A set goes into the database that it is of; among the rows of another one only when the request says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pgvector_backup.engine.restore as story
from pgvector_backup.engine.base.errors import Conflict
from tests.helpers.database import Database, contents
from tests.helpers.house import House

EMBEDDING = "langchain_pg_embedding"


@pytest.fixture
def backed_up(house: House) -> House:
    house.langchain()
    house.backup()
    return house


@pytest.fixture
def another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is on a server of another identity: upgraded, or set up anew after a disaster."""
    real = story.source_of
    monkeypatch.setattr(story, "source_of", lambda conn: replace(real(conn), system_identifier="7000000000000000001"))


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's server does not tell its identity."""
    real = story.source_of
    monkeypatch.setattr(story, "source_of", lambda conn: replace(real(conn), system_identifier=None))


@pytest.fixture
def filled(elsewhere: Database) -> Database:
    """Another database, in which rows of the same tables lie."""
    elsewhere.run("CREATE EXTENSION vector")
    other = House(elsewhere, Path("unused"))
    other.langchain()
    return elsewhere


def test_the_rows_of_a_database_of_another_name_need_the_word(backed_up: House, filled: Database) -> None:
    filled.run(f"DELETE FROM {EMBEDDING} WHERE id > 'id-3'")
    before = contents(filled, EMBEDDING)
    for request in ({"truncate_before_restore": True}, {"on_conflict": "skip"}, {"on_conflict": "update"}, {}):
        with pytest.raises(Conflict) as refused:
            backed_up.restore(into=filled, into_other_database=False, **request)
        for name in (backed_up.database.name, filled.name):
            assert f"database {name} (PostgreSQL " in refused.value.message
        assert "nothing was changed" in refused.value.message
        assert "into_other_database" in refused.value.message
        assert contents(filled, EMBEDDING) == before
    result = backed_up.restore(into=filled, truncate_before_restore=True).to_json()
    assert result["restore_results"][EMBEDDING]["rows_restored"] == 58
    assert "of another database" in result["notes"][0]


@pytest.mark.parametrize("kind", ["nothing", "tables without rows"])
def test_a_database_of_another_name_that_holds_nothing_needs_no_word(
    backed_up: House, elsewhere: Database, request: pytest.FixtureRequest, kind: str
) -> None:
    if kind == "tables without rows":
        request.getfixturevalue("filled").run("TRUNCATE langchain_pg_embedding, langchain_pg_collection")
    result = backed_up.restore(into=elsewhere, into_other_database=False).to_json()
    assert (result["same_database"], result["needs_into_other_database"]) == (False, False)
    assert "of another database" in result["notes"][0]
    assert result["restore_results"][EMBEDDING]["rows_restored"] == 58


def test_a_plan_says_that_the_word_is_missing(backed_up: House, filled: Database) -> None:
    planned = backed_up.restore(into=filled, into_other_database=False, dry_run=True).to_json()
    assert planned["needs_into_other_database"] is True
    assert any("would be refused" in note and "into_other_database" in note for note in planned["notes"])
    planned = backed_up.restore(into=filled, dry_run=True).to_json()
    assert planned["needs_into_other_database"] is True
    assert not any("would be refused" in note for note in planned["notes"])


def test_its_own_database_needs_no_word(backed_up: House) -> None:
    result = backed_up.restore(on_conflict="skip").to_json()
    assert (result["needs_into_other_database"], result["notes"]) == (False, [])


@pytest.mark.usefixtures("another_server")
@pytest.mark.parametrize("emptied", ["DROP TABLE langchain_pg_embedding, langchain_pg_collection", "truncate"])
def test_a_new_server_that_holds_nothing_yet_needs_no_word(backed_up: House, emptied: str) -> None:
    tables = "langchain_pg_embedding, langchain_pg_collection"
    backed_up.database.run(f"TRUNCATE {tables}" if emptied == "truncate" else emptied)
    result = backed_up.restore().to_json()
    assert result["same_database"] is False
    assert result["needs_into_other_database"] is False
    assert "7000000000000000001" in result["notes"][0]
    assert backed_up.count(EMBEDDING) == 58


@pytest.mark.usefixtures("another_server")
@pytest.mark.parametrize("request_", [{"truncate_before_restore": True}, {"on_conflict": "skip"}])
def test_filled_tables_on_another_server_need_it(backed_up: House, request_: dict[str, Any]) -> None:
    backed_up.database.run(f"DELETE FROM {EMBEDDING} WHERE id > 'id-3'")
    left = backed_up.count(EMBEDDING)
    with pytest.raises(Conflict, match=f"same name on another server in which rows lie in .*{EMBEDDING}"):
        backed_up.restore(**request_)
    assert backed_up.count(EMBEDDING) == left
    # What is not restored need not be empty.
    backed_up.database.run(f"DELETE FROM {EMBEDDING}")
    backed_up.restore(tables=[EMBEDDING])
    backed_up.restore(**request_, into_other_database=True)
    assert backed_up.count(EMBEDDING) == 58


@pytest.mark.usefixtures("silent_server")
def test_a_server_that_does_not_tell_its_identity_is_known_by_its_databases_name(
    backed_up: House, filled: Database
) -> None:
    result = backed_up.restore(on_conflict="skip").to_json()
    assert "only the names were compared" in result["notes"][0]
    with pytest.raises(Conflict, match="into_other_database"):
        backed_up.restore(into=filled, on_conflict="skip", into_other_database=False)


def test_a_set_that_nothing_tells_of_goes_anywhere_and_the_result_says_so(backed_up: House) -> None:
    for file in Path(backed_up.directory).glob("*.json"):
        file.unlink()
    planned = backed_up.restore(dry_run=True, on_conflict="skip", into_other_database=False).to_json()
    assert "nothing tells which database the set is of" in planned["notes"][0]
    assert planned["needs_into_other_database"] is False
