"""Every shape of ``shapes.sql`` comes back: in place, into an empty database, by psql alone, and in a drill.

All of them are in one set, each in a schema of its own, and each is then held against its source row for row and
definition by definition. What differs is named by a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgvector_backup.embedded.server import EmbeddedPostgres
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.check import scratch_role
from pgvector_backup.engine.postgres.table_name import TableName, parse_names
from tests.engine.test_by_hand import by_hand
from tests.engine.test_restore_states import definitions, rows
from tests.helpers.database import Database, fresh
from tests.helpers.house import House

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Shape:
    """A few tables: the ``tables`` are backed up, in ``schema`` where they name none."""

    name: str
    schema: str
    tables: tuple[TableName, ...]
    script: str

    @classmethod
    def read(cls, text: str) -> Shape:
        head, tables, script = text.split("\n", 2)
        schema = re.sub(r"\W+", "_", head.lower())[:50]
        named = parse_names(tables.removeprefix("-- tables: "))
        within = tuple(TableName(table.schema or schema, table.table) for table in named)
        return cls(head, schema, within, script.replace("{s}", schema))


TEXTS = (Path(__file__).parent / "shapes.sql").read_text().split("-- shape: ")[1:]
SHAPES = {shape.name: shape for shape in map(Shape.read, TEXTS)}


@dataclass
class Outcome:
    """What came back at one place: rows by table, definitions by shape, and all notes."""

    rows: dict[TableName, list[str]] = field(default_factory=dict)
    definitions: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def quoted(table: TableName) -> str:
    return table.identifier.as_string(None)


def look(database: Database, notes: list[str]) -> Outcome:
    found = Outcome(notes=notes)
    there = {name for (name,) in database.run("SELECT nspname::text FROM pg_namespace")}
    for shape in SHAPES.values():
        found.rows |= {table: rows(database, quoted(table)) for table in shape.tables}
        found.definitions[shape.name] = [
            (schema, *one)
            for schema in sorted({str(table.schema) for table in shape.tables} & there)
            for one in definitions(database, schema)
        ]
    return found


@pytest.fixture(scope="module")
def house(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One database with every shape in it."""
    with fresh(server) as database:
        for shape in SHAPES.values():
            with psycopg.connect(database.uri(), autocommit=True) as conn:
                conn.execute(f"CREATE SCHEMA {shape.schema}; SET search_path = {shape.schema}, public".encode())
                for statement in filter(str.strip, shape.script.split(";\n")):
                    conn.execute(statement.encode())
        made = House(database, tmp_path_factory.mktemp("shapes"))
        every = ",".join(quoted(table) for shape in SHAPES.values() for table in shape.tables)
        made.configure(tables=every, truncate_tables=every)
        yield made


@pytest.fixture(scope="module")
def source(house: House) -> Outcome:
    return look(house.database, [])


@pytest.fixture(scope="module", params=["truncated", "replaced", "elsewhere", "by hand"])
def outcome(request: pytest.FixtureRequest, house: House, source: Outcome, server: EmbeddedPostgres) -> Outcome:
    """The set has come back in one of the places."""
    result = house.backup(file_format="binary" if request.param == "truncated" else "csv")
    assert result.failure is None
    if request.param in ("truncated", "replaced"):
        if request.param == "truncated":
            house.truncate(result)
        restored = house.restore(truncate_before_restore=request.param == "replaced")
        return look(house.database, [note for table in restored.tables.values() for note in table.notes])
    with fresh(server, "template0") as there:
        if request.param == "by hand":
            done = by_hand(house, there, str(result.backup_id))
            assert done.returncode == 0, done.stderr
            return look(there, done.stdout.splitlines())
        house.restore(into=there, dry_run=True)
        restored = house.restore(into=there)
        return look(there, [note for table in restored.tables.values() for note in table.notes])


@pytest.mark.parametrize("name", SHAPES)
def test_it_comes_back(request: pytest.FixtureRequest, outcome: Outcome, source: Outcome, name: str) -> None:
    shape = SHAPES[name]
    for table in shape.tables:
        assert outcome.rows[table] == source.rows[table]
    before, after = source.definitions[name], outcome.definitions[name]
    if request.node.callspec.params["outcome"] in ("truncated", "replaced"):
        assert after == before
        return
    there = {comparable(one, shape) for one in after}
    # What a shape has besides the tables of its set stays behind.
    names = {table.table for table in shape.tables}
    mine = {comparable(one, shape) for one in before if one[2] in names or one[1] in ("sequence", "statistics")}
    by_hand_alone = request.node.callspec.params["outcome"] == "by hand"
    for one in mine ^ there:
        schema, kind, relation, called, _ = one
        was = next((every[4] for every in before if every[:4] == one[:4]), "")
        if by_hand_alone and (was.startswith("TRIGGER") or (kind == "index" and was.endswith("f f f"))):
            continue  # the script's head says that it has no triggers, and no indexes that were not valid
        told = [note for note in outcome.notes if f"{schema}.{relation}: " in note.replace('"', "") and called in note]
        assert told, one


def comparable(one: tuple[Any, ...], shape: Shape) -> tuple[Any, ...]:
    """A definition as it has to be elsewhere, where a partition or a child is an ordinary table."""
    schema, kind, relation, name, _ = one
    if ("PARTITION" in shape.script or "INHERITS" in shape.script) and kind in ("constraint", "index"):
        # One for each partition is the server's affair, and so is whether it is inherited.
        return schema, kind, relation, re.sub(r"(_fkey)_[0-9]+$", r"\1", name), ""
    return one


@pytest.fixture(scope="module")
def drilled(house: House) -> Any:
    house.backup(file_format="binary")
    return house.verify(depth="drill")


@pytest.mark.parametrize("name", SHAPES)
def test_it_is_drilled(drilled: Any, name: str) -> None:
    assert drilled.errors == []
    (one,) = drilled.sets
    for table in SHAPES[name].tables:
        assert one.tables[table.label].drill["fingerprint"] == "equal"


def test_rows_with_a_key_over_time_take_the_place_of_others(house: House) -> None:
    """The server's ON CONFLICT DO UPDATE does not go by such keys."""
    database = house.database
    database.run("CREATE TABLE of_time (id int4range, d daterange, n int, PRIMARY KEY (id, d WITHOUT OVERLAPS))")
    database.run(
        "INSERT INTO of_time SELECT int4range(n, n + 1), '[2026-01-01,2026-02-01)', n FROM generate_series(1, 9) AS n"
    )
    one = House(database, house.root / "of_time")
    one.root.mkdir()
    one.configure(tables="of_time")
    one.backup()
    before = rows(database, "of_time")
    database.run("UPDATE of_time SET n = 0 WHERE n < 4; DELETE FROM of_time WHERE n = 4")
    result = one.restore(on_conflict="update").tables["of_time"]
    assert (result.updated, result.rows) == (8, 9)
    assert rows(database, "of_time") == before
    # What merely overlaps is another row, and the server refuses it.
    database.run("UPDATE of_time SET d = '[2026-01-05,2026-01-09)' WHERE n = 5")
    with pytest.raises(Conflict, match="of_time_pkey"):
        one.restore(on_conflict="update")


def test_what_a_table_was_made_of_is_told(house: House, elsewhere: Database) -> None:
    one = House(house.database, house.root / "typed")
    one.root.mkdir()
    one.configure(tables="typed_tables.t")
    one.backup()
    notes = " ".join(one.restore(into=elsewhere).tables["typed_tables.t"].notes)
    assert "it was a table of type typed_tables.ty" in notes


def test_a_drill_s_role_may_use_what_owners_of_a_database_may(server: EmbeddedPostgres) -> None:
    """On PostgreSQL 15 the schema public is its owner's by a role that only who inherits is a member of."""
    with psycopg.connect(server.dsn) as conn:
        scratch_role.create(conn, "drills_role", "secret")
        found = conn.execute("SELECT rolinherit, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'drills_role'")
        assert found.fetchone() == (True, False, False)
        conn.rollback()
