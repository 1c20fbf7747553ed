"""Binary rows are what was put together; CSV rows do not depend on how a file is read."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.rows import Field, csv_fields, csv_rows, rows_of

FIELDS = st.lists(st.none() | st.text(alphabet='ab",\n\r\\ 中').map(str.encode), min_size=1, max_size=5)


def as_csv(fields: list[Field]) -> bytes:
    """A row as COPY writes it."""
    return b",".join(b"" if f is None else b'"' + f.replace(b'"', b'""') + b'"' for f in fields) + b"\n"


def as_binary(fields: list[Field]) -> bytes:
    row = struct.pack(">h", len(fields))
    for one in fields:
        row += struct.pack(">i", -1) if one is None else struct.pack(">i", len(one)) + one
    return row


@given(st.lists(FIELDS, max_size=6))
def test_binary_of_any_fields(rows: list[list[Field]]) -> None:
    data = b"".join(as_binary(fields) for fields in rows)
    assert [fields for _, fields in rows_of(data, "binary")] == rows
    assert b"".join(row for row, _ in rows_of(data, "binary")) == data


@given(st.lists(FIELDS, max_size=6), st.lists(st.integers(0, 200), max_size=5))
def test_rows_do_not_depend_on_how_the_file_is_read(rows: list[list[Field]], cuts: list[int]) -> None:
    data = b"".join(as_csv(fields) for fields in rows)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert list(csv_rows(pieces)) == [as_csv(fields) for fields in rows]


def test_a_field_that_is_empty_is_null_unless_it_is_quoted() -> None:
    assert csv_fields(b',"",a') == [None, b"", b"a"]
    assert csv_fields(b"") == [None]


@pytest.mark.parametrize("row", [b'"a', b'"a""', b'"a"b', b'a"b', b'a,"b"c,d', b'"'])
def test_quotes_that_do_not_fit_are_refused(row: bytes) -> None:
    with pytest.raises(IntegrityFault):
        csv_fields(row)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\0\1",
        b"\0\1\0\0\0\5abc",
        b"\0\1\xff\xff\xff\xfe",
        b"\xff\xff",
        as_binary([b"a"]) + b"\0",
        as_binary([b"a"])[:-1],
    ],
)
def test_binary_that_is_cut_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityFault):
        list(rows_of(data, "binary"))
