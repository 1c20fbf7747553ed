"""What is encoded here is to the bit what the server makes of the same text, for every type that is."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pgvector_backup.engine.codec import encoding
from tests.helpers.database import Database, contents
from tests.helpers.house import House

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
TYPES = {
    "text": "t",
    "varchar(2000)": "vc",
    "char(5)": "c",
    "uuid": "u",
    "smallint": "i2",
    "integer": "i4",
    "bigint": "i8",
    "boolean": "b",
    "real": "re",
    "double precision": "d",
    "bytea": "by",
    "timestamptz": "tz",
    "timestamp(3)": "ts",
    "date": "dt",
    "json": "j",
    "jsonb": "jb",
    "vector": "v",
    "halfvec": "h",
}
ROW = st.fixed_dictionaries(
    {
        "t": st.none() | TEXT,
        "vc": st.none() | TEXT.filter(lambda text: len(text) < 2000),
        "c": st.none() | st.sampled_from(["", "a", "ab   ", "中文"]),
        "u": st.none() | st.uuids(),
        "i2": st.none() | st.integers(-(2**15), 2**15 - 1),
        "i4": st.none() | st.integers(-(2**31), 2**31 - 1),
        "i8": st.none() | st.integers(-(2**63), 2**63 - 1),
        "b": st.none() | st.booleans(),
        "re": st.none() | st.floats(width=32),
        "d": st.none() | st.floats(),
        "by": st.none() | st.binary(max_size=50),
        "tz": st.none() | st.sampled_from(
            ["infinity", "-infinity", "0044-03-15 12:00:00 BC", "12345-01-01 00:00:00+00",
             "1999-12-31 23:59:59.999999+00",
             "2000-01-01 00:00:00+00", "0001-01-01 00:00:00+00", "2025-07-21 23:49:14.5+08", "9999-12-31 23:59:59+00"]),
        "ts": st.none() | st.datetimes().map(str),
        "dt": st.none() | st.dates().map(str) | st.sampled_from(["infinity", "4713-01-01 BC", "5874897-12-31"]),
        "j": st.none() | st.sampled_from(['{"a" :  1}', '[1, null, "\\u4e2d"]', '"x"', "1e400", "null"]),
        "jb": st.none() | st.sampled_from(['{"b": 1, "a": 2, "a": 3}', "[1.50, -0, 1e5]", '"é\\n"', "true", "[]"]),
        "v": st.none() | st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9),
        "h": st.none() | st.lists(st.floats(-65504, 65504, width=16), min_size=1, max_size=9),
    }
)  # fmt: skip

some = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def fill(database: Database, rows: list[dict[str, Any]]) -> None:
    database.run("DROP TABLE IF EXISTS t")
    database.run("CREATE TABLE t (" + ", ".join(f"{name} {kind}" for kind, name in TYPES.items()) + ")")
    casts = {"v": "::real[]::vector", "h": "::real[]::halfvec"}
    values = ", ".join(f"%({name})s{casts.get(name, f'::text::{kind}')}" for kind, name in TYPES.items())
    values = values.replace("%(by)s::text::bytea", "%(by)s::bytea")
    with database.connect() as conn, conn.cursor() as cursor:
        cursor.executemany(f"INSERT INTO t VALUES ({values})".encode(), rows)


@pytest.mark.slow
@some
@given(st.lists(ROW, min_size=1, max_size=12))
@example([dict.fromkeys(TYPES.values())])
def test_every_type_comes_back_to_the_bit(house: House, rows: list[dict[str, Any]]) -> None:
    fill(house.database, rows)
    house.configure(tables="t")
    house.backup()
    before = contents(house.database, "t")
    result = house.restore(truncate_before_restore=True)
    assert result.tables["t"].method == "csv as binary"
    assert contents(house.database, "t") == before


def test_what_only_the_server_can_read_is_read_by_it(house: House) -> None:
    """Dates before Christ and beyond 9999, in many blocks: each block's are sent to the server and come back."""
    house.database.run(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d text);"
        "INSERT INTO t SELECT n, CASE n % 3 WHEN 0 THEN '0044-03-15 12:00:00+00 BC'::timestamptz"
        " WHEN 1 THEN 'infinity' ELSE now() END, repeat(md5(n::text), 60) FROM generate_series(1, 3000) AS n"
    )
    house.configure(tables="t")
    house.backup()
    before = contents(house.database, "t")
    house.restore(truncate_before_restore=True)
    assert contents(house.database, "t") == before


def test_an_encoder_that_the_server_disagrees_with_is_not_used(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.langchain()
    house.backup()
    before = contents(house.database, "langchain_pg_embedding")
    monkeypatch.setitem(encoding._ENCODERS, "jsonb", lambda text: b"\x01" + text.replace(b"a", b"b"))
    with caplog.at_level(logging.WARNING):
        result = house.restore(truncate_before_restore=True)
    assert result.tables["langchain_pg_embedding"].method == "csv"
    assert contents(house.database, "langchain_pg_embedding") == before
    assert "the server reads the first rows otherwise" in caplog.text


def test_a_type_that_is_not_known_here_goes_to_the_server(house: House) -> None:
    house.database.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN short AS text CHECK (length(value) < 9);"
        "CREATE TABLE t (m mood, a int[], n numeric, i interval, s short, v vector(2));"
        "INSERT INTO t VALUES ('ok', '{1,NULL}', 1.50, '1 mon 2 days', 'x', '[1,2]')"
    )
    house.configure(tables="t")
    house.backup()
    before = contents(house.database, "t")
    assert house.restore(truncate_before_restore=True).tables["t"].method == "csv"
    assert contents(house.database, "t") == before


def test_without_the_packages_everything_goes_to_the_server(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgvector_backup.engine.codec.vector_text.packages", lambda: None)
    house.langchain(3000)
    house.backup()
    before = contents(house.database, "langchain_pg_embedding")
    assert house.restore(truncate_before_restore=True).tables["langchain_pg_embedding"].method == "csv"
    assert contents(house.database, "langchain_pg_embedding") == before
