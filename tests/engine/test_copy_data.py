"""The messages of a COPY are those that psycopg itself would give, to the last one and to the error."""

from __future__ import annotations

import psycopg
import pytest

from pgvector_backup.engine.codec.copy_data import messages
from tests.helpers.house import House

ROWS = b"COPY (SELECT n, repeat('x', n %% 9000) FROM generate_series(1, 3000) AS n) TO STDOUT (FORMAT %s)"


@pytest.mark.parametrize("chosen", [b"csv", b"binary"])
def test_they_are_what_psycopg_reads(house: House, chosen: bytes) -> None:
    query = ROWS % chosen
    with house.database.connect() as conn:
        with conn.cursor().copy(query) as copy:
            expected = [bytes(message) for message in copy]
        with conn.cursor().copy(query) as copy:
            assert [bytes(message) for message in messages(copy)] == expected
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_none_at_all(house: House) -> None:
    with house.database.connect() as conn:
        with conn.cursor().copy("COPY (SELECT 1 WHERE false) TO STDOUT") as copy:
            assert list(messages(copy)) == []
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_is_slow_to_go_on(house: House) -> None:
    with house.database.connect() as conn:
        with conn.cursor().copy("COPY (SELECT n, pg_sleep(0.05) FROM generate_series(1, 4) AS n) TO STDOUT") as copy:
            assert len(list(messages(copy))) == 4
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_an_error_after_some_rows(house: House) -> None:
    read = []
    with house.database.connect() as conn:
        with (  # noqa: PT012
            pytest.raises(psycopg.errors.DivisionByZero),
            conn.cursor().copy("COPY (SELECT 1 / (2000 - n) FROM generate_series(1, 3000) AS n) TO STDOUT") as copy,
        ):
            for message in messages(copy):
                read.append(bytes(message))
        conn.rollback()
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert len(read) == 1999


def test_a_connection_that_is_cut(house: House) -> None:
    with (
        house.database.connect() as conn,
        pytest.raises(psycopg.OperationalError),
        conn.cursor().copy("COPY (SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(9)) TO STDOUT") as copy,
    ):
        list(messages(copy))
