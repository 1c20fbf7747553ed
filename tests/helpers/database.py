"""A database of one test's own."""

from __future__ import annotations

import atexit
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from pgvector_backup.embedded.server import EmbeddedPostgres

_numbers = itertools.count(1)
_kept: dict[str, psycopg.Connection[Any]] = {}


@dataclass(frozen=True)
class Database:
    """A database on the tests' server."""

    server: EmbeddedPostgres
    name: str

    def uri(self, user: str = "postgres") -> str:
        return self.server.uri(self.name, user=user)

    def connect(self, user: str = "postgres") -> psycopg.Connection[Any]:
        """A new connection, in a transaction of its own, as the engine is given them."""
        return psycopg.connect(self.uri(user))

    def run(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Execute and commit one statement; its rows, if it has any."""
        with psycopg.connect(self.uri(), autocommit=True) as conn:
            cursor = conn.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def fresh(server: EmbeddedPostgres, template: str = "template1") -> Iterator[Database]:
    """A new database, dropped with the block; with ``template0`` there is not even pgvector in it."""
    name = f"test_{next(_numbers)}"
    # As files: half the work of a copy through the write-ahead log, where nobody waits for a disk.
    _order(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield Database(server, name)
    _order(server, f"DROP DATABASE {name} WITH (FORCE)")


def _order(server: EmbeddedPostgres, statement: str) -> None:
    """Execute what is about databases, on one connection for all: two new ones cost more than making a database."""
    conn = _kept.get(server.dsn)
    if conn is None:
        conn = _kept[server.dsn] = psycopg.connect(server.dsn, autocommit=True)
        atexit.register(conn.close)
    conn.execute(statement.encode())


def settled(database: Database) -> None:
    """Wait until the server has noticed that a killed client is gone."""
    with psycopg.connect(database.uri(), autocommit=True) as conn:
        alone(conn)


def alone(conn: psycopg.Connection[Any]) -> None:
    """The same, on a connection that is there."""
    deadline = time.monotonic() + 20
    while conn.execute(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ).fetchone():
        assert time.monotonic() < deadline, "a backend does not end"
        time.sleep(0.005)


def contents(database: Database, *tables: str) -> dict[str, list[Any]]:
    """Every row of these tables as text, sorted: the judge knows nothing of the engine."""
    with psycopg.connect(database.uri(), autocommit=True) as conn:
        rows = {table: conn.execute(f"SELECT r::text FROM {table} r".encode()).fetchall() for table in tables}
    return {table: sorted(row[0] for row in found) for table, found in rows.items()}


def definitions(database: Database) -> list[tuple[Any, ...]]:
    """Every column, constraint and index of the database's own tables."""
    return database.run(DEFINITIONS)


DEFINITIONS = (
    "SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,"
    "       pg_get_expr(d.adbin, d.adrelid) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    "  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    "  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0"
    "  AND NOT attisdropped"
    " UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint"
    "  WHERE connamespace = 'public'::regnamespace"
    " UNION ALL SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'"
    " ORDER BY 1, 2, 3"
)
