"""LangChain's two tables, as its current version makes them, and rows for them."""

from __future__ import annotations

PAIR = ("langchain_pg_collection", "langchain_pg_embedding")

COLLECTION = """
CREATE TABLE langchain_pg_collection (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar NOT NULL UNIQUE, cmetadata json);
"""


def schema(dimensions: int) -> str:
    """The statements that make the two tables, without rows."""
    return f"""{COLLECTION}
CREATE TABLE langchain_pg_embedding (
    id varchar PRIMARY KEY,
    collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,
    embedding vector({dimensions}), document varchar, cmetadata jsonb);
CREATE INDEX ix_cmetadata_gin ON langchain_pg_embedding USING gin (cmetadata jsonb_path_ops);
"""


def filled(rows: int = 58, *, dimensions: int = 8) -> str:
    """The statements that make the two tables with 4 collections and ``rows`` embeddings.

    The documents hold what makes a CSV careless: NULL and the empty string, quotes, commas, line ends, emoji.
    """
    return f"""{schema(dimensions)}
INSERT INTO langchain_pg_collection (name, cmetadata) SELECT 'collection ' || n, json_build_object('n', n)
    FROM generate_series(1, 4) AS n;
INSERT INTO langchain_pg_embedding
    SELECT 'id-' || n, (SELECT uuid FROM langchain_pg_collection WHERE name = 'collection ' || 1 + n % 4),
           (SELECT array_agg(sin(n * d)) FROM generate_series(1, {dimensions}) AS d)::vector,
           CASE n % 7 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE E'第 ' || n || E' "quoted", line\\r\\n\\\\. 😀' END,
           jsonb_build_object('n', n, 'nested', jsonb_build_object('a', jsonb_build_array(n, NULL, 'x,y')))
    FROM generate_series(1, {rows}) AS n;
"""
