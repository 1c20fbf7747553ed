"""pgvector may live in any schema, at the target in another one: types, operator classes and functions follow it."""

from __future__ import annotations

import pytest

from tests.helpers.database import Database
from tests.helpers.house import House

SHAPE = """
CREATE TABLE public.t (id int PRIMARY KEY, v {0}.vector(3), h {0}.halfvec(3), b bit(64), r real[],
    CHECK ((v OPERATOR({0}.<->) '[0,0,0]'::{0}.vector) < 100));
CREATE INDEX ON public.t USING hnsw (v {0}.vector_l2_ops);
CREATE INDEX ON public.t USING hnsw (b {0}.bit_hamming_ops);
CREATE INDEX ON public.t USING hnsw ((r::{0}.vector(3)) {0}.vector_cosine_ops);
INSERT INTO public.t SELECT n, '[1,2,3]', '[1,2,3]', n::bit(64), ARRAY[1, 2, 3] FROM generate_series(1, 1200) AS n;
"""


@pytest.mark.parametrize(
    ("source", "target"), [("extensions", "public"), ("public", "extensions"), ("a b", "extensions")]
)
def test_the_extension_lives_elsewhere(house: House, elsewhere: Database, source: str, target: str) -> None:
    quoted = f'"{source}"'
    house.database.run(f"DROP EXTENSION vector; CREATE SCHEMA IF NOT EXISTS {quoted}")
    house.database.run(f"CREATE EXTENSION vector SCHEMA {quoted}")
    house.database.run(SHAPE.format(quoted))
    elsewhere.run(f"CREATE SCHEMA IF NOT EXISTS {target}")
    elsewhere.run(f"CREATE EXTENSION vector SCHEMA {target}")
    house.configure(tables="public.t")
    assert house.backup().failure is None
    assert house.restore(into=elsewhere, create_missing=True).tables["public.t"].rows == 1200
    assert house.restore(truncate_before_restore=True).tables["public.t"].rows == 1200
    (found,) = elsewhere.run("SELECT count(*) FROM pg_indexes WHERE tablename = 't' AND indexdef LIKE '%%hnsw%%'", [])
    assert found == (3,)
