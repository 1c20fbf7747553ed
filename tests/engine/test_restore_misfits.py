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
    assert "line 3" in message or "row 2 of those sent" in message
    if "vec" in here:
        assert "line 3, column v" in message
