"""Binary files with arrays and composites of types that the database has made, where these have other numbers."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pgvector_backup.embedded.server import EmbeddedPostgres
from pgvector_backup.engine.base.errors import Conflict
from tests.helpers.database import Database, contents, fresh
from tests.helpers.house import House

TYPES = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN word AS text CHECK (value <> 'no');
CREATE DOMAIN moods AS mood[];
CREATE TYPE pair AS (label word, v vector(2));
CREATE TYPE nest AS (id int, moods mood[], pair pair, pairs pair[]);
CREATE DOMAIN known_pair AS pair;
CREATE TYPE span AS RANGE (subtype = pair);
CREATE TYPE mood_span AS RANGE (subtype = mood)
"""
COLUMNS = {
    "vectors": ("vector(3)[]", "ARRAY['[1,2,3]', NULL, '[4,5,6]']::vector[]"),
    "halves": ("halfvec[]", "ARRAY['[1,2]']::halfvec[]"),
    "sparse": ("sparsevec[]", "ARRAY['{1:1}/3']::sparsevec[]"),
    "square": ("mood[][]", "ARRAY[['good','bad'],['bad','good']]::mood[]"),
    "nothing": ("mood[]", "ARRAY[]::mood[]"),
    "shifted": ("mood[]", "'[5:6]={good,bad}'::mood[]"),
    "words": ("word[]", "ARRAY['a', NULL, 'b']::word[]"),
    "domain_over_array": ("moods", "ARRAY['bad']::moods"),
    "composite": ("pair", "ROW('x', '[1,2]')::pair"),
    "composites": ("pair[]", "ARRAY[ROW('x', '[1,2]')::pair, NULL, ROW(NULL, NULL)::pair]"),
    "nested": ("nest", "ROW(1, ARRAY['good']::mood[], ROW('y', '[3,4]')::pair, ARRAY[ROW('z', NULL)::pair])::nest"),
    "nests": ("nest[]", "ARRAY[ROW(1, NULL, NULL, ARRAY[ROW('z', '[5,6]')::pair])::nest]"),
    "domain_over_composite": ("known_pair", "ROW('x', '[1,2]')::known_pair"),
    "range_": ("span", "span(ROW('a', '[1,1]')::pair, ROW('b', '[1,1]')::pair)"),
    "open_range": ("span", "span(NULL, ROW('b', '[1,1]')::pair, '(]')"),
    "empty_range": ("span", "'empty'::span"),
    "ranges": ("span[]", "ARRAY[span(ROW('a', '[1,1]')::pair, NULL)]"),
    "multirange": ("span_multirange", "span_multirange(span(ROW('a', '[1,1]')::pair, ROW('b', '[1,1]')::pair))"),
    "mood_ranges": ("mood_span[]", "ARRAY['[good,bad]'::mood_span]"),
    "plain": ("int[]", "ARRAY[1, 2]"),
    "own_of_the_server": ("tstzrange[]", "ARRAY['[2020-01-01,)'::tstzrange]"),
}
TABLE = f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'{name} {kind}' for name, (kind, _) in COLUMNS.items())})"


@pytest.fixture(scope="module")
def far(server: EmbeddedPostgres) -> Iterator[Database]:
    """A database in which the same types have other numbers."""
    with fresh(server, "template0") as database:
        database.run("CREATE TYPE before AS ENUM ('a'); CREATE TABLE before_too (id int); CREATE EXTENSION vector")
        database.run(TYPES)
        yield database


@pytest.fixture
def own(house: House) -> House:
    house.configure(tables="t")
    house.database.run(TYPES)
    house.database.run(TABLE)
    house.database.run(
        f"INSERT INTO t SELECT n, {', '.join(value for _, value in COLUMNS.values())} FROM generate_series(1, 3) AS n"
    )
    house.database.run("INSERT INTO t (id) VALUES (4)")
    return house


@pytest.fixture
def there(far: Database) -> Iterator[Database]:
    yield far
    far.run("DROP TABLE IF EXISTS t")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_they_come_back_in_another_database(own: House, there: Database, compression: str) -> None:
    own.backup(file_format="binary", compression=compression)
    numbers = "SELECT 'mood'::regtype::oid, 'vector[]'::regtype::oid, 'span'::regtype::oid"
    assert not set(own.database.run(numbers)[0]) & set(there.run(numbers)[0])
    own.restore(into=there)
    assert contents(there, "t") == contents(own.database, "t")
    # What stands in the table is of this database's own types, whatever the file said.
    for row in there.run("SELECT array_send(square), array_send(words) FROM t WHERE id = 1"):
        for value, kind in zip(row, ("mood", "word"), strict=True):
            assert int.from_bytes(value[8:12], "big") == there.run(f"SELECT '{kind}'::regtype::oid::bigint")[0][0]
    # Beside others, and in their place.
    there.run("DELETE FROM t WHERE id = 2; UPDATE t SET nested = NULL WHERE id = 3")
    assert own.restore(into=there, on_conflict="update").tables["t"].updated == 3
    assert contents(there, "t") == contents(own.database, "t")
    assert own.restore(into=there, dry_run=True).tables["t"].conflicts == 4


def test_types_made_anew_in_the_same_database(own: House) -> None:
    before = contents(own.database, "t")
    own.backup(file_format="binary")
    own.database.run(
        "DROP TABLE t; DROP TYPE mood_span, span; DROP DOMAIN known_pair; DROP TYPE nest, pair;"
        " DROP DOMAIN moods, word; DROP TYPE mood"
    )
    own.database.run(TYPES)
    own.restore()
    assert contents(own.database, "t") == before
    own.restore(truncate_before_restore=True)
    assert contents(own.database, "t") == before
    own.restore(schema="elsewhere")
    assert contents(own.database, "elsewhere.t")["elsewhere.t"] == before["t"]


@pytest.mark.parametrize("connect", [None, "server"])
@pytest.mark.apart
def test_a_drill_proves_them(own: House, connect: str | None) -> None:
    own.backup(file_format="binary")
    result = own.verify(depth="drill", **({"connect": None} if connect is None else {}))
    assert result.errors == []
    assert result.sets[0].tables["t"].drill["fingerprint"] == "equal"


def test_an_increment_brings_them_too(own: House, there: Database) -> None:
    own.backup(file_format="binary", mode="incremental")
    own.database.run("UPDATE t SET square = ARRAY['bad']::mood[] WHERE id = 2; DELETE FROM t WHERE id = 1")
    assert own.backup(file_format="binary", mode="incremental").to_json()["mode"] == "incremental"
    own.restore(into=there)
    assert contents(there, "t") == contents(own.database, "t")


def test_unique_keys_of_such_types_are_compared(own: House, there: Database) -> None:
    own.database.run(
        "DROP TABLE t; CREATE TABLE t (id int, moods mood[] UNIQUE); INSERT INTO t VALUES (1, '{good}'), (2, '{bad}')"
    )
    own.backup(file_format="binary")
    own.restore(into=there)
    there.run("DELETE FROM t WHERE id = 1")
    assert own.restore(into=there, dry_run=True).tables["t"].conflicts == 1


def test_another_shape_is_refused_and_nothing_changes(own: House, there: Database) -> None:
    own.database.run("DROP TABLE t; CREATE TYPE of_numbers AS (n int4); CREATE TABLE t (id int, c of_numbers)")
    own.database.run("INSERT INTO t VALUES (1, ROW(7))")
    own.backup(file_format="binary")
    there.run("CREATE TYPE of_numbers AS (n float4); CREATE TABLE t (id int, c of_numbers)")
    try:
        with pytest.raises(Conflict, match="integer.*real|of_numbers"):
            own.restore(into=there)
        assert there.run("SELECT count(*) FROM t") == [(0,)]
    finally:
        there.run("DROP TABLE t; DROP TYPE of_numbers")


@pytest.mark.parametrize("kind", ["regclass", "regtype", "regconfig", "regrole", "regproc[]"])
def test_of_names_that_are_numbers_in_binary_the_result_speaks(house: House, kind: str) -> None:
    house.configure(tables="t")
    house.database.run(f"CREATE TABLE t (id int, c {kind})")
    told = house.backup(file_format="binary").to_json()["tables_backed_up"]["t"]
    assert told["success"] is True
    assert f"c ({kind.removesuffix('[]')})" in str(told)
    assert "file_format csv" in str(told)
    assert "file_format csv" not in str(house.backup().to_json())


def test_by_hand_they_come_back_too(own: House, there: Database) -> None:
    """The server reads an array whose elements' type has another number, as from its psql."""
    own.backup(file_format="binary")
    (file,) = [name for name in own.files() if name.endswith(".pgcopy")]
    there.run(TABLE)
    with psycopg.connect(there.uri()) as conn, conn.cursor().copy(b"COPY t FROM STDIN (FORMAT binary)") as copy:
        copy.write((own.directory / file).read_bytes())
    assert contents(there, "t") == contents(own.database, "t")
