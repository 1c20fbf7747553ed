"""Whatever a table holds and however it is called, its file loads back equal."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.helpers.house import House

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
TRICKY = st.sampled_from(
    ["", "\\.", "\\N", "\r", "\n", "\r\n", '"', '""', ",", " ", "\ufeff", "NULL", "\\", "a\n\\.\nb"]
)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROW = st.tuples(
    st.none() | TEXT | TRICKY,
    st.none() | st.binary(max_size=40),
    st.none() | st.floats(),
    st.none() | st.lists(FLOATS, min_size=3, max_size=3),
    st.none() | st.lists(st.none() | TEXT | TRICKY, max_size=3),
)
IDENTIFIERS = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30
).filter(lambda name: len(name.encode()) <= 63)

every = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def differences(conn: psycopg.Connection[Any], one: sql.Composable, other: sql.Composable) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT r::text FROM {} AS r EXCEPT ALL SELECT r::text FROM {} AS r")
    return conn.execute(query.format(one, other)).fetchall() + conn.execute(query.format(other, one)).fetchall()


@pytest.mark.slow
@every
@given(st.lists(ROW, max_size=20))
@example([("\\.", None, None, None, None), ("", b"", float("nan"), None, [])])
def test_any_value_loads_back_equal(house: House, rows: list[tuple[Any, ...]]) -> None:
    house.database.run("DROP TABLE IF EXISTS t")
    house.database.run("CREATE TABLE t (d text, b bytea, f float8, v vector(3), a text[])")
    with house.database.connect() as conn, conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO t VALUES (%s, %s, %s, %s::real[]::vector, %s)",
            rows,
        )
    house.configure(tables="t")
    table = house.backup().tables["t"]
    assert table.failure is None
    assert table.rows == len(rows)
    content = (house.directory / table.file).read_bytes()
    content.decode("utf-8")
    with house.database.connect() as conn:
        conn.execute("CREATE TEMPORARY TABLE loaded (LIKE t)")
        with conn.cursor().copy("COPY loaded FROM STDIN (FORMAT csv, HEADER MATCH)") as copy:
            copy.write(content)
        assert differences(conn, sql.Identifier("t"), sql.Identifier("loaded")) == []


@pytest.mark.slow
@every
@given(IDENTIFIERS, IDENTIFIERS, st.lists(IDENTIFIERS, min_size=1, max_size=4, unique=True))
@example("a.b", 'c"d', ["x.y", "select", "ctid_", "%s", "{}"])
def test_any_name_loads_back_equal(house: House, schema: str, name: str, columns: list[str]) -> None:
    if schema.startswith("pg_") or set(columns) & {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}:
        return
    table = sql.Identifier(schema, name)
    listed = sql.SQL(", ").join(sql.SQL("{} text DEFAULT 'x'").format(sql.Identifier(column)) for column in columns)
    with house.database.connect() as conn:
        conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        conn.execute(sql.SQL("CREATE TABLE {} ({})").format(table, listed))
        conn.execute(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(table))
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))
    house.configure(tables=quoted, truncate_tables=quoted)
    result = house.backup()
    ((label, outcome),) = result.tables.items()
    assert outcome.failure is None
    with house.database.connect() as conn:
        conn.execute(sql.SQL("CREATE TEMPORARY TABLE loaded (LIKE {})").format(table))
        with conn.cursor().copy("COPY loaded FROM STDIN (FORMAT csv, HEADER MATCH)") as copy:
            copy.write((house.directory / outcome.file).read_bytes())
        assert differences(conn, table, sql.Identifier("loaded")) == []
    assert house.truncate(result).rows_before == {label: 1}
