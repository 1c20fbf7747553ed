"""Tables made, locked and emptied for a restore: which of them, how hard, and what is told of it; in one database."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg import Connection

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, DatabaseFault
from pgvector_backup.engine.load import provide
from pgvector_backup.engine.postgres.description import describe
from pgvector_backup.engine.postgres.session import session
from pgvector_backup.engine.postgres.table_name import TableName
from tests.helpers.database import Database, fresh

SCENE = """
CREATE SCHEMA s;
CREATE TABLE s.a (id serial PRIMARY KEY, v text);
CREATE TABLE s.b (id int REFERENCES s.a);
CREATE TABLE s.c (id int);
CREATE MATERIALIZED VIEW s.m AS SELECT 1 AS id;
INSERT INTO s.a (v) SELECT 'x' FROM generate_series(1, 3);
INSERT INTO s.b VALUES (1), (2);
INSERT INTO s.c VALUES (7)
"""


@pytest.fixture(scope="module")
def database(server: OpenedPostgres) -> Iterator[Database]:
    with fresh(server) as made:
        made.run(SCENE)
        yield made


@pytest.fixture
def conn(database: Database) -> Iterator[Connection[Any]]:
    """In a transaction that is never committed."""
    with session(database.connect, Cancel(), lock_timeout=1) as conn:
        conn.execute("BEGIN")
        yield conn


def place(table: str, *, created: bool = False) -> Any:
    return SimpleNamespace(
        stored=SimpleNamespace(label=f"label of {table}"), name=TableName("s", table), created=created
    )


def asked(*, emptied: bool) -> Any:
    return SimpleNamespace(truncate_before_restore=emptied, on_conflict="error")


def held(conn: Connection[Any]) -> dict[str, str]:
    rows = conn.execute(
        "SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " WHERE l.pid = pg_backend_pid() AND c.relnamespace = 's'::regnamespace AND c.relkind = 'r'"
    ).fetchall()
    return dict(rows)


@pytest.mark.parametrize(("emptied", "mode"), [(True, "AccessExclusiveLock"), (False, "ShareRowExclusiveLock")])
def test_the_tables_that_were_there_are_locked_and_no_others(conn: Connection[Any], emptied: bool, mode: str) -> None:
    provide.lock(conn, [place("a"), place("b", created=True), place("c")], asked(emptied=emptied))
    assert held(conn) == {"a": mode, "c": mode}


def test_where_every_table_was_made_none_is_locked(conn: Connection[Any]) -> None:
    provide.lock(conn, [place("a", created=True)], asked(emptied=True))
    assert held(conn) == {}
    provide.lock(conn, [], asked(emptied=True))
    assert held(conn) == {}


def test_what_is_no_table_cannot_be_locked_and_is_named(conn: Connection[Any]) -> None:
    with pytest.raises(Conflict, match=r"^s\.a, s\.m: not all of them are tables, so no rows can be restored"):
        provide.lock(conn, [place("a"), place("m"), place("b", created=True)], asked(emptied=False))


def test_who_keeps_it_waiting_is_named(conn: Connection[Any], database: Database) -> None:
    with psycopg.connect(database.uri(), application_name="the holder") as other:
        other.execute("LOCK TABLE s.c IN ROW EXCLUSIVE MODE")
        with pytest.raises(DatabaseFault, match="label of a, label of c.*the holder"):
            provide.lock(conn, [place("a"), place("c")], asked(emptied=False))


def plan(conn: Connection[Any], table: str, *, emptied: bool, before: int) -> Any:
    return SimpleNamespace(
        table=describe(conn, TableName("s", table)), label=f"label of {table}", emptied=emptied, rows_before=before
    )


def test_only_what_is_to_be_emptied_is(conn: Connection[Any]) -> None:
    plans = [plan(conn, "a", emptied=True, before=3), plan(conn, "b", emptied=True, before=2)]
    plans.append(plan(conn, "c", emptied=False, before=1))
    assert provide.empty(conn, plans) == {"label of a": (3, 0), "label of b": (2, 0)}
    counts = [conn.execute(f"SELECT count(*) FROM s.{name}").fetchone() for name in "abc"]
    assert counts == [(0,), (0,), (1,)]
    # A number that was given out stays given out.
    assert conn.execute("INSERT INTO s.a (v) VALUES ('x') RETURNING id").fetchone() == (4,)


def test_nothing_is_emptied_that_nobody_asked_for(conn: Connection[Any]) -> None:
    assert provide.empty(conn, [plan(conn, "a", emptied=False, before=3)]) == {}
    assert provide.empty(conn, []) == {}
    assert conn.execute("SELECT count(*) FROM s.a").fetchone() == (3,)


def test_a_table_beside_it_is_never_emptied_along(conn: Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        provide.empty(conn, [plan(conn, "a", emptied=True, before=3)])


# --- tables that are made ---


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of what makes an extension and a table."""
    calls: list[Any] = []

    def extension(conn: Any, entries: Any) -> bool:
        calls.append(("extension", list(entries)))
        return True

    def table(conn: Any, entry: Any, name: Any) -> list[str]:
        calls.append((entry, name.label))
        return [f"note on {entry}"]

    monkeypatch.setattr(provide, "create_extension", extension)
    monkeypatch.setattr(provide, "create_table", table)
    return calls


@pytest.mark.parametrize("create", [True, False])
def test_what_is_missing_is_made(made: list[Any], create: bool) -> None:
    def one(label: str, entry: str | None, *, exists: bool) -> Any:
        stored = SimpleNamespace(label=label, entry=entry)
        return SimpleNamespace(stored=stored, name=TableName("s", label), exists=exists, created=not exists)

    places = [one("t", "of t", exists=True), one("u", "of u", exists=False), one("v", None, exists=True)]
    request = SimpleNamespace(create_missing=create, on_conflict="error")
    assert provide.make(cast("Any", None), places, cast("Any", request)) == {"u": ["note on of u"]}
    assert made == [*([("extension", ["of t", "of u"])] if create else []), ("of u", "s.u")]
    assert [one.exists for one in places] == [True, True, True]
