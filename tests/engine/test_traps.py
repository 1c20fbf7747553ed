"""Who may create objects in a database cannot have them run by a backup, a truncate, a restore or a verification."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.preview import preview
from tests.helpers import langchain, traps
from tests.helpers.database import Database
from tests.helpers.house import House

pytestmark = pytest.mark.slow

ROWS = 1200
"""Enough that a restore drops indexes and foreign keys for the time of the load."""

TABLES = """
SET ROLE app;
CREATE INDEX ON public.langchain_pg_embedding USING hnsw (embedding public.vector_l2_ops);
CREATE TYPE public.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN public.short AS varchar CHECK (length(VALUE) < 40);
CREATE TABLE public.numbered (
    id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY (START 7), twice int GENERATED ALWAYS AS (n * 2) STORED,
    mood public.mood DEFAULT 'ok', half public.halfvec(3), sparse public.sparsevec(5), b bit(16), at timestamptz,
    CHECK (n > 0));
INSERT INTO public.numbered (half, sparse, b, at) SELECT '[1,2,3]', '{1:1}/5', 7::bit(16), now()
    FROM generate_series(1, 1200);
CREATE TABLE public.keyed (key public.short, part int, v public.vector(3), PRIMARY KEY (key, part));
INSERT INTO public.keyed SELECT 'k' || n, n, '[1,2,3]' FROM generate_series(1, 20) AS n;
CREATE TABLE public.parted (id int PRIMARY KEY, v public.vector(3)) PARTITION BY RANGE (id);
CREATE TABLE public.parted_low PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
CREATE TABLE public.parted_high PARTITION OF public.parted FOR VALUES FROM (10) TO (100);
INSERT INTO public.parted SELECT n, '[1,2,3]' FROM generate_series(1, 20) AS n;
CREATE TYPE public.grade AS ENUM ('low', 'high');
CREATE TYPE public.pair AS (a int, b text);
CREATE TYPE public.span AS RANGE (SUBTYPE = int);
CREATE TABLE public.own_types (g public.grade PRIMARY KEY, p public.pair, s public.span, v public.vector(3));
INSERT INTO public.own_types VALUES ('low', ROW(1, 'x'), '[1,5)', '[1,2,3]'), ('high', NULL, 'empty', NULL);
"""

CASTS = [
    (f"public.{source}", target)
    for source in ("grade", "pair", "span")
    for target in ("text", "varchar", "jsonb", "int", "bytea")
]
"""Casts of the owner's types: no search path keeps these from being taken where a statement asks for one.

On assignment, not implicit: those make `=` ambiguous, for the owner too, and are an error rather than a trap.
"""


def lay_casts(conn: psycopg.Connection[object]) -> int:
    """Traps where a value of one of the owner's types would be turned into another one.

    :return: how many
    """
    for number, (source, target) in enumerate(CASTS):
        conn.execute(
            f"CREATE FUNCTION public.cast_{number}({source}) RETURNS {target} LANGUAGE plpgsql"
            f" AS $f$ BEGIN PERFORM trap.fire('{source} as {target}'); END $f$".encode()
        )
        conn.execute(
            f"CREATE CAST ({source} AS {target}) WITH FUNCTION public.cast_{number}({source}) AS ASSIGNMENT".encode()
        )
    return len(CASTS)


PAIR = list(langchain.PAIR)
NAMES = "langchain_pg_collection,langchain_pg_embedding,numbered,keyed,parted,own_types"


@pytest.fixture(scope="module")
def trapped(server: OpenedPostgres) -> Iterator[Database]:
    """A database of role `app`, full of traps; role `victim`, a superuser, is to work in it."""
    name = "trapped"
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE ROLE app LOGIN")
        conn.execute("CREATE ROLE victim LOGIN SUPERUSER")
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template1 OWNER app".encode())
    database = Database(server, name)
    database.run("GRANT ALL ON SCHEMA public TO app")
    database.run("SET ROLE app;" + langchain.filled(ROWS))
    database.run(TABLES)
    with psycopg.connect(server.uri(name), autocommit=True) as conn:
        laid = traps.lay(conn, ["public", "victim", "first"])
        assert lay_casts(conn) == 15
        # What a truncate looks for beside the table that it empties.
        conn.execute(
            "CREATE VIEW public.upsertion_record AS SELECT 'a'::pg_catalog.text AS key, 'b' AS namespace"
            " WHERE trap.fire('a view beside the tables')"
        )
    assert laid["function"] > 1000
    assert laid["operator"] > 1000
    assert laid["type"] > 20
    assert laid["relation"] > 50
    yield database
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        conn.execute("DROP ROLE app")
        conn.execute("DROP ROLE victim")


PATHS = {
    "none of its own": [],
    "of the role": ["ALTER ROLE victim IN DATABASE trapped SET search_path = first, public, pg_catalog"],
    "of the database": ["ALTER DATABASE trapped SET search_path = first, victim, public, pg_catalog"],
}


@pytest.fixture(params=PATHS)
def victim(request: Any, trapped: Database, backup_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The house of the superuser, with one of the search paths."""
    for statement in PATHS[request.param]:
        trapped.run(statement)
    house = House(trapped, backup_root)
    house.connect = lambda: trapped.connect("victim")
    house.configure(tables=NAMES, truncate_tables=house.settings.truncate_tables)
    everywhere(monkeypatch, "_WORTH_PROCESSES", 0)
    everywhere(monkeypatch, "WORTH_WORKERS", 0)
    yield house
    trapped.run("ALTER ROLE victim IN DATABASE trapped RESET ALL")
    trapped.run("ALTER DATABASE trapped RESET ALL")


def everywhere(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Change a limit of the engine, in whichever module it is."""
    found = [
        module for key, module in sys.modules.items() if key.startswith("pgvector_backup.") and name in vars(module)
    ]
    assert found
    for module in found:
        monkeypatch.setattr(module, name, value)


def sprung(database: Database) -> list[str]:
    """What the server's log tells of traps."""
    return [line for line in database.server.log.read_text(errors="replace").splitlines() if traps.MARK in line]


def test_the_traps_are_sharp(trapped: Database) -> None:
    """What a session without a search path of its own would spring."""
    for path, statement in {
        "public": "SELECT pg_relation_size(oid) FROM pg_class",
        "first, pg_catalog": "SELECT count(*) FROM pg_class WHERE relname = 'x'::name",
        "victim, pg_catalog": "SELECT 'x'::text",
    }.items():
        before = len(sprung(trapped))
        with psycopg.connect(trapped.uri("victim")) as conn:
            conn.execute(f"SET search_path = {path}".encode())
            with pytest.raises(psycopg.Error, match=traps.MARK):
                conn.execute(statement.encode()).fetchall()
        assert len(sprung(trapped)) > before


@pytest.mark.slow
def test_no_story_springs_a_trap(victim: House) -> None:
    before = sprung(victim.database)
    for story in STORIES:
        story(victim)
        assert sprung(victim.database)[len(before) :] == [], story.__name__


# --- the stories ---


def _backups(house: House) -> None:
    for request in (
        {"file_format": "binary", "compression": "zstd"},
        {"file_format": "binary", "compression": "none"},
        {"file_format": "csv", "compression": "gzip"},
        {"file_format": "csv", "compression": "none"},
    ):
        assert preview(BackupRequest.from_mapping(request), house.settings, house.connect).failure is None
        result = house.backup(**request)
        assert result.failure is None
        assert result.tables["numbered"].rows == ROWS


def _truncate(house: House) -> None:
    result = house.backup(truncate_vector_tables=True)
    assert house.truncate(result).rows_after == {"langchain_pg_embedding": 0}
    result = house.restore(tables=["langchain_pg_embedding"])
    assert result.tables["langchain_pg_embedding"].rows == ROWS


def _restores(house: House) -> None:
    for request in (
        {"on_conflict": "skip"},
        {"on_conflict": "update"},
        {"truncate_before_restore": True},
        {"schema": "elsewhere", "create_missing": True},
        {"schema": "elsewhere", "on_conflict": "update"},
        {
            "tables": list(langchain.PAIR),
            "collections": ["collection 1"],
            "rename_collection": {"collection 1": "copy"},
        },
        {"tables": ["langchain_pg_embedding"], "collections": ["collection 2"], "on_conflict": "skip"},
    ):
        for dry_run in (True, False):
            house.restore(dry_run=dry_run, **request)
    house.database.run("DROP SCHEMA elsewhere CASCADE")
    house.database.run("DELETE FROM public.langchain_pg_collection WHERE name OPERATOR(pg_catalog.=) 'copy'")


def _verifications(house: House) -> None:
    house.configure(tables=",".join([*PAIR, "parted"]))
    assert house.backup().failure is None
    for depth in ("files", "rows", "drill"):
        assert house.verify(depth=depth).failure is None


def _increments(house: House) -> None:
    house.configure(tables=NAMES)
    assert house.backup(mode="full").failure is None
    house.database.run("UPDATE public.own_types SET v = '[3,2,1]' WHERE g OPERATOR(pg_catalog.=) 'low'")
    result = house.backup(mode="incremental")
    assert result.failure is None
    assert house.restore(truncate_before_restore=True).tables["own_types"].rows == 2


STORIES: list[Callable[[House], None]] = [_backups, _truncate, _restores, _increments, _verifications]
