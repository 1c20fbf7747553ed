"""Rows of COPY's CSV are cut where COPY ended them, and an empty text stays one."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.rows import csv_fields, csv_rows, rows_of

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(str.encode)
TRICKY = st.sampled_from([b"", b'"', b'""', b",", b"\n", b"\r\n", b"\\.", b"NULL", b'",\n"', b"[1,2,3]", b" "])
FIELD = st.none() | TEXT | TRICKY


def written(rows: list[list[bytes | None]], *, always: bool) -> bytes:
    """As COPY writes it: quotes where they are needed, or everywhere; NULL is empty."""
    lines = []
    for row in rows:
        fields = []
        for field in row:
            if field is None:
                fields.append(b"")
            elif always or not field or any(char in field for char in b'",\r\n') or field == b"\\.":
                fields.append(b'"' + field.replace(b'"', b'""') + b'"')
            else:
                fields.append(field)
        lines.append(b",".join(fields) + b"\n")
    return b"".join(lines)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(FIELD, min_size=n, max_size=n))), st.booleans())
def test_whatever_the_fields_hold(rows: list[list[bytes | None]], always: bool) -> None:
    data = written(rows, always=always)
    found = list(rows_of(data, "csv"))
    assert [fields for _, fields in found] == rows
    assert b"".join(row for row, _ in found) == data
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    assert [csv_fields(row.removesuffix(b"\n")) for row in csv_rows(pieces)] == rows


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_as_pythons_writer_writes_it(rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(rows)
    data = file.getvalue().encode()
    assert [[(field or b"").decode() for field in fields] for _, fields in rows_of(data, "csv")] == rows


@pytest.mark.parametrize(
    "data",
    [b"a", b"a,", b'"a', b'"a"', b'"a\n', b'"a"b\n', b'a"b\n', b'a,"b"c\n', b'"a""\n', b'a"b,"c\n"\n', b"a\nb"],
    ids=repr,
)
def test_what_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityFault):
        list(rows_of(data, "csv"))


@given(st.binary(max_size=60))
def test_anything_is_cut_or_refused(data: bytes) -> None:
    for file_format in ("csv", "binary"):
        try:
            rows = [row for row, _ in rows_of(data, file_format)]  # type: ignore[arg-type]
        except IntegrityFault:
            continue
        assert b"".join(rows) == data
