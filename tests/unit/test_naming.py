"""Names of files: safe to write, never shared by two tables, and ours to sweep only when they are ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.store.naming import (
    SAFE,
    check_bare,
    claimed_id,
    data_file_name,
    is_staged,
    manifest_name,
    of_set,
)

ID = "20250721_234914"

# What PostgreSQL takes as a name: up to 63 bytes, anything but NUL.
IDENTIFIERS = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=63
).filter(lambda name: len(name.encode()) <= 63)
TABLES = st.builds(TableName, st.none() | IDENTIFIERS, IDENTIFIERS)


def test_the_contracts_own_names() -> None:
    assert data_file_name("langchain_pg_embedding", ID, "csv") == "langchain_pg_embedding_20250721_234914.csv"
    assert data_file_name("rag.items", ID, "csv") == "rag.items_20250721_234914.csv"
    assert data_file_name("向量表", ID, "csv") == "向量表_20250721_234914.csv"
    assert manifest_name(ID) == "manifest_20250721_234914.json"


@given(TABLES)
def test_any_table_gets_a_bare_name_that_a_file_system_takes(table: TableName) -> None:
    name = data_file_name(table.label, ID, "csv")
    assert check_bare(name) == name
    assert not name.startswith(".")
    assert len(f"{name}.tmp".encode()) <= 255
    assert name.isprintable()
    assert is_staged(f"{name}.tmp")
    assert of_set([name, f"{name}.tmp"], ID) == [name, f"{name}.tmp"]
    assert claimed_id(f"{name}.tmp") is None


@pytest.mark.parametrize("more", range(1, 4))
def test_a_name_that_is_too_long_is_cut_where_a_file_system_would(more: int) -> None:
    room = 255 - len(f"_{ID}.csv.tmp")
    whole = data_file_name("a" * room, ID, "csv")
    assert whole == f"{'a' * room}_{ID}.csv"
    cut = data_file_name("a" * (room + more), ID, "csv")
    assert cut.startswith(f"{'a' * (room - 17)}~")
    assert len(f"{cut}.tmp") == 255
    assert cut != data_file_name("a" * (room + more + 1), ID, "csv")


@given(TABLES, TABLES)
def test_two_tables_never_share_a_name(one: TableName, other: TableName) -> None:
    same = data_file_name(one.label, ID, "csv") == data_file_name(other.label, ID, "csv")
    assert (one.label == other.label) == same == (one == other)


@given(st.lists(st.sampled_from('ab."_%'), min_size=1, max_size=4), st.lists(st.sampled_from('ab."_%'), max_size=4))
def test_punctuation_in_names_makes_no_two_alike(left: list[str], right: list[str]) -> None:
    """All ways to cut the same characters into a schema and a table."""
    text = "".join(left + right)
    tables = [TableName(None, text), *(TableName(text[:at], text[at:]) for at in range(1, len(text)))]
    tables += [TableName(t[:at], t[at + 1 :]) for t in (text,) for at in range(1, len(t) - 1) if t[at] == "."]
    labels = {table.label for table in tables}
    assert len(labels) == len(set(tables))
    assert len({data_file_name(label, ID, "csv") for label in labels}) == len(labels)


@pytest.mark.parametrize(
    "name",
    [
        f"langchain_pg_embedding_{ID}.csv.tmp",
        f"langchain_pg_embedding_{ID}.csv.zst.tmp",
        f"rag.items_{ID}.csv.tmp",
        f"向量表_{ID}.csv.tmp",
        f"manifest_{ID}.json.tmp",
        "t_2025-07-21T23-49-14.csv.tmp",
        "t_20250721_234914_utc.csv.tmp",
    ],
)
def test_what_a_killed_run_leaves_is_known_by_name(name: str) -> None:
    assert is_staged(name)


@pytest.mark.parametrize(
    "name",
    [
        f"langchain_pg_embedding_{ID}.csv",
        f"manifest_{ID}.json",
        "vector_backup_log.txt",
        "README.txt",
        "x.tmp",
        "notes.csv.tmp",
        "my_export.csv.tmp",
        "export_all.json.tmp",
        f"langchain_pg_embedding_{ID}.csv.tmp~",
        f"langchain_pg_embedding_{ID}.txt.tmp",
        "_1.csv.tmp",
        "a_1/b.csv.tmp",
    ],
)
def test_what_others_have_put_there_is_not_ours(name: str) -> None:
    assert not is_staged(name)


def test_a_claim_tells_its_id() -> None:
    assert claimed_id(f"manifest_{ID}.json.tmp") == ID
    assert claimed_id(f"manifest_{ID}.json") is None
    assert claimed_id("manifest_.json.tmp") is None
    assert claimed_id("manifest_a b.json.tmp") is None
    assert claimed_id("manifest_../x.json.tmp") is None


def test_a_set_does_not_own_the_files_of_another_whose_id_is_longer() -> None:
    assert of_set([f"t_{ID}.csv"], "234914.csv") == []
    assert of_set([f"t_{ID}_1.csv"], ID) == []


@pytest.mark.parametrize("known_by", ["manifest_20250721_234914.json", "manifest_20250721_234914.json.tmp", ""])
def test_the_longer_id_is_known_by_a_manifest_a_claim_or_its_date(known_by: str) -> None:
    """``t_20250721_234914.csv`` may be read as a file of set ``234914``, of a table ``t_20250721``."""
    names = [name for name in (known_by, f"t_{ID}.csv", "u_234914.csv") if name]
    assert of_set(names, "234914") == ["u_234914.csv"]
    assert of_set(names, ID) == [name for name in names if ID in name]
    only_known_by_it = [name for name in (known_by, "t_20250721_234914.pgcopy") if name]
    assert of_set(only_known_by_it, "234914") == ([] if known_by else ["t_20250721_234914.pgcopy"])


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "/etc/passwd", "..\\x", "a\0b"])
def test_a_path_is_no_bare_name(name: str) -> None:
    with pytest.raises(IntegrityFault, match="not a bare file name"):
        check_bare(name)


@given(st.text())
def test_safe_is_a_name_without_surprises(text: str) -> None:
    if SAFE.fullmatch(text):
        assert text.isascii()
        assert check_bare(text) == text
