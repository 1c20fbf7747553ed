"""What is to become of each table of a restore, decided in one database and without any rows of a set."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from psycopg import Connection

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, InvalidParams
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.load import plan
from pgvector_backup.engine.load.dropped import Droppable
from pgvector_backup.engine.load.plan import TablePlan, decide
from pgvector_backup.engine.postgres.session import session
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN
from tests.helpers.database import fresh

SCENE = """
CREATE SCHEMA s;
CREATE TABLE s.parent (id int PRIMARY KEY, v text);
CREATE TABLE s.child (id int PRIMARY KEY, parent int REFERENCES s.parent);
CREATE TABLE s.other (id int PRIMARY KEY, parent int REFERENCES s.parent);
CREATE INDEX by_v ON s.parent (v);
CREATE INDEX given_up ON s.parent (v);
CREATE TABLE s.empty (id int PRIMARY KEY);
CREATE TABLE s.keyless (id int);
CREATE TABLE s.nullable (id int UNIQUE, other int, UNIQUE NULLS NOT DISTINCT (other));
CREATE TABLE s.nullable_only (a int, b int, UNIQUE (a, b));
CREATE TABLE s.partly (id int NOT NULL);
CREATE UNIQUE INDEX ON s.partly (id) WHERE id > 0;
CREATE UNIQUE INDEX ON s.partly ((id + 1));
CREATE TABLE s.covering (id int NOT NULL, more int);
CREATE UNIQUE INDEX ON s.covering (id) INCLUDE (more);
CREATE TABLE s.ruled (id int PRIMARY KEY);
CREATE TABLE s.ruled_lightly (id int PRIMARY KEY);
CREATE TABLE s.ruled_off (id int PRIMARY KEY);
CREATE TABLE s.family (id int PRIMARY KEY);
CREATE TABLE s.young () INHERITS (s.family);
INSERT INTO s.parent VALUES (1), (2), (3);
INSERT INTO s.child VALUES (1, 1);
INSERT INTO s.keyless VALUES (1);
INSERT INTO s.nullable VALUES (1, 1), (NULL, 2);
INSERT INTO s.nullable_only VALUES (1, 1);
INSERT INTO s.partly VALUES (1);
INSERT INTO s.covering VALUES (1, NULL);
INSERT INTO s.ruled VALUES (1);
INSERT INTO s.ruled_lightly VALUES (1);
INSERT INTO s.ruled_off VALUES (1);
INSERT INTO s.family VALUES (1);
INSERT INTO s.young VALUES (2);
CREATE RULE gone AS ON INSERT TO s.ruled DO INSTEAD NOTHING;
CREATE RULE told AS ON UPDATE TO s.ruled_lightly DO ALSO NOTHING;
CREATE RULE gone AS ON INSERT TO s.ruled_off DO INSTEAD NOTHING;
ALTER TABLE s.ruled_off DISABLE RULE gone
"""


@pytest.fixture(scope="module")
def prepared(server: OpenedPostgres) -> Iterator[Connection[Any]]:
    with fresh(server) as made:
        for statement in SCENE.split(";"):
            made.run(statement)
        with session(made.connect, Cancel(), lock_timeout=1) as conn:
            yield conn


@pytest.fixture
def conn(prepared: Connection[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection[Any]]:
    monkeypatch.setattr(plan.target, "check", lambda stored, table: [f"{stored.label}: held against the table"])
    prepared.execute("BEGIN")
    yield prepared
    prepared.execute("ROLLBACK")


def entry(kind: str = "table", *, indexes: Any = (), constraints: Any = ()) -> Any:
    return SimpleNamespace(kind=kind, indexes=indexes, constraints=constraints, columns=(), types=())


def place(table: str, *, created: bool = False, exists: bool = True, of: Any = entry()) -> Any:  # noqa: B008
    stored = SimpleNamespace(label=table, entry=of, columns=("id",))
    return SimpleNamespace(stored=stored, name=TableName("s", table), created=created, exists=exists, notes=[])


def request(**asked: Any) -> RestoreRequest:
    return RestoreRequest.from_mapping({"backup_path": "vector_bak", "timestamp": "latest", **asked})


def one(conn: Connection[Any], where: Any, **asked: Any) -> TablePlan:
    (made,) = decide(conn, [where], request(**asked), None)
    return made


def test_a_table_that_is_there(conn: Connection[Any]) -> None:
    made = one(conn, place("parent"), on_conflict="skip")
    assert (made.label, made.name.label, made.created) == ("parent", "s.parent", False)
    assert (made.rows_before, made.rows_kept, made.emptied) == (3, 3, False)
    assert (made.staged, made.renamed, made.insert_rule) == (True, False, "skip")
    assert [index.name for index in made.droppable] == ["by_v", "given_up"]
    assert [index.doubtful for index in made.droppable] == [False, False]
    assert made.notes == ["parent: held against the table"]
    assert made.destination.columns == ("id",)


def test_a_table_that_is_emptied_meets_nothing(conn: Connection[Any]) -> None:
    (made, *_) = decide(
        conn, [place("parent"), place("child"), place("other")], request(truncate_before_restore=True), None
    )
    assert (made.rows_before, made.rows_kept, made.emptied) == (3, 0, True)
    assert (made.staged, made.insert_rule) == (False, "error")


def test_a_table_without_rows_meets_nothing(conn: Connection[Any]) -> None:
    made = one(conn, place("empty"), on_conflict="update")
    assert (made.rows_before, made.rows_kept, made.emptied, made.staged) == (0, 0, False, False)
    assert made.insert_rule == "error", "where none can be, none are looked for"


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("kind", ["table", "view"])
def test_a_table_that_is_made(conn: Connection[Any], emptied: bool, kind: str) -> None:
    where = place("parent", created=True, of=entry(kind))
    made = one(conn, where, truncate_before_restore=emptied)
    assert (made.created, made.rows_before, made.emptied, made.droppable) == (True, 0, False, ())
    told = ["parent: held against the table"]
    assert made.notes == told + ([] if kind == "table" else ["parent: it was a view, and is an ordinary table now"])


def test_another_tools_file_goes_into_a_table_that_is_there(conn: Connection[Any]) -> None:
    made = one(conn, place("parent", of=None), on_conflict="skip")
    assert (made.rows_before, made.loose_constraints, made.new_indexes) == (3, frozenset(), ())
    assert [index.doubtful for index in made.droppable] == [False, False]


def test_an_index_that_was_given_up_where_the_set_was_made_is_doubtful(conn: Connection[Any]) -> None:
    of = entry(indexes=[SimpleNamespace(name="given_up", valid=False), SimpleNamespace(name="by_v", valid=True)])
    made = one(conn, place("parent", of=of))
    assert {index.name: index.doubtful for index in made.droppable} == {"by_v": False, "given_up": True}
    # Into a table that keeps its rows it would not come back.
    assert [index.name for index in made.rebuilt(100_000)] == ["by_v"]
    assert made.rebuilt(999) == ()


def test_a_table_with_children_is_counted_with_them_where_the_set_holds_them(conn: Connection[Any]) -> None:
    assert one(conn, place("family")).rows_before == 1
    assert one(conn, place("family", of=entry(WITH_CHILDREN))).rows_before == 2
    for kind in ("view", "foreign table"):
        assert one(conn, place("family", of=entry(kind))).rows_before == 1


@pytest.mark.parametrize("table", ["keyless", "nullable_only", "partly"])
def test_rows_that_nothing_tells_apart_are_told_of(conn: Connection[Any], table: str) -> None:
    if table == "nullable_only":
        conn.execute("INSERT INTO s.nullable_only VALUES (1, NULL)")
    made = one(conn, place(table))
    assert len(made.notes) == 2
    assert made.notes[1].startswith(f"{table}: no unique key tells all of its rows apart")
    emptied = one(conn, place(table), truncate_before_restore=True)
    assert len(emptied.notes) == 1


@pytest.mark.parametrize("table", ["parent", "nullable", "nullable_only", "covering", "empty"])
def test_rows_that_a_key_tells_apart(conn: Connection[Any], table: str) -> None:
    assert one(conn, place(table)).notes == [f"{table}: held against the table"]


def test_an_update_goes_by_a_primary_key(conn: Connection[Any]) -> None:
    with pytest.raises(InvalidParams, match="on_conflict: keyless has no primary key"):
        one(conn, place("keyless"), on_conflict="update")
    one(conn, place("keyless"), on_conflict="skip")
    assert one(conn, place("parent"), on_conflict="update").insert_rule == "update"


@pytest.mark.parametrize(
    ("table", "on_conflict", "refused"),
    [
        ("ruled", "error", True),
        ("ruled", "skip", True),
        ("ruled_lightly", "error", False),
        ("ruled_lightly", "skip", True),
        ("ruled_off", "error", False),
        ("ruled_off", "update", False),
    ],
)
def test_rows_join_no_table_whose_rules_rewrite_what_is_written(
    conn: Connection[Any], table: str, on_conflict: str, refused: bool
) -> None:
    if refused:
        name = "gone" if table == "ruled" else "told"
        with pytest.raises(
            Conflict, match=f'^{table}: rows cannot join .* ALTER TABLE "s"."{table}" DISABLE RULE "{name}"'
        ):
            one(conn, place(table), on_conflict=on_conflict)
    else:
        one(conn, place(table), on_conflict=on_conflict)
    one(conn, place(table), truncate_before_restore=True)


def test_a_table_beside_it_forbids_emptying(conn: Connection[Any]) -> None:
    emptied = request(truncate_before_restore=True)
    with pytest.raises(Conflict, match=r"forbids emptying the table: .*s\.other; restore that table too"):
        decide(conn, [place("parent"), place("child")], emptied, None)
    decide(conn, [place("parent"), place("child"), place("other")], emptied, None)
    decide(conn, [place("parent"), place("child")], request(on_conflict="skip"), None)
    # A table that this restore makes is not emptied.
    decide(conn, [place("parent", created=True)], emptied, None)


def test_rows_that_are_changed_on_the_way_are_staged(conn: Connection[Any]) -> None:
    selection: Any = SimpleNamespace(renames=lambda label: label == "empty")
    made = decide(conn, [place("empty"), place("keyless")], request(truncate_before_restore=True), selection)
    assert [(plan.renamed, plan.staged) for plan in made] == [(True, True), (False, False)]


# --- what follows from a plan ---


def planned(**told: Any) -> TablePlan:
    whole = {
        "stored": SimpleNamespace(label="t", entry=None),
        "name": TableName("s", "t"),
        "created": False,
        "table": None,
        "rows_before": 0,
        "emptied": False,
        "renamed": False,
        "droppable": (),
        "on_conflict": "error",
    }
    return TablePlan(**cast("Any", whole | told))


def test_which_indexes_are_built_anew() -> None:
    sure, doubtful = (Droppable(cast("Any", None), name, cast("Any", None), (), name == "b") for name in "ab")
    empty = planned(droppable=(sure, doubtful))
    assert empty.rebuilt(0) == empty.rebuilt(1) == (sure, doubtful)
    kept = planned(droppable=(sure, doubtful), rows_before=2000)
    assert kept.rebuilt(999) == ()
    assert kept.rebuilt(1000) == (sure,)
    assert planned(droppable=(sure, doubtful), rows_before=2001).rebuilt(1000) == ()
    assert planned(droppable=(sure, doubtful), rows_before=2001, emptied=True).rebuilt(1) == (sure, doubtful)


def test_constraints_that_rows_of_the_set_may_break() -> None:
    of = entry(constraints=[SimpleNamespace(name="loose", validated=False), SimpleNamespace(name="x", validated=True)])
    assert planned(stored=SimpleNamespace(label="t", entry=of)).loose_constraints == {"loose"}


def test_the_indexes_of_a_table_that_is_made() -> None:
    of = entry(
        indexes=[
            SimpleNamespace(name="a", constraint=None, valid=True),
            SimpleNamespace(name="b", constraint="b", valid=True),
            SimpleNamespace(name="c", constraint=None, valid=False),
        ]
    )
    stored = SimpleNamespace(label="t", entry=of)
    assert planned(stored=stored, created=True).new_indexes == ("a",)
    assert planned(stored=stored).new_indexes == ()
    assert planned(created=True).new_indexes == ()
