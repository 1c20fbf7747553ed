"""Every kind of table a pgvector user has: by a short name, the table's name and what makes it."""

from __future__ import annotations

KINDS = {
    "langchain_now": (
        "t",
        "CREATE TABLE t (id varchar PRIMARY KEY, collection_id uuid, embedding vector(3), document varchar,"
        " cmetadata jsonb);"
        "INSERT INTO t SELECT n::text, gen_random_uuid(), ARRAY[n, -n / 3.0, 1e-30]::real[]::vector,"
        " CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE"
        " E'a\"b,\\r\\n\\\\.\\n\\t''é😀\\uFEFF' END, '{\"a\": [1, null]}'"
        " FROM generate_series(1, 500) AS n",
    ),
    "langchain_older": (
        "t",
        "CREATE TABLE t (uuid uuid PRIMARY KEY, collection_id uuid, embedding vector, document varchar,"
        " cmetadata json, custom_id varchar);"
        "INSERT INTO t SELECT gen_random_uuid(), NULL, '[1,2]', 'd', '{ \"b\":1, \"a\" : 2 }', NULL"
        " FROM generate_series(1, 20)",
    ),
    "all_vector_types": (
        "t",
        "CREATE TABLE t (h halfvec(4), s sparsevec(5), b bit(6), v vector);"
        "INSERT INTO t VALUES ('[1,2.5,-3,0]', '{1:1.5,5:-2}/5', B'101010', '[0.1]'), (NULL, NULL, NULL, NULL)",
    ),
    "generated_and_dropped": (
        "t",
        "CREATE TABLE t (gone int, id int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (x * 2) STORED,"
        " x int, also_gone text);"
        "INSERT INTO t (gone, x) SELECT n, n FROM generate_series(1, 10) AS n;"
        "ALTER TABLE t DROP COLUMN gone, DROP COLUMN also_gone",
    ),
    "quoted_name": (
        '"Odd ""name"", with. all/of it"',
        'CREATE TABLE "Odd ""name"", with. all/of it" ("A b" int, "c""d" text, "select" text);'
        'INSERT INTO "Odd ""name"", with. all/of it" VALUES (1, \'x\', NULL)',
    ),
    "non_ascii_name": ("向量表", "CREATE TABLE 向量表 (编号 int); INSERT INTO 向量表 VALUES (1), (2)"),
    "schema_qualified": (
        "rag.t",
        "CREATE SCHEMA rag; CREATE TABLE rag.t (id int, v vector(2)); INSERT INTO rag.t VALUES (1, '[1,2]')",
    ),
    "partitioned": (
        "t",
        "CREATE TABLE t (id int, region text, v vector(2), PRIMARY KEY (id, region)) PARTITION BY LIST (region);"
        "CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (id);"
        "CREATE TABLE t_eu_1 PARTITION OF t_eu FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE t_eu_2 (v vector(2), region text NOT NULL, id int NOT NULL);"
        "ALTER TABLE t_eu ATTACH PARTITION t_eu_2 FOR VALUES FROM (100) TO (1000);"
        "CREATE TABLE t_rest PARTITION OF t DEFAULT;"
        "INSERT INTO t SELECT n, CASE WHEN n % 2 = 0 THEN 'eu' ELSE 'us' END, ARRAY[n, 1]::vector"
        " FROM generate_series(1, 300) AS n",
    ),
    "partitioned_without_partitions": ("t", "CREATE TABLE t (id int) PARTITION BY HASH (id)"),
    "empty": ("t", "CREATE TABLE t (id int, v vector(2))"),
    "no_primary_key_and_duplicates": (
        "t",
        "CREATE TABLE t (a text); INSERT INTO t SELECT 'same' FROM generate_series(1, 100);"
        "INSERT INTO t VALUES (NULL), (''), ('\\.'), ('\\N')",
    ),
    "wide_rows": (
        "t",
        "CREATE TABLE t (id int, d text); INSERT INTO t SELECT n, repeat(md5(n::text), 80000)"
        " FROM generate_series(1, 5) AS n",
    ),
    "with_dead_pages": (
        "t",
        "CREATE TABLE t (id int, d text); INSERT INTO t SELECT n, repeat('x', 2000) FROM generate_series(1, 2000) AS n;"
        "DELETE FROM t WHERE id % 100 <> 0",
    ),
    "unlogged": ("t", "CREATE UNLOGGED TABLE t (id int); INSERT INTO t VALUES (1)"),
    "materialized_view": ("t", "CREATE MATERIALIZED VIEW t AS SELECT n AS id FROM generate_series(1, 10) AS n"),
    "view": ("t", "CREATE VIEW t AS SELECT n AS id FROM generate_series(1, 10) AS n"),
}
