"""What all tests share: one real PostgreSQL with pgvector, and a fresh database for each test that asks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings

from pgvector_backup.embedded.server import EmbeddedPostgres

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 with pgvector, for as long as the tests run."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as running:
        with psycopg.connect(running.uri("template1"), autocommit=True) as conn:
            conn.execute("CREATE EXTENSION vector")
        yield running


@dataclass(frozen=True)
class Database:
    """A database of one test's own, with the extension `vector` in it."""

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


def _fresh(server: EmbeddedPostgres, template: str) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield Database(server, name)
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def database(server: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database with pgvector, dropped afterwards."""
    yield from _fresh(server, "template1")


@pytest.fixture
def elsewhere(server: EmbeddedPostgres) -> Iterator[Database]:
    """Another database, in which there is nothing at all, not even pgvector."""
    yield from _fresh(server, "template0")


@pytest.fixture
def backup_root(tmp_path: Path) -> Path:
    """An empty directory for the sets of one test."""
    root = tmp_path / "training_data"
    root.mkdir()
    return root
