"""Sequences after a restore: the next number is one that no row has and nobody was given, whichever way they count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from psycopg import Connection

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.load.advances import advance
from pgvector_backup.engine.postgres.description import describe
from pgvector_backup.engine.postgres.sequences import sequences_of
from pgvector_backup.engine.postgres.session import session
from pgvector_backup.engine.postgres.table_name import TableName
from tests.helpers.database import fresh

UP, DOWN, ROUND = "", "INCREMENT -1 MINVALUE -10000", "MAXVALUE 100 CYCLE"


@pytest.fixture(scope="module")
def conn(server: OpenedPostgres) -> Iterator[Connection[Any]]:
    with fresh(server) as made, session(made.connect, Cancel(), lock_timeout=2) as conn:
        yield conn


@dataclass(frozen=True)
class Case:
    """A table as the rows have come back into it, and what the set says of its sequence.

    :param at: what the sequence has given out last; None: nothing
    :param was: ``last_value`` and ``is_called`` in the set; None: the set tells nothing
    :param then: what it gives out next
    """

    rows: tuple[int, ...]
    at: int | None
    was: tuple[int | None, bool] | None
    then: int
    options: str = UP
    column: str = "bigint DEFAULT nextval('s.q')"
    kept: int = 0
    created: bool = False
    told: str = ""


CASES = {
    "behind its rows": Case((1, 7, 3), 3, (5, True), 8),
    "behind its rows and the set": Case((1, 7, 3), 3, (9, True), 10),
    "behind the set, without rows": Case((), 3, (9, True), 10),
    "at its rows": Case((1, 7), 7, (5, True), 8),
    "ahead of both": Case((1, 7), 20, (9, True), 21),
    "fresh, with rows": Case((1, 7), None, None, 8),
    "fresh, without rows": Case((), None, None, 1),
    "fresh, the set's given out": Case((), None, (5, True), 6),
    "fresh, the set's not given out, of a table that is made": Case((), None, (5, False), 5, created=True),
    "fresh, the set's not given out, of a table that is there": Case((), None, (5, False), 1),
    "given out to others, the set's not": Case((), 20, (5, False), 21, created=True),
    "given out to others before, the set's not": Case((), 3, (5, False), 4, created=True),
    "rows before one that was not given out": Case((1, 7), None, (50, False), 8, created=True),
    "one that the role could not read": Case((1, 7), None, (None, False), 8),
    "one that the role could not read, without rows": Case((), None, (None, False), 1, created=True),
    "down, behind its rows": Case((-1, -7), -3, (-5, True), -8, options=DOWN),
    "down, behind the set": Case((-1, -7), -3, (-9, True), -10, options=DOWN),
    "down, at its rows": Case((-1, -7), -7, (-5, True), -8, options=DOWN),
    "down, ahead of both": Case((-1, -7), -20, (-9, True), -21, options=DOWN),
    "round, as the set says": Case((1, 70), 3, (50, True), 51, options=ROUND),
    "round, as the set says, not given out": Case((1, 70), 3, (50, False), 50, options=ROUND),
    "round, beside rows that are kept": Case((1, 70), 3, (50, True), 4, options=ROUND, kept=1),
    "round, the set tells nothing": Case((1, 70), 3, None, 4, options=ROUND),
    "round, the set could not read it": Case((1, 70), 3, (None, False), 4, options=ROUND),
    "up to its end": Case((1, 100), 3, None, 0, options="MAXVALUE 100"),
    "beyond its end": Case((1, 101), 3, None, 4, options="MAXVALUE 100", told="widen it by ALTER SEQUENCE"),
    "before its beginning": Case(
        (5,), None, None, 10, options="MINVALUE 10", told="counts from 10 to 9,223,372,036,854,775,807"
    ),
    "of a computed number": Case((1, 7), 3, None, 4, column="bigint DEFAULT nextval('s.q') * 2", told="does not tell"),
    "of a computed number, as the set says": Case((1, 7), 3, (9, True), 10, column="bigint DEFAULT nextval('s.q') * 2"),
    "of a text": Case((1, 7), 3, (9, True), 10, column="text DEFAULT nextval('s.q')"),
    "of a text, unread": Case((1, 7), 3, (None, False), 4, column="text DEFAULT nextval('s.q')", told="not tell how"),
    "of a numeric": Case((1, 7), 3, None, 4, column="numeric DEFAULT nextval('s.q')", told="beyond what the column"),
    "of a small number": Case((1, 7), 3, None, 8, column="smallint DEFAULT nextval('s.q')"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_next_number_is_new(conn: Connection[Any], name: str) -> None:
    case = CASES[name]
    conn.execute("BEGIN")
    try:
        conn.execute(f"CREATE SCHEMA s; CREATE SEQUENCE s.q {case.options}; CREATE TABLE s.t (id {case.column})")
        for number in case.rows:
            conn.execute(f"INSERT INTO s.t VALUES ('{number}')")
        if case.at is not None:
            conn.execute(f"SELECT setval('s.q', {case.at})")
        table = describe(conn, TableName("s", "t"))
        assert len(sequences_of(conn, table.oid)) == 1
        told = (
            ()
            if case.was is None
            else (SimpleNamespace(columns=("id",), last_value=case.was[0], is_called=case.was[1]),)
        )
        plan = SimpleNamespace(
            label="t",
            table=table,
            stored=SimpleNamespace(entry=SimpleNamespace(sequences=told)),
            rows_kept=case.kept,
            created=case.created,
            notes=[],
        )
        advance(conn, cast("Any", plan))
        if case.then:
            assert conn.execute("SELECT nextval('s.q')").fetchone() == (case.then,)
        else:
            assert conn.execute("SELECT last_value, is_called FROM s.q").fetchone() == (100, True)
        if not case.told:
            assert plan.notes == []
        else:
            (note,) = plan.notes
            assert note.startswith("t: ")
            assert case.told in note
            assert "s.q" in note
    finally:
        conn.execute("ROLLBACK")


def test_of_two_sequences_each_goes_by_its_own_column(conn: Connection[Any]) -> None:
    conn.execute("BEGIN")
    try:
        conn.execute(
            "CREATE SCHEMA s; CREATE TABLE s.t (a serial, b serial, c int GENERATED ALWAYS AS IDENTITY);"
            "INSERT INTO s.t OVERRIDING SYSTEM VALUE VALUES (10, 20, 30)"
        )
        table = describe(conn, TableName("s", "t"))
        told = tuple(
            SimpleNamespace(columns=(name,), last_value=last, is_called=True) for name, last in (("b", 5), ("a", 50))
        )
        plan: Any = SimpleNamespace(
            label="t",
            table=table,
            stored=SimpleNamespace(entry=SimpleNamespace(sequences=told)),
            rows_kept=0,
            created=False,
            notes=[],
        )
        advance(conn, plan)
        assert conn.execute("INSERT INTO s.t DEFAULT VALUES RETURNING a, b, c").fetchone() == (51, 21, 31)
        plan.stored.entry = None
        conn.execute("INSERT INTO s.t (b) VALUES (40)")
        advance(conn, plan)
        assert conn.execute("INSERT INTO s.t DEFAULT VALUES RETURNING a, b, c").fetchone() == (53, 41, 33)
        assert plan.notes == []
    finally:
        conn.execute("ROLLBACK")
