"""Constraints, keys and indexes in every state that there is: the data come back, definitions as far as they can.

Each table is restored in place, into an empty database and into another schema, and is then held against its source
row for row and definition by definition, as the server itself writes them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.database import Database
from tests.helpers.house import House

DEFINITIONS = """
SELECT * FROM (
    SELECT 'column' AS kind, c.relname::text AS relation, a.attname::text AS name,
           concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                     a.attstorage, a.attcompression, coalesce(a.attstattarget, -1), a.attoptions::text,
                     (SELECT collname FROM pg_collation o WHERE o.oid = a.attcollation),
                     replace(pg_get_expr(d.adbin, d.adrelid), 'copy.', 'public.'),
                     col_description(c.oid, a.attnum)) AS definition
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT 'constraint', c.relname, k.conname,
           concat_ws(' ', replace(pg_get_constraintdef(k.oid), 'copy.', 'public.'), k.convalidated, k.conenforced,
                     k.connoinherit, obj_description(k.oid, 'pg_constraint'))
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'index', t.relname, i.relname,
           concat_ws(' ', replace(pg_get_indexdef(x.indexrelid), 'copy.', 'public.'), x.indisvalid, x.indisclustered,
                     x.indisreplident, obj_description(i.oid, 'pg_class'),
                     (SELECT string_agg(attstattarget::text, ',') FROM pg_attribute WHERE attrelid = i.oid))
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
     WHERE t.relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'table', c.relname, '',
           concat_ws(' ', c.relpersistence, c.reloptions::text, c.relrowsecurity, c.relforcerowsecurity,
                     c.relreplident, obj_description(c.oid, 'pg_class'),
                     (SELECT t.reloptions::text FROM pg_class t WHERE t.oid = c.reltoastrelid))
      FROM pg_class c WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT 'policy', tablename, policyname, concat_ws(' ', permissive, roles::text, cmd, qual, with_check)
      FROM pg_policies WHERE schemaname = %(schema)s
    UNION ALL
    -- Once for each of what an ANALYZE has left, which may come at any time.
    SELECT DISTINCT 'statistics', statistics_name, '', concat_ws(' ', attnames::text, exprs::text, kinds::text)
      FROM pg_stats_ext WHERE schemaname = %(schema)s
    UNION ALL
    SELECT 'sequence', sequencename, '', concat_ws(' ', data_type, start_value, min_value, max_value, increment_by,
                                                     cycle, cache_size)
      FROM pg_sequences WHERE schemaname = %(schema)s
) AS all_of_them ORDER BY 1, 2, 3
"""


def definitions(database: Database, schema: str = "public") -> list[tuple[Any, ...]]:
    """All that the server says of the tables of a schema."""
    query = DEFINITIONS.replace("%(schema)s::regnamespace", "quote_ident(%(schema)s)::regnamespace")
    return database.run(query.replace("%(schema)s", f"'{schema}'"))


def rows(database: Database, table: str) -> list[str]:
    return sorted(row[0] for row in database.run(f"SELECT t::text FROM {table} AS t"))


def script(house: House, text: str) -> None:
    for statement in filter(str.strip, text.split(";\n")):
        house.database.run(statement)


V3 = "v vector(3)"
STATES = {
    "deferrable keys, as Django makes them": (
        "d,e",
        "CREATE TABLE d (id int PRIMARY KEY);\n"
        "CREATE TABLE e (id int PRIMARY KEY, d int REFERENCES d DEFERRABLE INITIALLY DEFERRED, v vector(3));\n"
        "CREATE INDEX ON e USING hnsw (v vector_l2_ops);\n"
        "INSERT INTO d VALUES (1);\nINSERT INTO e SELECT n, 1, '[1,2,3]' FROM generate_series(1, 30) AS n",
    ),
    "a deferrable primary key and unique key": (
        "t",
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, n int UNIQUE DEFERRABLE, v vector(3));\n"
        "CREATE INDEX ON t USING hnsw (v vector_l2_ops);\nINSERT INTO t SELECT n, n, '[1,2,3]' "
        "FROM generate_series(1, 30) AS n",
    ),
    "a circle of two": (
        "a,b",
        "CREATE TABLE a (id int PRIMARY KEY, b int);\nCREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);\n"
        "ALTER TABLE a ADD CONSTRAINT round FOREIGN KEY (b) REFERENCES b;\n"
        "WITH x AS (INSERT INTO a SELECT n, NULL FROM generate_series(1, {n}) AS n) SELECT 1;\n"
        "INSERT INTO b SELECT n, n FROM generate_series(1, {n}) AS n;\nUPDATE a SET b = id",
    ),
    "a circle of three with a deferrable key in it": (
        "a,b,c",
        "CREATE TABLE a (id int PRIMARY KEY, b int);\nCREATE TABLE b (id int PRIMARY KEY, c int);\n"
        "CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE);\n"
        "ALTER TABLE a ADD CONSTRAINT ab FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;\n"
        "ALTER TABLE b ADD CONSTRAINT bc FOREIGN KEY (c) REFERENCES c;\n"
        "INSERT INTO a SELECT n FROM generate_series(1, {n}) AS n;\nINSERT INTO c SELECT id, id FROM a;\n"
        "INSERT INTO b SELECT id, id FROM c;\nUPDATE a SET b = id",
    ),
    "a table that refers to itself": (
        "t",
        "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t, x xml);\n"
        "INSERT INTO t SELECT n, CASE WHEN n < {n} THEN n + 1 END FROM generate_series(1, {n}) AS n",
    ),
    "keys that are not valid": (
        "p,t",
        "CREATE TABLE p (id int PRIMARY KEY);\nCREATE TABLE t (id int, n int, v vector(3));\n"
        "INSERT INTO t VALUES (7, -1, NULL);\n"
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES p NOT VALID;\n"
        "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID;\n"
        "ALTER TABLE t ADD CONSTRAINT nn NOT NULL v NOT VALID",
    ),
    "keys that are not enforced": (
        "p,t",
        "CREATE TABLE p (id int PRIMARY KEY);\nCREATE TABLE t (id int REFERENCES p NOT ENFORCED, n int, "
        "CHECK (n > 0) NOT ENFORCED);\nINSERT INTO t VALUES (7, -1)",
    ),
    "a named and a lonely NOT NULL": (
        "t",
        "CREATE TABLE t (a int CONSTRAINT \"It's needed\" NOT NULL, b int NOT NULL NO INHERIT, "
        "c int CHECK (c > 0) NO INHERIT);\nINSERT INTO t VALUES (1, 2, 3)",
    ),
    "keys with columns included": (
        "p,t",
        "CREATE TABLE p (id int, x text, y int, PRIMARY KEY (id) INCLUDE (x), UNIQUE (y) INCLUDE (id, x));\n"
        "CREATE TABLE t (p int REFERENCES p, q int REFERENCES p (y) MATCH FULL ON DELETE CASCADE);\n"
        "INSERT INTO p VALUES (1, 'x', 2);\nINSERT INTO t VALUES (1, 2)",
    ),
    "composite keys with every clause": (
        "p,t",
        "CREATE TABLE p (a int, \"b (1)\" int, PRIMARY KEY (a, \"b (1)\"));\n"
        "CREATE TABLE t (x int, \"y )\" int, FOREIGN KEY (x, \"y )\") REFERENCES p MATCH FULL ON UPDATE CASCADE "
        "ON DELETE SET NULL (\"y )\") DEFERRABLE);\nINSERT INTO p VALUES (1, 2);\n"
        "INSERT INTO t VALUES (1, 2), (NULL, NULL)",
    ),
    "nulls that are alike, exclusion, expressions": (
        "t",
        "CREATE TABLE t (n int, w text, v vector(3), UNIQUE NULLS NOT DISTINCT (n), EXCLUDE USING hash (w WITH =) "
        "WHERE (w <> '') DEFERRABLE);\nCREATE UNIQUE INDEX sm ON t (lower(w) COLLATE \"C\" text_pattern_ops DESC "
        "NULLS LAST, (n + 1)) INCLUDE (v) NULLS NOT DISTINCT WITH (fillfactor = 60) WHERE n > 0;\n"
        "ALTER INDEX sm ALTER COLUMN 2 SET STATISTICS 33;\nCOMMENT ON INDEX sm IS 'its ''comment''';\n"
        "CREATE INDEX g ON t USING hnsw ((v::halfvec(3)) halfvec_cosine_ops) WITH (m = 5);\n"
        "CREATE INDEX br ON t USING brin (n int4_minmax_multi_ops (values_per_range = 16));\n"
        "INSERT INTO t VALUES (1, 'a', '[1,2,3]'), (2, '', NULL), (NULL, '', NULL)",
    ),
    "keys over time": (
        "p,t",
        "CREATE TABLE p (id int4range, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));\n"
        "CREATE TABLE t (id int4range, during daterange, FOREIGN KEY (id, PERIOD during) REFERENCES p "
        "(id, PERIOD during));\nINSERT INTO p VALUES ('[1,2)', '[2026-01-01,2026-02-01)');\n"
        "INSERT INTO t VALUES ('[1,2)', '[2026-01-02,2026-01-03)')",
    ),
    "a partitioned table that is referred to": (
        "t",
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);\nCREATE TABLE p1 PARTITION OF p FOR VALUES FROM "
        "(0) TO (9);\nCREATE TABLE p2 PARTITION OF p FOR VALUES FROM (9) TO (99);\nINSERT INTO p VALUES (1), (10);\n"
        "CREATE TABLE t (id int CONSTRAINT to_parts REFERENCES p);\nINSERT INTO t VALUES (1), (10)",
    ),
    "clustered, told apart by an index": (
        "t",
        "CREATE TABLE t (id int NOT NULL, n int);\nCREATE UNIQUE INDEX u ON t (id);\nCREATE INDEX n ON t (n);\n"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX u;\nCLUSTER t USING n;\nINSERT INTO t VALUES (1, 2)",
    ),
    "all that a column and a table may be": (
        "t",
        'CREATE UNLOGGED TABLE t (id int, k text STORAGE EXTERNAL COLLATE "C", n int NOT NULL, gone int, v vector(3),'
        " twice int GENERATED ALWAYS AS (n * 2) STORED, thrice int GENERATED ALWAYS AS (n * 3) VIRTUAL,"
        " made timestamptz DEFAULT now(), w varchar(9) DEFAULT 'a)''(b') WITH (fillfactor = 70,"
        " toast.autovacuum_enabled = false);\nALTER TABLE t DROP gone, ALTER v SET STORAGE MAIN,"
        " ALTER k SET COMPRESSION pglz, ALTER n SET STATISTICS 9, ALTER n SET (n_distinct = -0.5),"
        " REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY;\n"
        "CREATE POLICY p ON t AS RESTRICTIVE FOR UPDATE TO public, postgres USING (n > 0) WITH CHECK (k <> ')');\n"
        "CREATE POLICY q ON t FOR INSERT WITH CHECK (true);\nCREATE STATISTICS s ON n, (id + 1), k FROM t;\n"
        "COMMENT ON TABLE t IS 'a table';\nCOMMENT ON COLUMN t.n IS 'it''s n';\n"
        "INSERT INTO t (id, k, n, v) VALUES (1, 'x', 2, '[1,2,3]')",
    ),
    "sequences": (
        "t,u",
        "CREATE SEQUENCE doc_seq START 5 INCREMENT 3 CACHE 7;\nCREATE SEQUENCE down INCREMENT -2 MINVALUE -90 "
        "MAXVALUE 9;\nCREATE SEQUENCE shared AS smallint;\n"
        "CREATE TABLE t (id bigserial PRIMARY KEY, k text DEFAULT 'doc-' || nextval('doc_seq'), "
        "d int DEFAULT nextval('down'), s smallint DEFAULT nextval('shared'), x int, "
        "a int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5 MAXVALUE 900 CYCLE), "
        "b smallint GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME other START -3 INCREMENT -1));\n"
        "CREATE TABLE u (s smallint DEFAULT nextval('shared') PRIMARY KEY, x int);\n"
        "INSERT INTO t (x) SELECT generate_series(1, 20);\nINSERT INTO u (x) SELECT generate_series(1, 7)",
    ),
    "a child whose parent has constraints that are not valid": (
        "c",
        "CREATE TABLE p (id int, n int, v vector(3));\nCREATE TABLE c (w text, PRIMARY KEY (id)) INHERITS (p);\n"
        "INSERT INTO c SELECT n, -n, NULL, 'x' FROM generate_series(1, 9) AS n;\n"
        "ALTER TABLE c ADD CONSTRAINT pos CHECK (n > 0) NOT VALID;\n"
        "ALTER TABLE p ADD CONSTRAINT pos CHECK (n > 0) NOT VALID;\n"
        "ALTER TABLE p ADD CONSTRAINT nn NOT NULL v NOT VALID;\nCOMMENT ON CONSTRAINT nn ON p IS 'of p'",
    ),
    "keys with parameters, an index over whole rows": (
        "t",
        "CREATE TABLE t (id int PRIMARY KEY WITH (fillfactor = 50), n int UNIQUE WITH (deduplicate_items = off));\n"
        "CREATE INDEX whole ON t ((t.*));\nINSERT INTO t SELECT n, n FROM generate_series(1, 9) AS n",
    ),
    "nothing that a file could hold": (
        "t,u",
        "CREATE TABLE t ();\nCREATE TABLE u (a int GENERATED ALWAYS AS (1) STORED);\n"
        "INSERT INTO t DEFAULT VALUES;\nINSERT INTO t DEFAULT VALUES;\nINSERT INTO u DEFAULT VALUES",
    ),
    "exclusion and triggers that wait for the end": (
        "t",
        "CREATE TABLE t (id int PRIMARY KEY, r int4range, v vector(3), EXCLUDE USING gist (r WITH &&) DEFERRABLE "
        "INITIALLY DEFERRED);\nCREATE INDEX ON t USING hnsw (v vector_l2_ops);\n"
        "INSERT INTO t SELECT n, int4range(n, n + 1), '[1,2,3]' FROM generate_series(1, 30) AS n",
    ),
    "a sequence owned by another column": (
        "t",
        "CREATE TABLE t (a int PRIMARY KEY, b serial, x int);\nALTER TABLE t ALTER a SET DEFAULT nextval('t_b_seq');\n"
        "ALTER TABLE t ALTER b DROP DEFAULT;\nINSERT INTO t (b, x) SELECT n, n FROM generate_series(1, 9) AS n",
    ),
    "types of every kind": (
        "t",
        "CREATE TABLE t (id int PRIMARY KEY, a numeric(10,-2), b interval day to second(3), c char(3), d varbit(9), "
        "e \"char\", f name, g timestamptz(3), j int[][], k tsvector, l macaddr8, "
        "m int4multirange, n pg_lsn, o xid8, p jsonpath, q money, r timetz(2), s tsquery, u txid_snapshot, w regclass, "
        "x refcursor, y tid, z polygon, aa inet[]);\nINSERT INTO t SELECT n, 1234, '1 day 2.345', 'ab', '101', "
        "'x', 'nm', '2026-01-02 03:04:05.678', '{{1,2},{3,4}}',"
        " 'a b', '08:00:2b:01:02:03:04:05', '{[1,2),[4,5)}', '0/1', '5', '$.a', '5.5', '01:02:03+02', 'a & b', "
        "'10:20:10,14', 'pg_class', 'x', '(1,2)', '((1,2),(2,3))', '{1.2.3.4}' FROM generate_series(1, 9) AS n",
    ),
}  # fmt: skip


@pytest.fixture(params=[20, 2000])
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("state", STATES)
def test_every_state_comes_back(house: House, elsewhere: Database, state: str, file_format: str, number: int) -> None:
    names, text = STATES[state]
    if number != 20 and "{n}" not in text:
        return
    script(house, text.replace("{n}", str(number)))
    house.configure(tables=names, truncate_tables=names)
    tables = names.split(",")
    before, shape = {name: rows(house.database, name) for name in tables}, definitions(house.database)
    mine = [one for one in shape if one[1] in tables or one[0] in ("sequence", "statistics")]
    house.backup(file_format=file_format)

    requests: list[dict[str, Any]] = [{"truncate_before_restore": True}]
    keyed = house.database.run(
        "SELECT count(*) FROM pg_index WHERE indisprimary AND indrelid::regclass::text = ANY(%s)", [tables]
    )
    if keyed == [(len(tables),)]:
        requests += [{"on_conflict": "skip"}, {"on_conflict": "update"}]
    for request in requests:
        house.restore(dry_run=True, **request)
        house.restore(**request)
        assert {name: rows(house.database, name) for name in tables} == before
        assert definitions(house.database) == shape
    house.database.run(f"TRUNCATE {names}")
    house.restore()
    assert {name: rows(house.database, name) for name in tables} == before
    assert definitions(house.database) == shape

    house.restore(into=elsewhere)
    assert {name: rows(elsewhere, name) for name in tables} == before
    assert definitions(elsewhere) == [one for one in mine if not one[2].startswith("to_parts")]

    house.restore(schema="copy")
    assert {name: rows(house.database, f"copy.{name}") for name in tables} == before
    kinds = [(one[0], one[1], one[2]) for one in definitions(house.database, "copy")]
    assert kinds == [(one[0], one[1], one[2]) for one in mine]
