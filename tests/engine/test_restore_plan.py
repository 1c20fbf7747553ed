"""A dry run and the restore that follows it share one plan: what the one foretells is what the other reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgvector_backup.embedded.server import EmbeddedPostgres
from pgvector_backup.engine.base.errors import BackupError, Conflict, InvalidParams
from pgvector_backup.engine.contract.restore_result import RestoreResult
from tests.helpers.database import Database, fresh
from tests.helpers.house import House

PAIR = "langchain_pg_collection, langchain_pg_embedding"

ASKED: dict[str, dict[str, Any]] = {
    "everything": {},
    "embeddings alone": {"tables": ["langchain_pg_embedding"]},
    "two collections": {"collections": ["collection 1", "collection 2"]},
    "a copy under another name": {"collections": ["collection 1"], "rename_collection": {"collection 1": "a copy"}},
}

THERE = {
    "nothing at all": f"DROP TABLE {PAIR}",
    "empty tables": f"TRUNCATE {PAIR}",
    "all rows": "SELECT",
    "a few rows": "DELETE FROM langchain_pg_embedding WHERE id NOT LIKE '%77'",
    "most rows": "DELETE FROM langchain_pg_embedding WHERE id LIKE '%77'",
    "names that other collections have": "ALTER TABLE langchain_pg_embedding"
    " DROP CONSTRAINT langchain_pg_embedding_collection_id_fkey;"
    " UPDATE langchain_pg_collection SET uuid = gen_random_uuid() WHERE name IN ('collection 1', 'collection 3')",
}


def figures(result: RestoreResult) -> dict[str, Any]:
    """What both the plan and the deed tell of each table."""
    return {
        label: {
            "rows": (one.rows, one.updated, one.skipped, one.left_out),
            "before and after": (one.rows_before, one.rows_after),
            "target": (one.target, one.created),
            "file": (one.file, one.bytes),
            "indexes": sorted(one.indexes),
        }
        for label, one in result.tables.items()
    }


def would_be_refused(result: RestoreResult) -> bool:
    return any("would be refused" in note for one in result.tables.values() for note in one.notes)


def agree(house: House, **request: Any) -> str:
    """Plan and carry out; returns how both ended."""
    try:
        planned = house.restore(**request, dry_run=True)
    except BackupError as refusal:
        with pytest.raises(type(refusal)) as caught:
            house.restore(**request)
        assert caught.value.message == refusal.message
        return "refused at once"
    if would_be_refused(planned):
        with pytest.raises(Conflict):
            house.restore(**request)
        return "refused"
    assert figures(planned) == figures(house.restore(**request))
    return "done"


@pytest.fixture(scope="module")
def prepared(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A database that others are copies of, for to copy one takes a tenth of what it takes to fill it; and its set."""
    with fresh(server) as made:
        house = House(made, tmp_path_factory.mktemp("prepared"))
        house.langchain(1200)
        made.run(
            "CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops);"
            "CREATE UNIQUE INDEX also_unique ON langchain_pg_embedding (id, collection_id)"
        )
        house.backup(file_format="binary")
        yield house


@contextmanager
def copied(prepared: House) -> Iterator[House]:
    """A house with a copy of the database."""
    with fresh(prepared.database.server, prepared.database.name) as made:
        yield House(made, prepared.root)


@pytest.mark.slow
@pytest.mark.parametrize("there", THERE)
@pytest.mark.parametrize("on_conflict", ["error", "skip", "update", "emptied first"])
def test_a_dry_run_and_the_restore_agree(prepared: House, on_conflict: str, there: str) -> None:
    way = {"truncate_before_restore": True} if on_conflict == "emptied first" else {"on_conflict": on_conflict}
    ends = {}
    for asked, request in ASKED.items():
        if asked == "embeddings alone" and there == "empty tables":
            continue  # their foreign key forbids it, which only the server can tell
        with copied(prepared) as house:
            house.database.run(THERE[there])
            ends[asked] = agree(house, into_other_database=True, **way, **request)
    # That both agree would mean nothing if they agreed to do nothing.
    empty = there in ("nothing at all", "empty tables")
    if empty or on_conflict == "skip":
        assert set(ends.values()) == {"done"}
    if on_conflict in ("update", "emptied first") and there != "names that other collections have":
        assert ends["everything"] == "done"
    if on_conflict == "error" and not empty:
        assert ends["everything"] == "refused"


def test_both_refuse_to_update_rows_that_no_key_tells_apart(house: House) -> None:
    house.database.run("CREATE TABLE t (n int, v vector(2)); INSERT INTO t VALUES (1, '[1,2]'), (1, '[1,2]')")
    house.configure(tables="t")
    house.backup()
    with pytest.raises(InvalidParams, match="no primary key"):
        house.restore(on_conflict="update", dry_run=True)
    assert agree(house, on_conflict="update") == "refused at once"
    assert agree(house, on_conflict="skip") == "done"
    assert house.count("t") == 4


def test_both_refuse_to_empty_what_a_foreign_key_points_at(prepared: House) -> None:
    assert agree(prepared, tables=["langchain_pg_collection"], truncate_before_restore=True) == "refused at once"


def test_both_refuse_two_tables_of_the_set_that_would_go_into_one(house: House, elsewhere: Database) -> None:
    house.database.run("CREATE SCHEMA a; CREATE TABLE a.t (v vector(2)); CREATE TABLE t (v vector(2))")
    house.configure(tables="t,a.t")
    house.backup()
    request = {"schema": "public", "into": elsewhere}
    with pytest.raises(Conflict, match="would both go into"):
        house.restore(**request, dry_run=True)
    assert agree(house, **request) == "refused at once"
    assert elsewhere.run("SELECT to_regclass('public.t')") == [(None,)]


def test_they_agree_on_rows_that_no_manifest_counts(house: House) -> None:
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, v vector(2)); INSERT INTO t VALUES (2, '[0,0]')")
    house.configure(tables="t")
    house.directory.mkdir()
    rows = "".join(f'{n},"[{n},0]"\n' for n in range(5))
    (house.directory / "t_20250721_234914.csv").write_text(f"id,v\n{rows}")
    for on_conflict, ended in (("error", "refused"), ("skip", "done"), ("update", "done")):
        assert agree(house, timestamp="20250721_234914", on_conflict=on_conflict) == ended


def test_both_refuse_a_definition_that_would_run_what_is_not_trusted(house: House, elsewhere: Database) -> None:
    """Known only once the table is made: a dry run makes it too, and undoes it."""
    body = "RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'"
    house.database.run(f"CREATE FUNCTION own() {body}; CREATE TABLE t (n int DEFAULT own(), v vector(2))")
    house.configure(tables="t")
    house.backup()
    elsewhere.run(f"CREATE FUNCTION own() {body}")
    assert agree(house, into=elsewhere) == "refused at once"
    assert agree(house, into=elsewhere, trust_definitions=True) == "done"


def test_what_a_dry_run_makes_is_undone(prepared: House, elsewhere: Database) -> None:
    before = elsewhere.run("SELECT count(*) FROM pg_class")
    planned = prepared.restore(into=elsewhere, dry_run=True)
    assert all(one.created for one in planned.tables.values())
    assert elsewhere.run("SELECT count(*) FROM pg_class") == before
    assert elsewhere.run("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == [(0,)]
