"""A list of tables as people write it into a setting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.table_name import TableName, parse_names

IDENTIFIERS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)
TABLES = st.builds(TableName, st.none() | IDENTIFIERS, IDENTIFIERS)


def written(name: TableName) -> str:
    """A name as SQL writes it, every part in double quotes."""
    parts = [part.replace('"', '""') for part in (name.schema, name.table) if part is not None]
    return ".".join(f'"{part}"' for part in parts)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", [(None, "a")]),
        (" a , b ", [(None, "a"), (None, "b")]),
        ("a,,b,", [(None, "a"), (None, "b")]),
        ("rag.a,a", [("rag", "a"), (None, "a")]),
        ("Mixed.Case", [("Mixed", "Case")]),
        ("two words", [(None, "two words")]),
        ("向量.表", [("向量", "表")]),
        ('"a,b","c.d"', [(None, "a,b"), (None, "c.d")]),
        ('rag."a ""b"""', [("rag", 'a "b"')]),
        ("a,a, a", [(None, "a")]),
        ('"a",a', [(None, "a")]),
        ("a\nb", [(None, "a\nb")]),
    ],
)
def test_a_list_is_read_letter_for_letter(text: str, names: list[tuple[str | None, str]]) -> None:
    assert parse_names(text) == tuple(TableName(*name) for name in names)


@pytest.mark.parametrize("text", ["", " ", ",", ",,", "a.b.c", "a.", ".a", '"', '"a', 'a"', '"a""', '"a"b', '""', "."])
def test_a_malformed_list_is_refused(text: str) -> None:
    with pytest.raises(InvalidParams):
        parse_names(text)


@given(st.lists(TABLES, min_size=1, max_size=5))
def test_quoted_names_come_back_as_they_were(names: list[TableName]) -> None:
    assert parse_names(",".join(written(name) for name in names)) == tuple(dict.fromkeys(names))


@given(TABLES)
def test_a_label_with_punctuation_can_be_written_into_the_setting_again(name: TableName) -> None:
    if not set(name.label) & set(", \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0") and name.label.isprintable():
        assert TableName.parse(name.label) == name


@given(st.text())
def test_any_text_is_a_list_of_names_or_is_refused(text: str) -> None:
    try:
        names = parse_names(text)
    except InvalidParams:
        pass
    else:
        assert names
        assert all(name.table and name.schema != "" for name in names)
