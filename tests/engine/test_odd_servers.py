"""Databases of other encodings, and values that have no binary form or are too large."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.postgres.parameters import with_defaults
from tests.engine.test_restore_states import rows, script
from tests.helpers.database import Database
from tests.helpers.house import House


@pytest.fixture
def bytes_only(server: OpenedPostgres) -> Iterator[Database]:
    """A database that takes any bytes for text."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS any_bytes WITH (FORCE)")
        conn.execute("CREATE DATABASE any_bytes ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    made = Database(server, "any_bytes")
    made.run("CREATE EXTENSION vector")
    yield made
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE any_bytes WITH (FORCE)")


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_a_database_of_no_encoding(bytes_only: Database, backup_root: Path, file_format: str) -> None:
    house = House(bytes_only, backup_root)
    house.configure(tables="t")
    with psycopg.connect(bytes_only.uri(), client_encoding="SQL_ASCII", autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int PRIMARY KEY, w text, v vector(2))")
        conn.execute(b"INSERT INTO t VALUES (1, 'caf\xc3\xa9', '[1,2]'), (2, 'caf\xe9', NULL)")
    failure = house.backup(file_format=file_format).failure
    assert failure is not None
    assert "SQL_ASCII" in failure.message
    assert "column w of the row with \"id\" = '2'" in failure.message
    assert not failure.can_retry
    # The statement that it proposes puts the row right.
    bytes_only.run(failure.message[failure.message.index("UPDATE") :])
    assert bytes_only.run("SELECT convert_to(w, 'SQL_ASCII') FROM t WHERE id = 2") == [(b"caf\xc3\xa9",)]
    assert house.backup(file_format=file_format).failure is None
    bytes_only.run("DELETE FROM t WHERE id = 2")
    query = "SELECT id, encode(convert_to(w, 'SQL_ASCII'), 'hex') FROM t"
    before = bytes_only.run(query)
    house.backup(file_format=file_format)
    assert house.verify(depth="rows").errors == []
    for request in ({"on_conflict": "skip"}, {"truncate_before_restore": True}, {"on_conflict": "update"}):
        house.restore(**request)
        assert bytes_only.run(query) == before


@pytest.mark.parametrize("quoted", ["it''s", 'O"x'])
def test_rows_of_no_text_are_named_without_a_key_too(bytes_only: Database, backup_root: Path, quoted: str) -> None:
    house = House(bytes_only, backup_root)
    house.configure(tables="t")
    with psycopg.connect(bytes_only.uri(), client_encoding="SQL_ASCII", autocommit=True) as conn:
        conn.execute('CREATE TABLE t (w text, "o\'d" text)')
        conn.execute(f"INSERT INTO t VALUES ('{quoted}', 'caf".encode() + b"\xe9'), ('x', 'y')")
    failure = house.backup().failure
    assert failure is not None
    assert "column o'd of the row with \"ctid\" = '(0,1)'" in failure.message
    bytes_only.run(failure.message[failure.message.index("UPDATE") :])
    assert house.backup().failure is None


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_a_server_whose_encoding_python_does_not_know(house: House, file_format: str) -> None:
    with psycopg.connect(house.database.server.dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE taiwan ENCODING 'EUC_TW' LOCALE 'C' TEMPLATE template0")
    made = Database(house.database.server, "taiwan")
    try:
        house.connect = lambda: psycopg.connect(made.uri(), **with_defaults({}, {}))
        with psycopg.connect(made.uri(), client_encoding="UTF8", autocommit=True) as conn:
            conn.execute("CREATE TABLE t (id int PRIMARY KEY, w text)")
            conn.execute("INSERT INTO t VALUES (1, '中文'), (2, NULL)")
            house.configure(tables="t", truncate_tables="t")
            result = house.backup(file_format=file_format)
            assert result.failure is None
            assert house.truncate(result).rows_before == {"t": 2}
            house.restore()
            assert conn.execute("SELECT * FROM t ORDER BY id").fetchall() == [(1, "中文"), (2, None)]
    finally:
        with psycopg.connect(house.database.server.dsn, autocommit=True) as conn:
            conn.execute("DROP DATABASE taiwan WITH (FORCE)")


def test_values_that_binary_files_cannot_give_back_are_refused_when_the_backup_is_made(house: House) -> None:
    script(
        house,
        "CREATE DOMAIN asked AS tsquery;\nCREATE TABLE t (id int PRIMARY KEY, q asked, a aclitem[]);\n"
        "INSERT INTO t VALUES (1, '', NULL), (2, 'a & b', '{=r/postgres}')",
    )
    house.configure(tables="t")
    for word in ("column a is of type aclitem", "column q holds an empty tsquery"):
        failure = house.backup(file_format="binary").failure
        assert failure is not None
        assert word in failure.message
        assert "use file_format csv" in failure.message
        assert not failure.can_retry
        if "aclitem" in word:
            house.backup()
            before = rows(house.database, "t")
            house.database.run("DELETE FROM t WHERE id = 2")
            for request in ({"on_conflict": "skip"}, {"on_conflict": "update"}, {"truncate_before_restore": True}):
                house.restore(**request)
                assert rows(house.database, "t") == before
            house.database.run("ALTER TABLE t DROP a")
    house.database.run("DELETE FROM t WHERE id = 1")
    house.backup(file_format="binary")
    house.restore(truncate_before_restore=True)
    assert rows(house.database, "t") == ["(2,\"'a' & 'b'\")"]


@pytest.mark.parametrize(
    "said",
    ["invalid memory alloc request size 1258291203", "string buffer exceeds maximum allowed length (1073741823 bytes)"],
)
def test_a_row_that_is_too_large_for_the_server_names_the_other_format(house: House, said: str) -> None:
    script(
        house,
        "CREATE FUNCTION large() RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE program_limit_exceeded USING MESSAGE ="
        f" '{said}'; END$$;\nCREATE VIEW t AS SELECT large() AS w",
    )
    house.configure(tables="t", back_up_views=True)
    failure = house.backup().failure
    assert isinstance(failure, DatabaseFault)
    assert "use file_format binary" in failure.message
    assert not failure.can_retry
