"""Definitions of a manifest as text: what a server prints passes, and nothing else does."""

from __future__ import annotations

import pytest

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.load import grammar


def read(kind: str, text: str) -> str:
    """Hold a definition against the grammar of its kind."""
    if kind == "expression":
        return grammar.expression(text, "column c")
    if kind == "index":
        return grammar.index(text, "index i")
    if kind == "type":
        return grammar.type_name(text, "column c")
    return grammar.constraint(kind, text, "constraint c")


PRINTED = [
    ("expression", "(a + 1)"),
    ("expression", "nextval('s'::regclass)"),
    ("expression", "'it''s'::text"),
    ("expression", "'a\\b'::text"),
    ("expression", "B'101'::\"bit\""),
    ("expression", "ARRAY[1, 2]"),
    ("expression", "now()"),
    ("expression", "CURRENT_TIMESTAMP"),
    ("expression", "(('doc-'::text || nextval('doc_seq'::regclass)))"),
    ("expression", "'{}'::text[]"),
    ("expression", "NULL::character varying"),
    ("expression", "1.5e3"),
    ("expression", "'-5'::integer"),
    ("expression", "(- 5)"),
    ("expression", "a ~ '^x--y/*z'::text"),
    ("expression", "COALESCE(x, ''::text)"),
    ("expression", "'[1,2,3]'::vector(3)"),
    ("expression", "(data ->> 'k'::text)"),
    ("expression", "(x AT TIME ZONE 'UTC'::text)"),
    ("expression", "INTERVAL '01:00:00'"),
    ("expression", "'x' COLLATE \"C\""),
    ("expression", "'数'::text"),
    ("expression", "文 + 1"),
    ("check", "CHECK ((n > 0))"),
    ("check", "CHECK ((n > 0)) NOT VALID"),
    ("check", "CHECK ((n > 0)) NO INHERIT NOT VALID"),
    ("unique", "UNIQUE (name)"),
    ("unique", "UNIQUE NULLS NOT DISTINCT (a, b) INCLUDE (c) DEFERRABLE INITIALLY DEFERRED"),
    ("primary key", "PRIMARY KEY (id)"),
    ("primary key", "PRIMARY KEY (id, r WITHOUT OVERLAPS)"),
    ("foreign key", "FOREIGN KEY (a) REFERENCES t(b)"),
    (
        "foreign key",
        'FOREIGN KEY (a) REFERENCES "S".t(b) ON UPDATE CASCADE ON DELETE SET NULL (a) DEFERRABLE NOT VALID',
    ),
    ("exclusion", "EXCLUDE USING gist (r WITH &&) WHERE ((a > 1))"),
    ("exclusion", "EXCLUDE USING btree (c WITH =)"),
    ("not null", "NOT NULL a"),
    ("not null", 'NOT NULL "A" NO INHERIT'),
    ("index", "CREATE INDEX i ON public.t USING hnsw (v vector_l2_ops) WITH (m='16', ef_construction='64')"),
    (
        "index",
        'CREATE UNIQUE INDEX "I x" ON ONLY "T" USING btree (lower(a) DESC) INCLUDE (c) NULLS NOT DISTINCT WHERE (x)',
    ),
    ("index", "CREATE INDEX i ON t USING gin (m jsonb_path_ops) TABLESPACE fast WHERE active"),
    ("index", "CREATE INDEX i ON t USING hnsw (((v)::halfvec(3)) halfvec_l2_ops)"),
    ("index", "CREATE INDEX i ON t USING btree (a) WHERE (a = ANY (ARRAY[1, 2]))"),
    ("index", "CREATE INDEX i ON t USING btree (a) WHERE f(a, b)"),
    ("type", "integer"),
    ("type", "character varying(20)"),
    ("type", "timestamp(3) without time zone"),
    ("type", "timestamp with time zone"),
    ("type", "vector(3)"),
    ("type", "public.vector(3)"),
    ("type", "double precision"),
    ("type", "text[]"),
    ("type", '"char"'),
    ("type", '"My Schema"."My Type"[]'),
    ("type", "numeric(10,2)[]"),
    ("type", "bit(8)"),
    ("type", "interval day to second(3)"),
    ("type", "time(3) with time zone"),
    ("type", "numeric(3,-2)"),
    ("type", "extensions.halfvec(3)"),
    ("type", "geometry(Point,4326)"),
    ("type", "文"),
    ("expression", "(a OPERATOR(public.<->) b)"),
    ("index", "CREATE INDEX i ON public.t USING hnsw (v public.vector_l2_ops) WITH (m='16')"),
    ("index", "CREATE INDEX i ON public.t USING gist (a extensions.gist_trgm_ops (siglen='32'))"),
]

FORGED = [
    ("expression", "1) , (2"),
    ("expression", "a, b"),
    ("expression", ""),
    ("expression", "1); DROP TABLE t"),
    ("expression", "1 -- x"),
    ("expression", "1 /* x */"),
    ("expression", "1 /* ) */"),
    ("expression", "E'\\''"),
    ("expression", "e'a'"),
    ("expression", "U&'\\0041'"),
    ("expression", 'U&"a"'),
    ("expression", "$$a$$"),
    ("expression", "$t$a$t$"),
    ("expression", "$1"),
    ("expression", "'a"),
    ("expression", '"a'),
    ("expression", "(1]"),
    ("expression", "[1)"),
    ("expression", ")("),
    ("expression", "N'a'"),
    ("expression", "X'1F'"),
    ("expression", "x\x00y"),
    ("expression", "a\\b"),
    ("expression", "1;2"),
    ("expression", "{1}"),
    ("expression", "'a' 'b' -- "),
    ("unique", "UNIQUE (name), OWNER TO bob"),
    ("unique", "UNIQUE (name), ADD COLUMN x int"),
    ("check", "CHECK (true), ADD CHECK (f())"),
    ("check", "CHECK (true) , DROP COLUMN a"),
    ("check", "UNIQUE (a)"),
    ("check", "CHECK (true) OWNER TO x"),
    ("check", "CHECK (true /* ) */ ), ADD COLUMN x int /* ( */"),
    ("primary key", "PRIMARY KEY USING INDEX i"),
    ("primary key", "PRIMARY KEY (a) USING INDEX TABLESPACE x"),
    ("foreign key", "FOREIGN KEY (a) REFERENCES t(b), DISABLE TRIGGER ALL"),
    ("foreign key", "FOREIGN KEY (a) REFERENCES t"),
    ("exclusion", "EXCLUDE USING gist (r WITH &&), OWNER TO x"),
    ("not null", "NOT NULL a, ADD COLUMN b int"),
    ("spaceship", "CHECK (true)"),
    ("index", "CREATE INDEX i ON t USING btree (a); DROP TABLE t"),
    ("index", "CREATE INDEX i ON t USING btree (a) WHERE a, b"),
    ("index", "CREATE INDEX CONCURRENTLY i ON t USING btree (a)"),
    ("index", "DROP TABLE t"),
    ("index", "CREATE INDEX i ON t USING btree (a) WHERE (a) ;"),
    ("index", "CREATE INDEX i ON t (a)"),
    ("type", "int4 -- x"),
    ("type", "int4 /* */"),
    ("type", "int4 NOT NULL"),
    ("type", "int4, b int4"),
    ("type", "int4 DEFAULT 1"),
    ("type", "int4 PRIMARY KEY"),
    ("type", "int4)"),
    ("type", "t%TYPE"),
    ("type", "setof int4;"),
    ("type", "int4 CHECK (true)"),
    ("type", 'int4 COLLATE "C"'),
    ("type", "text COLLATE"),
    ("type", ""),
    ("expression", "(" * 5000),
    ("expression", "'a" * 200_000),
    ("expression", "((" * 100_000 + "))" * 100_000),
    ("expression", "1\u00a0/* x */"),
    ("expression", "\u2018a\u2019"),
    ("constraint", "CHECK (true)"),
]


@pytest.mark.parametrize(("kind", "text"), PRINTED)
def test_what_a_server_prints_passes(kind: str, text: str) -> None:
    assert read(kind, text) == text


@pytest.mark.parametrize(("kind", "text"), FORGED, ids=[str(number) for number in range(len(FORGED))])
def test_what_no_server_prints_is_refused(kind: str, text: str) -> None:
    with pytest.raises(IntegrityFault, match="not one that a server prints"):
        read(kind, text)
