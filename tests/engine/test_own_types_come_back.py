"""Enums, domains, composites and ranges come with a set, and are made where they are missing; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from tests.engine.test_by_hand import by_hand
from tests.engine.test_restore_states import rows
from tests.helpers.database import Database
from tests.helpers.forging import reseal
from tests.helpers.house import House

TYPES = """
CREATE SCHEMA "My types"; CREATE DOMAIN "My types"."pos""itive" AS int CHECK (VALUE > 0);
CREATE TYPE "My types".mood AS ENUM ('it''s', 'a "b"', 'Ü'); CREATE TYPE pair AS (v vector(2), m "My types".mood);
CREATE DOMAIN pairs AS pair[] NOT NULL DEFAULT '{}' CONSTRAINT few CHECK (cardinality(VALUE) < 9);
CREATE TYPE span AS RANGE (SUBTYPE = numeric); CREATE DOMAIN loose AS int;
CREATE TABLE t (id "My types"."pos""itive" PRIMARY KEY, m "My types".mood DEFAULT 'Ü', p pairs, s span,
    sm span_multirange, l loose, ms "My types".mood[]);
INSERT INTO t VALUES (1, 'it''s', ARRAY[ROW('[1,2]', 'a "b"')::pair], '[1.5,2)', '{[1,2)}', -1, '{Ü}');
INSERT INTO t (id) VALUES (2); ALTER DOMAIN loose ADD CONSTRAINT pos CHECK (VALUE > 0) NOT VALID
"""
QUERY = """
SELECT t.typtype::text, n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod), t.typnotnull,
       pg_get_expr(t.typdefaultbin, 0),
       (SELECT array_agg(e.enumlabel::text ORDER BY enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
       (SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod)) FROM pg_attribute a JOIN pg_class c
            ON c.oid = a.attrelid WHERE a.attrelid = t.typrelid AND c.relkind = 'c'),
       (SELECT array_agg(pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.contypid = t.oid AND k.convalidated)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_depend d ON d.objid = t.oid AND d.deptype = 'e'
WHERE t.oid >= 16384 AND t.typtype IN ('e', 'd', 'c', 'r', 'm') AND d.objid IS NULL
  AND t.typrelid NOT IN (SELECT oid FROM pg_class WHERE relkind <> 'c') ORDER BY 2, 3
"""


@pytest.fixture
def own(house: House) -> House:
    house.database.run(TYPES)
    house.configure(tables="t", truncate_tables="t")
    return house


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_into_an_empty_database_and_in_place(own: House, elsewhere: Database, file_format: str) -> None:
    before, types = rows(own.database, "t"), own.database.run(QUERY)
    result = own.backup(file_format=file_format)
    notes = own.restore(into=elsewhere).tables["t"].notes
    assert rows(elsewhere, "t") == before
    assert elsewhere.run(QUERY) == types
    # Its rows break it, as they did there: the note makes it again.
    (note,) = [note for note in notes if "loose" in note]
    elsewhere.run(note[note.index("ALTER DOMAIN") :])
    # A check that is not valid stands in no row's way, and is what it was afterwards.
    own.truncate(result)
    for request in ({}, {"truncate_before_restore": True}, {"on_conflict": "update"}, {"schema": "copy"}):
        own.restore(**request)
        assert rows(own.database, "t") == before
        query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'pos'"
        assert own.database.run(query) == [("CHECK ((VALUE > 0)) NOT VALID",)]


def test_by_hand(own: House, elsewhere: Database) -> None:
    types = own.database.run(QUERY)
    done = by_hand(own, elsewhere, str(own.backup().backup_id))
    assert done.returncode == 0, done.stderr
    assert rows(elsewhere, "t") == rows(own.database, "t")
    assert elsewhere.run(QUERY) == types
    assert "loose: check pos" in done.stdout


def test_pgvector_lives_elsewhere(own: House, elsewhere: Database) -> None:
    own.backup()
    elsewhere.run("CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions")
    own.restore(into=elsewhere)
    assert elsewhere.run("SELECT (p[1]).v::text FROM t WHERE id = 1") == [("[1,2]",)]


def forge(house: House, part: str, text: Any) -> None:
    def change(body: dict[str, Any]) -> None:
        (one,) = [one for one in body["tables"][0]["types"] if one["name"] == "pairs"]
        one[part] = text

    reseal(house, change)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("checks", [["few", "CHECK (pg_read_file('/etc/passwd') IS NOT NULL)"]]),
        ("checks", [["few", "CHECK (pg_sleep(9) IS NULL)"]]),
        ("default", "set_config('a.b', 'c', false)::public.pair[]"),
    ],
)
def test_what_could_do_more_than_compute_is_left_out(own: House, elsewhere: Database, part: str, text: Any) -> None:
    own.backup()
    forge(own, part, text)
    notes = own.restore(into=elsewhere).tables["t"].notes
    assert [note for note in notes if "of domain public.pairs was left out: it calls" in note]
    assert rows(elsewhere, "t") == rows(own.database, "t")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("base", "int4); DROP TABLE t; --"),
        ("default", "1; DROP TABLE t"),
        ("checks", [["few", "CHECK (true); DROP TABLE t"]]),
        ("kind", "anything"),
        ("base", None),
        ("columns", [["a", "int) ; DROP TABLE t"]]),
    ],
)
def test_what_no_server_prints_is_refused(own: House, elsewhere: Database, part: str, text: Any) -> None:
    own.backup()
    forge(own, part, text)
    with pytest.raises(IntegrityFault, match=r"public\.pairs"):
        own.restore(into=elsewhere)
    result = own.verify(depth="drill")
    assert any("public.pairs" in error for error in result.errors)


def test_a_dry_run_knows_which_types_would_be_missing(own: House, elsewhere: Database) -> None:
    own.backup()
    own.restore(into=elsewhere, dry_run=True)
    assert elsewhere.run(QUERY) == []
    own.database.run(
        'CREATE TABLE other (a int); CREATE TABLE u (id int, "of other" other[], n numeric(5, 2), w timestamptz)'
    )
    own.configure(tables="t,u")
    own.backup()
    for dry_run in (True, False):
        with pytest.raises(NotFound, match=r"column of other is of type public\.other\[\]"):
            own.restore(into=elsewhere, dry_run=dry_run)
    assert elsewhere.run(QUERY) == []
