"""Values that can never fit: a conflict with file, line and column, no retry, nothing changed."""

from __future__ import annotations

import pytest

from pgvector_backup.engine.base.errors import Conflict
from tests.engine.test_restore_states import rows
from tests.helpers.house import House

DOCUMENT = "E'first\\nsecond, \"quoted\"\\nthird'"


def refused(house: House) -> str:
    before = rows(house.database, "t")
    with pytest.raises(Conflict) as caught:
        house.restore()
    assert not caught.value.can_retry
    assert "nothing was changed" in caught.value.message.lower()
    assert rows(house.database, "t") == before
    return caught.value.message


@pytest.mark.parametrize("extra", ["int", "xml"], ids=["sent as binary", "sent as text"])
def test_other_dimensions(house: House, extra: str) -> None:
    house.database.run(f"CREATE TABLE t (id int, d text, v vector, x {extra})")
    house.database.run(
        f"INSERT INTO t SELECT n, {DOCUMENT}, CASE n WHEN 3 THEN '[1,2,3]' ELSE '[1,2]' END::vector "
        "FROM generate_series(1, 5) AS n"
    )
    house.configure(tables="t", jobs=1)
    result = house.backup()
    house.database.run(f"DROP TABLE t; CREATE TABLE t (id int, d text, v vector(2), x {extra})")
    message = refused(house)
    assert "dimensions" in message
    assert result.tables["t"].file in message
    assert "column v" in message
    assert any(f"line {line}" in message for line in (8, 9, 10))  # the row begins in line 8, and ends in line 10


def test_bad_text_in_another_tools_file(house: House) -> None:
    house.database.run("CREATE TABLE t (id int, d text, v vector(2))")
    house.configure(tables="t")
    house.directory.mkdir()
    file = house.directory / "t_20250721_234914.csv"
    file.write_text('id,d,v\n1,"two\nlines","[1,2]"\n2,x,"[1,2"\n3,y,"[1,2]"\n')
    message = refused(house)
    assert file.name in message
    assert "line 4" in message
    assert "column v" in message


@pytest.mark.parametrize(
    ("here", "value"),
    [
        ("int", "99999999999"),
        ("timestamptz", "yesterday's"),
        ("uuid", "no-uuid"),
        ("jsonb", '{"a"'),
        ("numeric(3, 1)", "1234.5"),
        ("varchar(3)", "four"),
        ("bit(2)", "0111"),
        ("halfvec(2)", "[70000,1]"),
        ("halfvec(2)", "[1,-65520]"),
        ("vector(2)", "[1,1e39]"),
        ("sparsevec(2)", "{1:1e39}/2"),
    ],
)
def test_values_of_other_types(house: House, here: str, value: str) -> None:
    house.database.run(f"CREATE TABLE t (id int, v {here})")
    house.configure(tables="t")
    house.directory.mkdir()
    quoted = value.replace('"', '""')
    (house.directory / "t_20250721_234914.csv").write_text(f'id,v\n1,\n2,"{quoted}"\n')
    message = refused(house)
    assert "line 3, column v" in message


OF_THE_SET = {
    "CREATE TABLE t (id int, v int NOT NULL)": ("v int", "(1, 1), (2, NULL)"),
    "CREATE TABLE t (id int, v int CHECK (v > 5))": ("v int", "(1, 9), (2, 3)"),
    "CREATE TABLE t (id int, v int UNIQUE)": ("v int", "(1, 3), (2, 3)"),
    "CREATE TABLE t (id int, v int4range, EXCLUDE USING gist (v WITH &&))": (
        "v int4range",
        "(1, '[1,5)'), (2, '[2,3)')",
    ),
    "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id int, v mood)": ("v mood", "(1, 'sad'), (2, 'ok')"),
    "CREATE DOMAIN few AS int CHECK (value < 9); CREATE TABLE t (id int, v few)": ("v few", "(1, 3), (2, 30)"),
    "CREATE TABLE t (id int, v vector CHECK (vector_dims(v) = 2))": ("v vector", "(1, '[1,2]'), (2, '[1,2,3]')"),
    "CREATE TABLE t (id int, v int) PARTITION BY LIST (v); CREATE TABLE one PARTITION OF t FOR VALUES IN (1)": (
        "v int",
        "(1, 1), (2, 2)",
    ),
}
GONE = "DROP TABLE IF EXISTS t; DROP TYPE IF EXISTS mood; DROP DOMAIN IF EXISTS few"


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_rows_that_a_constraint_of_the_table_refuses(house: House, file_format: str) -> None:
    house.configure(tables="t", jobs=1)
    for there, (column, values) in OF_THE_SET.items():
        house.database.run(f"{GONE}; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN few AS int")
        house.database.run(f"CREATE TABLE t (id int, {column}); INSERT INTO t VALUES {values}")
        file = house.backup(file_format=file_format).tables["t"].file
        house.database.run(f"{GONE}; {there}")
        message = refused(house)
        assert file in message
        where = "line 3" if file_format == "csv" else "row 2"
        assert where in message, message
        if "PARTITION" not in there:
            assert "column v" in message
        if "UNIQUE" in there:
            assert "another row of the set has it" in message
        # Among rows that are there, the server does not say which of those that come it was.
        if "NOT NULL" in there or "CHECK (v > 5)" in there:
            house.database.run("INSERT INTO t VALUES (9, 9)")
            message = refused(house)
            assert file in message
            assert "column v" in message


def test_two_rows_of_a_set_with_one_key_of_the_table(house: House) -> None:
    house.configure(tables="t")
    house.database.run("CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 1), (1, 2)")
    house.backup()
    house.database.run("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (5, 5)")
    for on_conflict in ("skip", "update"):
        with pytest.raises(Conflict, match="two rows with one key"):
            house.restore(on_conflict=on_conflict)


@pytest.mark.parametrize("extra", ["int", "xid"], ids=["sent as binary", "sent as text"])
@pytest.mark.parametrize("at", [150, 2500])
def test_the_line_is_that_of_the_file_however_far_in_it_is(house: House, extra: str, at: int) -> None:
    """Some rows the server reads before the others, so that it counts otherwise."""
    house.database.run(f"CREATE TABLE t (id int, d text, v vector, x {extra}, at timestamptz)")
    house.database.run(
        f"INSERT INTO t SELECT n, {DOCUMENT} || repeat('-', 500),"
        f" CASE n WHEN {at} THEN '[1,2,3]' ELSE '[1,2]' END::vector, NULL,"
        " CASE n % 3 WHEN 0 THEN '0044-03-15 12:00:00+00 BC'::timestamptz ELSE now() END"
        " FROM generate_series(1, 3000) AS n"
    )
    house.configure(tables="t", jobs=1)
    house.backup()
    house.database.run(f"DROP TABLE t; CREATE TABLE t (id int, d text, v vector(2), x {extra}, at timestamptz)")
    begins = 2 + 3 * (at - 1)
    message = refused(house)
    assert any(f"line {begins + more:,}, column v" in message for more in range(3)), message


@pytest.mark.parametrize(
    ("here", "value"),
    [
        ("jsonb", '{"a": "\\u0000"}'),
        ("jsonb", '"\\ud800"'),
        ("jsonb", "1e1000000"),
        ("tsvector", "'a"),
        ("tsquery", "a &"),
        ("regclass", "nowhere"),
        ("regtype", "nothing"),
        ("regnamespace", "nowhere"),
        ("int[]", "{1,2"),
        ("int4range", "[5,1]"),
        ("bytea", "\\xzz"),
    ],
)
def test_values_that_are_looked_up_or_parsed_by_something_else(house: House, here: str, value: str) -> None:
    test_values_of_other_types(house, here, value)
