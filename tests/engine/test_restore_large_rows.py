"""Rows with large fields are sent in parts and compared by digests; here a field is large with its sixteenth byte."""

from __future__ import annotations

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec import rows
from pgvector_backup.engine.load import copy_in, large_rows
from tests.helpers.database import contents
from tests.helpers.house import House
from tests.helpers.kinds import KINDS

VARIED = """
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, c char(40), d text, j jsonb, k json, b bytea, v vector(8), f boolean {extra});
INSERT INTO t (id, c, d, j, k, b, v, f) VALUES
    (1, 'padded', repeat('a "b" ""', 9), '{"key": "a longer value than any"}', '{ "a" : "b" }', '\\x00', NULL, true),
    (2, NULL, '', 'null', NULL, convert_to(repeat('é, ', 40), 'UTF8'), '[1,2,3,4,5,6,7,8]', false),
    (3, 'x', '"', '"a"', '"a"', '', NULL, NULL), (4, NULL, repeat('"', 41), NULL, NULL, NULL, NULL, NULL)
"""
EXTRA = {
    "sent as binary": "",
    "sent as text": ", n numeric[] DEFAULT '{1.5,22222222222222222222}', p pair DEFAULT ROW(NULL, NULL)",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (copy_in, large_rows):
        monkeypatch.setattr(module, "LARGE", 16)
    monkeypatch.setattr(rows, "_LONG", 3)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("extra", EXTRA.values(), ids=EXTRA)
def test_every_value_comes_back(house: House, file_format: str, extra: str) -> None:
    house.configure(tables="t")
    house.database.run(VARIED.replace("{extra}", extra))
    before = contents(house.database, "t")
    house.backup(file_format=file_format)
    house.restore(truncate_before_restore=True)
    assert contents(house.database, "t") == before
    house.database.run("DELETE FROM t WHERE id < 3; UPDATE t SET d = NULL")
    house.restore(on_conflict="update")
    assert contents(house.database, "t") == before


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("kind", ["langchain_now", "langchain_older", "all_vector_types", "quoted_name"])
def test_every_kind_of_table(house: House, kind: str, file_format: str) -> None:
    name, script = KINDS[kind]
    house.database.run(script)
    house.configure(tables=name)
    before = contents(house.database, name)
    house.backup(file_format=file_format)
    house.restore(truncate_before_restore=True)
    assert contents(house.database, name) == before


def test_collections_are_picked(house: House) -> None:
    house.langchain()
    house.backup(file_format="binary")
    before = contents(house.database, "langchain_pg_embedding")
    house.database.run("DELETE FROM langchain_pg_collection WHERE name = 'collection 1'")
    house.restore(collections=["collection 1"])
    assert contents(house.database, "langchain_pg_embedding") == before


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("change", ["upper(new.d)", "NULL", "new.d || repeat('x', 40)"])
def test_a_trigger_that_alters_a_large_row_is_found_out(house: House, file_format: str, change: str) -> None:
    house.configure(tables="t")
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, d text)")
    house.database.run("INSERT INTO t VALUES (1, repeat('a', 40)), (2, 'b')")
    house.backup(file_format=file_format)
    function = f"BEGIN new.d := {change}; RETURN new; END"
    house.database.run(f"CREATE FUNCTION alter_it() RETURNS trigger LANGUAGE plpgsql AS $${function}$$")
    house.database.run(
        "CREATE TRIGGER alters BEFORE INSERT ON t FOR EACH ROW WHEN (new.id = 1) EXECUTE FUNCTION alter_it()"
    )
    with pytest.raises(IntegrityFault, match="alters"):
        house.restore(truncate_before_restore=True)
    assert house.database.run("SELECT d FROM t WHERE id = 1") == [("a" * 40,)]
