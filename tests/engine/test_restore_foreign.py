"""Sets without a manifest: CSV pairs of other tools, and those of code that wrote Python's repr where JSON belongs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import BackupError, Conflict, IntegrityFault, NotFound
from pgvector_backup.engine.codec import python_repr
from tests.helpers.database import contents
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

EMBEDDING = "langchain_pg_embedding"
STAMP = "20250721_234914"


@pytest.fixture(autouse=True)
def listed(house: House) -> None:
    """A restore goes into tables that the configuration lists, whoever wrote the files."""
    house.configure(tables="langchain_pg_collection,langchain_pg_embedding,t", truncate_tables=EMBEDDING)


def by_server(house: House, table: str) -> None:
    """``COPY … TO``, as `psql` writes a file."""
    with (
        (house.directory / f"{table}_{STAMP}.csv").open("wb") as file,
        house.connect() as conn,
        conn.cursor().copy(f"COPY {table} TO STDOUT (FORMAT csv, HEADER)".encode()) as copy,
    ):
        for part in copy:
            file.write(part)


def by_older_code(house: House, table: str) -> None:
    """A client cursor's rows through `csv.writer`: json columns are dicts by then."""
    with (
        (house.directory / f"{table}_{STAMP}.csv").open("w", newline="", encoding="utf-8") as file,
        house.connect() as conn,
    ):
        cursor = conn.execute(f"SELECT * FROM {table}".encode())
        writer = csv.writer(file)
        writer.writerow([column.name for column in cursor.description or ()])
        writer.writerows(cursor)


@pytest.fixture
def written(house: House) -> Callable[..., dict[str, list[Any]]]:
    """Writes both files without a manifest, empties the tables, tells what they held."""

    def write(by: Callable[[House, str], None], rows: int = 58) -> dict[str, list[Any]]:
        house.langchain(rows)
        house.directory.mkdir()
        if by is by_older_code:
            # NULL and '' look alike there; what can be told apart has to come back.
            house.database.run("UPDATE langchain_pg_embedding SET document = NULL WHERE document = ''")
            house.database.run("UPDATE langchain_pg_collection SET cmetadata = cmetadata::jsonb::json")
        before = contents(house.database, *PAIR)
        for table in PAIR:
            by(house, table)
        house.database.run("TRUNCATE langchain_pg_embedding, langchain_pg_collection")
        return before

    return write


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("by", [by_server, by_older_code])
def test_a_pair_without_a_manifest(
    house: House, written: Any, by: Any, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not accelerated:
        monkeypatch.setattr("pgvector_backup.engine.codec.vector_text.packages", lambda: None)
    before = written(by, 3000)
    result = house.restore()
    assert contents(house.database, *PAIR) == before
    table = result.tables[EMBEDDING]
    assert table.rows == 3000
    assert table.method == ("csv as binary" if accelerated else "csv")
    assert result.backup_id == STAMP
    told = " ".join(table.notes)
    assert "no manifest" in told
    assert ("made JSON" in told) == (by is by_older_code)
    assert ("tells NULL and an empty text not apart" in told) == (by is by_older_code)


def test_into_tables_that_hold_rows(house: House, written: Any) -> None:
    before = written(by_older_code)
    house.restore()
    house.database.run("DELETE FROM langchain_pg_embedding WHERE id LIKE '%3'")
    result = house.restore(on_conflict="skip")
    assert contents(house.database, *PAIR) == before
    assert result.tables[EMBEDDING].rows == 6
    assert result.tables[EMBEDDING].skipped == 52


def test_a_table_that_is_not_there(house: House, written: Any) -> None:
    written(by_server)
    house.database.run("DROP TABLE langchain_pg_embedding")
    with pytest.raises(NotFound, match="no manifest tells its shape"):
        house.restore()


def test_an_empty_text_in_a_column_that_takes_no_null(house: House) -> None:
    house.database.run("CREATE TABLE t (id int, name text NOT NULL, meta jsonb)")
    house.directory.mkdir()
    (house.directory / f"t_{STAMP}.csv").write_text("id,name,meta\r\n1,,{'a': None}\r\n2,x,\r\n")
    result = house.restore()
    assert house.database.run("SELECT * FROM t ORDER BY id") == [(1, "", {"a": None}), (2, "x", None)]
    assert "1 empty texts" in " ".join(result.tables["t"].notes)


MEANT = {
    "None": "{'a': None}",
    "booleans": "{'a': True, 'b': [False]}",
    "quotes": """{'it\\'s "so"': "it's", 'b': '"'}""",
    "nested": "{'a': {'b': [1, [2, {'c': {}}], []]}}",
    "escapes": r"{'a': '\u4e2d\U0001f600\x07\\n\n\t\'', 'é': 'naïve 图书馆'}",
    "numbers": "{'a': 1, 'b': -1.5e-07, 'c': 123456789012345678901234567890, 'd': 0.1}",
    "a list": "['a', 1]",
    "JSON": '{"a": null, "b": [true, "it\'s"]}',
    "empty": "{}",
}


@pytest.mark.parametrize("kind", MEANT)
@pytest.mark.parametrize("json_type", ["json", "jsonb"])
def test_what_a_repr_meant(house: House, kind: str, json_type: str) -> None:
    import ast

    text = MEANT[kind]
    meant = json.loads(text) if kind == "JSON" else ast.literal_eval(text)
    house.database.run(f"CREATE TABLE t (id int, meta {json_type})")
    house.directory.mkdir()
    with (house.directory / f"t_{STAMP}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "meta"], [1, text]])
    house.restore()
    ((found,),) = house.database.run("SELECT meta::text FROM t")
    assert json.loads(found) == meant


REFUSED = {
    "no literal": ("{'a': open('x')}", "neither JSON nor a Python value"),
    "a date": ("{'a': datetime.date(2025, 1, 1)}", "neither"),
    "half of one": ("{'a': 1", "neither"),
    "a tuple": ("{'a': (1, 2)}", "tuple"),
    "a set": ("{'a'}", "set"),
    "bytes": ("{'a': b'x'}", "bytes"),
    "a key that is a number": ("{1: 'a'}", "key is int"),
    "not a number": ("{'a': nan}", "neither"),
    "an infinity": ("{'a': 1e999}", "not finite"),
    "half a surrogate pair": (r"{'a': '\ud800'}", "surrogate"),
    "a great depth": ("[" * 5000 + "]" * 5000, "levels deep"),
    "plain words": ("hello", "neither"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_made_json_is_refused_with_line_and_column(house: House, kind: str) -> None:
    text, why = REFUSED[kind]
    house.database.run("CREATE TABLE t (id int, document text, meta jsonb)")
    house.directory.mkdir()
    with (house.directory / f"t_{STAMP}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["id", "document", "meta"], [1, "two\nlines", "{}"], [2, "", "{'fine': None}"], [3, "x", text]]
        )
    with pytest.raises(Conflict, match=r"line 5, column meta") as caught:
        house.restore()
    assert why in caught.value.message
    assert house.count("t") == 0


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", IntegrityFault, "line 1: a header line that names each column once is missing"),
        (b"\n", IntegrityFault, "line 1: a header line that names each column once is missing"),
        (b"id,id\n", IntegrityFault, "line 1: a header line that names each column once is missing"),
        (b"id,name,meta\n1,2\n", IntegrityFault, "a row has 2 columns where its header names 3"),
        (b"id,name,meta\n1,2,3,4\n", IntegrityFault, "a row has 4 columns where its header names 3"),
        (b'id,name,meta\n1,"open,\n', IntegrityFault, "a quote is not closed"),
        (b"id,other,meta\n", Conflict, "column other of the set is not in the table"),
        (b"id,name,meta\nx,n,\n", Conflict, 'invalid input syntax for type integer: "x"'),
    ],
    ids=str,
)
def test_files_that_are_not_whole(house: House, content: bytes, kind: type[BackupError], words: str) -> None:
    house.database.run("CREATE TABLE t (id int, name text, meta jsonb)")
    house.directory.mkdir()
    (house.directory / f"t_{STAMP}.csv").write_bytes(content)
    with pytest.raises(BackupError) as caught:
        house.restore()
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert house.count("t") == 0


def test_a_byte_order_mark_and_a_last_line_without_an_end(house: House) -> None:
    house.database.run("CREATE TABLE t (id int, name text)")
    house.directory.mkdir()
    (house.directory / f"t_{STAMP}.csv").write_bytes(b'\xef\xbb\xbf"id","name"\r\n1,"a\r\nb"\r\n2,""\r\n3,')
    house.restore()
    assert house.database.run("SELECT * FROM t ORDER BY id") == [(1, "a\r\nb"), (2, ""), (3, None)]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda parts: (
        st.lists(parts, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), parts)
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_any_value_that_came_out_of_json_comes_back(value: Any) -> None:
    back = json.loads(python_repr.to_json(repr(value)))
    assert back == value
    assert repr(back) == repr(value), "-0.0, 1 and True are not the same"


@given(st.text())
def test_any_text_is_converted_or_refused(text: str) -> None:
    try:
        written = python_repr.to_json(text)
    except python_repr.NotJson as fault:
        assert fault.column is None or fault.column >= 0
    else:
        assert not isinstance(json.loads(written), float) or math.isfinite(json.loads(written))


def test_the_header_is_read_before_anything_else(house: House) -> None:
    house.directory.mkdir()
    (house.directory / f"t_{STAMP}.csv").write_bytes(b"\xff\xfe,x\n")
    with pytest.raises(IntegrityFault, match="line 1"):
        house.restore()
