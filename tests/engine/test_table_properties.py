"""What a manifest records of a table besides its rows, as the server has it."""

from __future__ import annotations

import dataclasses

import pytest

from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.properties import Child, Policy
from pgvector_backup.engine.postgres.sequences import SequenceState
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.root import locate
from tests.helpers.house import House

EVERYTHING = """
CREATE SCHEMA s; CREATE SEQUENCE doc_seq; CREATE SEQUENCE s.late START 40; CREATE TABLE of_another (id serial);
CREATE SEQUENCE down INCREMENT -2 MINVALUE -9 MAXVALUE 9 START 5 CYCLE CACHE 3;
CREATE TABLE parent (p int);
CREATE UNLOGGED TABLE t (
    id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5), a serial, gone text, n int NOT NULL,
    k text COLLATE "C" DEFAULT 'doc-' || nextval('doc_seq'), d int DEFAULT nextval('down'),
    l int DEFAULT nextval('s.late'::text), o int DEFAULT nextval('of_another_id_seq'), v vector(3),
    twice int GENERATED ALWAYS AS (n * 2) VIRTUAL, self int CHECK (self > 0) NO INHERIT,
    PRIMARY KEY (id) INCLUDE (k), UNIQUE NULLS NOT DISTINCT (n) DEFERRABLE)
    INHERITS (parent) WITH (fillfactor = 70, toast.autovacuum_enabled = false);
ALTER TABLE t DROP COLUMN gone;
ALTER TABLE t ADD CONSTRAINT itself FOREIGN KEY (self) REFERENCES t NOT VALID;
ALTER TABLE t ALTER v SET STORAGE main, ALTER k SET COMPRESSION pglz, ALTER n SET STATISTICS 7,
    ALTER n SET (n_distinct = 5), REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE STATISTICS s.st (ndistinct, mcv) ON n, lower(k) FROM t;
CREATE POLICY p ON t AS RESTRICTIVE FOR SELECT TO postgres USING (n > 0);
COMMENT ON COLUMN t.n IS 'a number'; COMMENT ON TABLE t IS 'a table'; COMMENT ON CONSTRAINT itself ON t IS 'a key';
CREATE TABLE child (z int) INHERITS (t);
CREATE INDEX ie ON t ((n + 1)) INCLUDE (k); ALTER INDEX ie ALTER COLUMN 1 SET STATISTICS 44;
CREATE RULE r AS ON INSERT TO t DO ALSO NOTHING; GRANT SELECT ON t TO public; CLUSTER t USING t_pkey;
SELECT nextval('doc_seq'), nextval('down'), nextval('down');
"""


def recorded(house: House) -> tuple[Manifest, TableEntry]:
    name = next(name for name in house.files() if name.startswith("manifest_"))
    settings: Settings = house.settings
    manifest = Manifest.read(locate(settings.backup_root, None, settings.backup_directory), name)
    return manifest, manifest.tables[0]


@pytest.fixture
def entry(house: House) -> TableEntry:
    for statement in EVERYTHING.replace(";\n", ";").split(";"):
        if statement.strip():
            house.database.run(statement)
    house.configure(tables="t")
    assert house.backup().failure is None
    return recorded(house)[1]


def test_columns(entry: TableEntry) -> None:
    columns = {column.name: column for column in entry.columns}
    assert list(columns) == ["p", "id", "a", "n", "k", "d", "l", "o", "v", "twice", "self"]
    assert columns["k"].collation == ("pg_catalog", "C")
    assert columns["k"].compression == "pglz"
    assert columns["v"].storage == "main"
    assert columns["twice"].virtual
    assert (columns["n"].statistics, columns["n"].options, columns["n"].comment) == (7, ("n_distinct=5",), "a number")


def test_constraints_and_indexes(entry: TableEntry) -> None:
    constraints = {constraint.name: constraint for constraint in entry.constraints}
    assert entry.primary_key == ("id",)
    assert constraints["itself"].references == ("public", "t")
    assert (constraints["itself"].validated, constraints["itself"].comment) == (False, "a key")
    assert constraints["t_n_not_null"].columns == ("n",)
    assert constraints["t_self_check"].no_inherit
    indexes = {index.name: index for index in entry.indexes}
    assert indexes["ie"].statistics == ((1, 44),)
    assert indexes["t_pkey"].clustered
    assert all(index.valid for index in entry.indexes)


def test_sequences(entry: TableEntry) -> None:
    sequences = {one.name: one for one in entry.sequences}
    assert sequences["down"] == SequenceState(
        "public", "down", "bigint", 5, -2, -9, 9, 3, True, False, False, ("d",), None, None,
        sequences["down"].last_value, True,
    )  # fmt: skip
    assert (sequences["doc_seq"].last_value, sequences["doc_seq"].is_called) == (1, True)
    assert (sequences["late"].schema, sequences["late"].columns, sequences["late"].start) == ("s", ("l",), 40)
    assert (sequences["t_a_seq"].owned_by, sequences["t_a_seq"].identity) == ("a", False)
    assert (sequences["t_id_seq"].owned_by, sequences["t_id_seq"].identity) == ("id", True)
    assert sequences["of_another_id_seq"].owned_elsewhere == ("public", "of_another")


def test_the_table(entry: TableEntry) -> None:
    known = entry.properties
    assert known is not None
    assert (known.unlogged, known.row_security, known.force_row_security) == (True, True, True)
    assert (known.options, known.toast_options) == (("fillfactor=70",), ("autovacuum_enabled=false",))
    assert (known.replica_identity, known.granted, known.comment) == ("full", True, "a table")
    assert known.policies == (Policy("p", "select", False, ("postgres",), "(n > 0)", None),)
    (statistics,) = known.statistics
    assert (statistics.schema, statistics.name, statistics.kinds) == ("s", "st", ("ndistinct", "mcv"))
    assert (statistics.columns, statistics.expressions) == (("n",), ("lower(k)",))
    assert (known.parents, known.rules, known.triggers) == ((("public", "parent"),), ("r",), ())
    assert [dataclasses.replace(child, rows=None) for child in known.children] == [Child("public", "child", None)]


def test_an_index_that_was_given_up_while_it_was_built(house: House) -> None:
    house.database.run("CREATE TABLE t (id int, v vector)")
    house.database.run("INSERT INTO t VALUES (1, '[1,2]'), (1, '[1,2,3]')")
    for statement in (
        "CREATE UNIQUE INDEX CONCURRENTLY one ON t (id)",
        "CREATE INDEX CONCURRENTLY mixed ON t USING hnsw ((v::vector(2)) vector_l2_ops)",
    ):
        with pytest.raises(Exception, match=r"could not create|expected 2 dimensions"):
            house.database.run(statement)
    house.configure(tables="t")
    house.backup()
    assert {index.name: index.valid for index in recorded(house)[1].indexes} == {"one": False, "mixed": False}
