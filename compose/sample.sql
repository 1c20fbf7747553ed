-- The two tables that LangChain keeps vectors in, with a few rows. Repeated without harm.
CREATE TABLE IF NOT EXISTS langchain_pg_collection (
    uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
CREATE TABLE IF NOT EXISTS langchain_pg_embedding (
    id varchar PRIMARY KEY, collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,
    embedding vector, document varchar, cmetadata jsonb);
INSERT INTO langchain_pg_collection
    VALUES ('00000000-0000-0000-0000-000000000001', 'sample', '{}') ON CONFLICT DO NOTHING;
INSERT INTO langchain_pg_embedding
    SELECT 'sample-' || n, '00000000-0000-0000-0000-000000000001', '[1,2,3]', 'document ' || n, '{}'
    FROM generate_series(1, 10) AS n ON CONFLICT DO NOTHING;
