"""What airflow-init of docker-compose.yaml makes of a vector database: who may do what in it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from psycopg import errors

from pgvector_backup.embedded.server import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("pgvector_restore", "pgvector_backup", "vectors")


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as the container runs it."""
    monkeypatch.setenv("AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT", str(tmp_path))
    for name in ("PGVECTOR_PASSWORD", "PGVECTOR_BACKUP_PASSWORD", "PGVECTOR_RESTORE_PASSWORD"):
        monkeypatch.setenv(name, f"secret of {name}")
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "compose" / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vectors(server: EmbeddedPostgres, prepare: ModuleType) -> Iterator[EmbeddedPostgres]:
    """The database `vectors`, prepared twice, with the sample's tables made by their owner in between."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE vectors TEMPLATE template0")
    try:
        with psycopg.connect(server.uri("vectors"), autocommit=True) as conn:
            prepare.make_roles(conn)
            with as_(server, "vectors") as owner:
                owner.execute((ROOT / "compose" / "sample.sql").read_bytes())
            prepare.make_roles(conn)
        yield server
    finally:
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("DROP DATABASE vectors WITH (FORCE)")
            for role in ROLES:
                conn.execute(f"DROP OWNED BY {role}".encode())
                conn.execute(f"DROP ROLE {role}".encode())


def as_(server: EmbeddedPostgres, role: str) -> psycopg.Connection[Any]:
    return psycopg.connect(server.uri("vectors", user=role), autocommit=True)


def test_none_of_them_is_a_superuser(vectors: EmbeddedPostgres) -> None:
    with as_(vectors, "postgres") as conn:
        found = conn.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND NOT rolsuper AND NOT rolcreaterole"
            " AND NOT rolcreatedb AND NOT rolreplication AND NOT rolbypassrls",
            [list(ROLES)],
        ).fetchall()
    assert {name for (name,) in found} == set(ROLES)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO langchain_pg_collection VALUES (gen_random_uuid(), 'x', '{}')",
        "DELETE FROM langchain_pg_embedding",
        "DROP TABLE langchain_pg_embedding",
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "COPY langchain_pg_embedding TO PROGRAM 'cat'",
        "SET ROLE vectors",
    ],
)
def test_who_backs_up_changes_nothing(vectors: EmbeddedPostgres, statement: str) -> None:
    with as_(vectors, "pgvector_backup") as conn, pytest.raises(errors.InsufficientPrivilege):
        conn.execute(statement.encode())


def test_who_backs_up_reads_all_and_empties_what_may_be_emptied(vectors: EmbeddedPostgres) -> None:
    with as_(vectors, "vectors") as owner:
        owner.execute("CREATE TABLE later (id int)")
    with as_(vectors, "pgvector_backup") as conn:
        assert conn.execute("SELECT count(*) FROM langchain_pg_embedding").fetchone() == (10,)
        assert conn.execute("SELECT count(*) FROM later").fetchone() == (0,)
        conn.execute("TRUNCATE langchain_pg_embedding")


def test_who_restores_writes_and_builds_and_is_no_more_than_the_owner(vectors: EmbeddedPostgres) -> None:
    with as_(vectors, "pgvector_restore") as conn:
        conn.execute("INSERT INTO langchain_pg_embedding (id, embedding) VALUES ('new', '[1,2,3]')")
        conn.execute("CREATE INDEX made ON langchain_pg_embedding (document)")
        conn.execute("DROP INDEX made")
        conn.execute("CREATE TABLE made (id int)")
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute("COPY made TO PROGRAM 'cat'")


def test_passwords_are_those_of_env(vectors: EmbeddedPostgres) -> None:
    with as_(vectors, "postgres") as conn:
        (count,) = conn.execute(
            "SELECT count(*) FROM pg_authid WHERE rolname = ANY(%s) AND rolpassword IS NOT NULL", [list(ROLES)]
        ).fetchone() or (0,)
    assert count == 3


def test_a_directory_that_cannot_be_written_is_said_in_one_line(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root every directory can be written; what is not there cannot.
    monkeypatch.setattr(prepare, "BACKUPS", "/proc/nowhere")
    with pytest.raises(SystemExit) as ended:
        prepare.main()
    assert str(ended.value).startswith("error: the user ")
    assert "AIRFLOW_UID" in str(ended.value)
    assert "\n" not in str(ended.value)


def test_a_volume_older_than_env_is_said_in_one_line(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "airflow"')

    monkeypatch.setenv("METADATA_PASSWORD", "another")
    monkeypatch.setattr(prepare.psycopg, "connect", refuse)
    with pytest.raises(SystemExit) as ended:
        prepare.main()
    text = str(ended.value)
    assert text.startswith("error: metadata does not accept METADATA_PASSWORD of .env")
    assert "docker-compose down -v" in text
    assert "another" not in text.replace("another .env", "")
