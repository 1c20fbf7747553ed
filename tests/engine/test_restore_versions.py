"""Sets written by one version of PostgreSQL load into another, both ways."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from tests.helpers.chains import increment
from tests.helpers.database import Database, contents
from tests.helpers.house import House
from tests.helpers.kinds import KINDS
from tests.helpers.langchain import PAIR

pytestmark = pytest.mark.apart

HNSW = "CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)"


@pytest.fixture(scope="module")
def older_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedPostgres]:
    with OpenedPostgres(tmp_path_factory.mktemp("postgres16"), version=16) as running:
        yield running


@pytest.fixture
def older(older_server: OpenedPostgres) -> Iterator[Database]:
    with psycopg.connect(older_server.dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE test")
    yield Database(older_server, "test")
    with psycopg.connect(older_server.dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE test WITH (FORCE)")


def version(database: Database) -> int:
    return int(database.run("SHOW server_version_num")[0][0]) // 10_000


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_from_18_into_16_and_back(
    house: House, older: Database, elsewhere: Database, file_format: str, compression: str
) -> None:
    assert (version(house.database), version(older), version(elsewhere)) == (18, 16, 18)
    house.langchain(3000)
    house.database.run(HNSW)
    before = contents(house.database, *PAIR)
    house.backup(file_format=file_format, compression=compression)
    result = house.restore(into=older)
    assert contents(older, *PAIR) == before
    assert "by_cosine" in result.tables["langchain_pg_embedding"].indexes
    house.connect = older.connect
    house.backup(file_format=file_format, compression=compression)
    house.restore(into=elsewhere)
    assert contents(elsewhere, *PAIR) == before
    house.restore(into=house.database, truncate_before_restore=True)
    assert contents(house.database, *PAIR) == before


@pytest.mark.parametrize("kind", ["all_vector_types", "generated_and_dropped", "langchain_older", "partitioned"])
def test_every_type_from_16_into_18(house: House, older: Database, kind: str) -> None:
    name, script = KINDS[kind]
    older.run("CREATE EXTENSION vector")
    older.run(script)
    house.configure(tables=name)
    house.connect = older.connect
    for file_format in ("csv", "binary"):
        house.backup(file_format=file_format)
        house.database.run(f"DROP TABLE IF EXISTS {name}")
        house.restore(into=house.database)
        assert contents(house.database, name) == contents(older, name)


def test_a_chain_of_16_into_18(house: House, older: Database) -> None:
    older.run("CREATE EXTENSION vector")
    older.run("CREATE TABLE t (id text PRIMARY KEY, n int, v vector(3))")
    older.run("INSERT INTO t SELECT 'k' || g, g, '[1,2,3]' FROM generate_series(1, 300) g")
    house.configure(tables="t")
    house.connect = older.connect
    for night in range(4):
        result = increment(house)
        assert result.chain_length == night + 1, result.full_because
        older.run(f"UPDATE t SET n = -n WHERE n % 20 = {night}")
        older.run(f"DELETE FROM t WHERE n % 30 = {night + 10}")
    before = contents(older, "t")
    assert increment(house).mode == "incremental"
    house.restore(into=house.database)
    assert contents(house.database, "t") == before
