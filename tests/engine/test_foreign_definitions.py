"""Sets whose definitions were written by somebody else: nothing runs that the restore did not mean to run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.errors import BackupError, Conflict, IntegrityFault, NotFound
from tests.helpers.database import Database, fresh
from tests.helpers.forging import reseal
from tests.helpers.house import House

TRAP = """
CREATE TABLE caught (what text);
CREATE FUNCTION volatile_trap(text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
    'BEGIN INSERT INTO public.caught VALUES ($1); RETURN true; END';
CREATE FUNCTION stable_trap(text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
CREATE FUNCTION honest(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
CREATE FUNCTION trap_equal(text, text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
    'BEGIN INSERT INTO public.caught VALUES ($1); RETURN true; END';
CREATE OPERATOR ==== (LEFTARG = text, RIGHTARG = text, FUNCTION = trap_equal);
"""


@pytest.fixture(scope="module")
def made(server: OpenedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A set of one table, to be copied and tampered with."""
    with fresh(server) as database:
        house = House(database, tmp_path_factory.mktemp("made"))
        database.run("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        house.configure(tables="t")
        house.backup()
        yield house


@pytest.fixture
def forged(made: House, backup_root: Path, elsewhere: Database) -> Any:
    """Changes the only table of a set, and restores it where there are traps and no such table."""
    shutil.copytree(made.root, backup_root, dirs_exist_ok=True)
    house = House(made.database, backup_root)
    house.configure(tables="t")
    elsewhere.run(TRAP)

    def restore(change: Any, **request: Any) -> None:
        reseal(house, lambda body: change(body["tables"][0]))
        house.restore(into=elsewhere, **request)

    return restore


def constraint(kind: str, definition: str) -> Any:
    return lambda table: table["constraints"].append({"name": "bad", "type": kind, "definition": definition})


def index(definition: str) -> Any:
    return lambda table: table["indexes"].append(
        {"name": "bad", "method": "btree", "definition": definition, "constraint": None}
    )


def column(**changes: Any) -> Any:
    return lambda table: table["columns"][1].update(changes)


def generated(expression: str) -> Any:
    return lambda table: table["columns"].append(
        {**table["columns"][1], "name": "g", "default": expression, "generated": True}
    )


FORGED = {
    "a second action": constraint("unique", "UNIQUE (note), OWNER TO pg_monitor"),
    "a second column": constraint("unique", "UNIQUE (note), ADD COLUMN x int DEFAULT 1"),
    "a bracket closed in a comment": constraint("check", "CHECK (true /* ) */), ADD COLUMN x int"),
    "a nested comment": constraint("check", "CHECK (/* /* */ ) */ true), ADD COLUMN x int"),
    "a line comment": constraint("check", "CHECK (true) -- )"),
    "an escaped text": constraint("check", r"CHECK (note <> E'\'), ADD COLUMN x int CHECK (true) --')"),
    "a dollar": constraint("check", "CHECK (note <> $$'$$), ADD COLUMN x int CHECK (note <> $$'$$)"),
    "a tagged dollar": constraint("check", "CHECK (note <> $a$)$a$)"),
    "a unicode text": constraint("check", r"CHECK (note <> U&'\0029')"),
    "a unicode name": constraint("check", 'CHECK (U&"note" IS NOT NULL)'),
    "another kind": constraint("check", "UNIQUE (note)"),
    "a foreign key and more": constraint("foreign key", "FOREIGN KEY (id) REFERENCES t(id), DISABLE TRIGGER ALL"),
    "a second statement": constraint("check", "CHECK (true); DROP TABLE caught"),
    "an index and more": index("CREATE INDEX bad ON public.t USING btree (note); DROP TABLE caught"),
    "an index of another statement": index("DROP TABLE caught"),
    "a type and more": column(type="text, x int"),
    "a type and a default": column(type="text DEFAULT volatile_trap('x')"),
    "a type and a comment": column(type="text -- "),
    "a type and a collation": column(type='text COLLATE "C"'),
    "a default that ends": column(default="'a'), x int DEFAULT (1"),
    "a default and a comment": column(default="'a' /*"),
    "a name with a NUL": column(name="a\0b"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_definition_that_is_more_than_one_is_refused(forged: Any, elsewhere: Database, what: str) -> None:
    for trust in (False, True):
        # One that makes the whole manifest damaged leaves no set to restore.
        with pytest.raises((IntegrityFault, NotFound)):
            forged(FORGED[what], trust_definitions=trust)
    assert elsewhere.run("SELECT count(*) FROM caught") == [(0,)]
    assert elsewhere.run("SELECT 1 FROM pg_class WHERE relname = 't'") == []


NAMES = ['x"; DROP TABLE caught; --', "x') , ('", "a b", "名字", "COLLATE", "x;y", "x--y", "'"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_whatever_it_holds(forged: Any, elsewhere: Database, name: str) -> None:
    def change(table: dict[str, Any]) -> None:
        table["constraints"].append({"name": name, "type": "check", "definition": "CHECK (id > 0)"})
        table["indexes"].append(
            {
                "name": f"{name} too",
                "method": "btree",
                "definition": "CREATE INDEX i ON public.t USING btree (note)",
                "constraint": None,
            }
        )

    forged(change)
    assert elsewhere.run("SELECT 1 FROM pg_constraint WHERE conname = %s", [name])
    assert elsewhere.run("SELECT 1 FROM pg_class WHERE relname = %s", [f"{name} too"])
    assert elsewhere.run("SELECT count(*) FROM caught") == [(0,)]


UNTRUSTED = {
    "a volatile function in a check": constraint("check", "CHECK (public.volatile_trap(note))"),
    "a stable function in a check": constraint("check", "CHECK (public.stable_trap(note))"),
    "an operator in a check": constraint("check", "CHECK ((note OPERATOR(public.====) 'a'::text))"),
    "an operator over an array": constraint("check", "CHECK ((note OPERATOR(public.====) ANY (ARRAY['a'::text])))"),
    "a volatile function in a default": column(default="(public.volatile_trap('x'::text))::text"),
    "a file that is read": constraint("check", "CHECK ((pg_read_file('/etc/passwd'::text) IS NOT NULL))"),
    "a large object": constraint("check", "CHECK ((lo_from_bytea((0)::oid, '\\x00'::bytea) > (0)::oid))"),
    "a large object that is written out": constraint("check", "CHECK ((lo_export((1)::oid, '/tmp/x'::text) = 1))"),
    "sql as text": constraint("check", "CHECK ((query_to_xml('SELECT 1'::text, true, true, ''::text) IS NOT NULL))"),
    "a setting": constraint("check", "CHECK ((set_config('role'::text, 'x'::text, false) IS NOT NULL))"),
    "a sleep": constraint("check", "CHECK ((pg_sleep((1000)::double precision) IS NOT NULL))"),
    "another session": constraint("check", "CHECK ((pg_terminate_backend(1) IS NOT NULL))"),
    "a default that reads a file": column(default="pg_read_file('/etc/passwd'::text)"),
}


@pytest.mark.parametrize("what", UNTRUSTED)
def test_a_function_that_could_do_anything_is_refused(forged: Any, elsewhere: Database, what: str) -> None:
    with pytest.raises(Conflict, match="trust_definitions"):
        forged(UNTRUSTED[what])
    assert elsewhere.run("SELECT count(*) FROM caught") == [(0,)]
    assert elsewhere.run("SELECT 1 FROM pg_class WHERE relname = 't'") == []
    assert elsewhere.run("SELECT 1 FROM pg_largeobject_metadata") == []


def test_what_is_trusted_runs(forged: Any, elsewhere: Database) -> None:
    forged(UNTRUSTED["a volatile function in a check"], trust_definitions=True)
    assert elsewhere.run("SELECT count(*) FROM t") == [(2,)]
    assert elsewhere.run("SELECT count(*) > 0 FROM caught") == [(True,)]


HONEST = {
    "an immutable function": constraint("check", "CHECK ((public.honest(note) IS NOT NULL))"),
    "an immutable function in an index": index("CREATE INDEX i ON public.t USING btree (public.honest(note))"),
    "an immutable function in a generated column": generated("public.honest(note)"),
    "an operator of one's own": constraint("check", "CHECK ((note OPERATOR(public.===) note))"),
    "the time": column(default="(now())::text"),
    "the time of the clock": column(default="(clock_timestamp())::text"),
    "a uuid": column(default="(gen_random_uuid())::text"),
    "the user": column(default="(CURRENT_USER)::text"),
    "a check of the server's own": constraint("check", "CHECK ((length(note) < 100))"),
    "a partial index": index("CREATE INDEX i ON public.t USING btree (lower(note)) WHERE (note IS NOT NULL)"),
}


@pytest.mark.parametrize("what", HONEST)
def test_what_only_computes_is_made(forged: Any, elsewhere: Database, what: str) -> None:
    forged(HONEST[what])
    assert elsewhere.run("SELECT count(*) FROM t") == [(2,)]


def test_an_existing_table_keeps_its_own_definitions(house: House) -> None:
    """Nothing of a set's definitions is made where the table is there: its own ones are its owner's affair."""
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')")
    house.configure(tables="t")
    house.backup()
    reseal(house, lambda body: UNTRUSTED["a sleep"](body["tables"][0]))
    house.restore(truncate_before_restore=True)
    assert house.count("t") == 1
    assert house.database.run("SELECT 1 FROM pg_constraint WHERE conname = 'bad'") == []


def test_a_dry_run_refuses_what_a_restore_would(forged: Any) -> None:
    with pytest.raises(BackupError):
        forged(FORGED["a second action"], dry_run=True)
