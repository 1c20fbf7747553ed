"""Drills of sets whose types, functions and operator classes the drill's server does not have."""

from __future__ import annotations

import pytest

from tests.helpers.house import House

pytestmark = pytest.mark.apart

TABLES = {
    "an enum": "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, a mood, v vector(2));"
    "INSERT INTO t VALUES (1, 'sad', '[1,2]'), (2, NULL, '[3,4]')",
    "an enum with a default and a check": "CREATE TYPE mood AS ENUM ('sad', 'ok');"
    "CREATE TABLE t (id int PRIMARY KEY, a mood NOT NULL DEFAULT 'ok', CHECK (a <> 'sad'::mood));"
    "INSERT INTO t VALUES (1, 'ok')",
    "a domain": "CREATE DOMAIN score AS numeric(5, 2) CHECK (VALUE > 0);"
    "CREATE TABLE t (id int PRIMARY KEY, a score); INSERT INTO t VALUES (1, 1.5), (2, 99)",
    "a composite": "CREATE TYPE pair AS (x int, y text); CREATE TABLE t (id int PRIMARY KEY, a pair, b pair[]);"
    "INSERT INTO t VALUES (1, (1, 'a,\"b'), ARRAY[(2, NULL)::pair])",
    "a range": "CREATE TYPE span AS RANGE (subtype = float8); CREATE TABLE t (id int PRIMARY KEY, a span);"
    "INSERT INTO t VALUES (1, '[1,2)')",
    "another schema": "CREATE SCHEMA rag; CREATE TYPE rag.mood AS ENUM ('x'); CREATE TABLE rag.t (id int, a rag.mood);"
    "INSERT INTO rag.t VALUES (1, 'x')",
    "a function in a default": "CREATE FUNCTION mine() RETURNS text LANGUAGE sql AS 'SELECT ''x''';"
    "CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT mine()); INSERT INTO t VALUES (1, 'y')",
    "a function in a check": "CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';"
    "CREATE TABLE t (id int PRIMARY KEY CHECK (fine(id))); INSERT INTO t VALUES (1)",
    "a function in an index": "CREATE FUNCTION low(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';"
    "CREATE TABLE t (id int, a text); CREATE INDEX i ON t (low(a)); INSERT INTO t VALUES (1, 'A')",
    "a function in a generated column": "CREATE FUNCTION two(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2';"
    "CREATE TABLE t (id int, a int GENERATED ALWAYS AS (two(id)) STORED); INSERT INTO t VALUES (1), (2)",
    "defaults that do more than compute": "CREATE TABLE t (id int PRIMARY KEY, l oid DEFAULT lo_creat(-1),"
    " s text DEFAULT set_config('a.b', 'c', false), u uuid DEFAULT gen_random_uuid(), q text DEFAULT current_query());"
    "INSERT INTO t (id) VALUES (1)",
    "an operator class": "CREATE OPERATOR CLASS mine_ops FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 3 =,"
    "OPERATOR 5 >, OPERATOR 2 <=, OPERATOR 4 >=, FUNCTION 1 btint4cmp(int, int);"
    "CREATE TABLE t (id int); CREATE INDEX i ON t (id mine_ops); INSERT INTO t VALUES (1)",
    "a key of an enum": "CREATE TYPE mood AS ENUM ('b', 'a'); CREATE TABLE t (a mood PRIMARY KEY, v vector(2));"
    "INSERT INTO t VALUES ('b', '[1,1]'), ('a', '[2,2]')",
}


MADE = ("an enum", "an enum with a default and a check", "a domain", "a composite", "a range", "another schema",
        "a key of an enum")  # fmt: skip
"""Whose types come with the set, so that nothing is left out."""


@pytest.mark.parametrize("what", TABLES)
def test_a_drill_is_held_whatever_its_server_lacks(house: House, what: str) -> None:
    house.database.run(TABLES[what])
    name = "rag.t" if "rag.t" in TABLES[what] else "t"
    for file_format in ("csv", "binary"):
        house.configure(tables=name)
        rows = house.backup(file_format=file_format).tables[name].rows
        result = house.verify(depth="drill")
        assert result.errors == []
        (one,) = result.sets
        assert one.depth == "drill"
        table = one.tables[name]
        assert table.drill is not None
        assert table.drill["rows"] == rows
        assert table.drill["fingerprint"] == "equal"
        notes = result.to_json()["sets"][0]["notes"]
        if what in MADE:
            assert notes == []
        else:
            assert any("drill: " in note and name in note for note in notes), notes
