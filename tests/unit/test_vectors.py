"""Vectors read from fields, with the packages that make it fast and without them."""

from __future__ import annotations

import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec import vectors
from pgvector_backup.engine.codec.vectors import Vector, VectorType, parse, vector_type

ANY = VectorType("vector", None)
NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20)


@pytest.fixture(params=["fast", "plain"])
def packages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with simdjson and numpy, and as without them."""
    if request.param == "plain":
        monkeypatch.setattr(vectors, "_encoder", lambda: None)


@pytest.mark.parametrize(
    ("kind", "dimensions", "expected"),
    [
        ("vector(3)", 3, VectorType("vector", 3)),
        ("vector", None, ANY),
        ("public.vector(3)", 3, VectorType("vector", 3)),
        ('"my ""own"" schema".halfvec', None, VectorType("halfvec", None)),
        ("sparsevec(5)", 5, VectorType("sparsevec", 5)),
        ("bit(8)", 8, VectorType("bit", 8)),
        ("bit(1)", 1, None),
        ("bit", None, None),
        ("bit varying(8)", None, None),
        ("vector(3)[]", None, None),
        ("text", None, None),
        ("tsvector", None, None),
    ],
)
def test_the_type_of_a_column(kind: str, dimensions: int | None, expected: VectorType | None) -> None:
    assert vector_type(kind, dimensions) == expected


@pytest.mark.usefixtures("packages")
def test_numbers_are_read_as_the_server_keeps_them() -> None:
    assert list(parse(b"[1,-2.5,1e-05,1e+20,-0]", ANY, "csv").numbers) == list(array("f", [1, -2.5, 1e-5, 1e20, -0.0]))
    assert list(parse(b"[ +1, .5, 1. ]", ANY, "csv").numbers) == [1.0, 0.5, 1.0]


@given(NUMBERS)
def test_text_and_binary_are_the_same_vector(numbers: list[float]) -> None:
    text = "[" + ",".join(repr(number) for number in numbers) + "]"
    binary = struct.pack(f">hh{len(numbers)}f", len(numbers), 0, *numbers)
    one, other = parse(text.encode(), ANY, "csv"), parse(binary, ANY, "binary")
    assert list(one.numbers) == list(other.numbers)
    assert list(parse(one.text().encode(), ANY, "csv").numbers) == list(other.numbers)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    "field",
    [b"[]", b"", b"[1", b"1]", b"[1,,2]", b"[1,]", b"[a]", b"[true]", b"[null]", b"[[1]]", b"[1.2.3]", b"{}", b"[1 2]",
     b"[nan]", b"[NaN,1]", b"[inf]", b"[-Infinity]", b"[1e39]", b"[-1e400]", b"\xff\xfe"],
)  # fmt: skip
def test_what_pgvector_does_not_take_is_refused(field: bytes) -> None:
    with pytest.raises(IntegrityFault):
        parse(field, ANY, "csv")


@pytest.mark.parametrize("field", [b"[65520]", b"[-70000]", b"[1e10]"])
def test_what_halfvec_does_not_hold_is_refused(field: bytes) -> None:
    with pytest.raises(IntegrityFault, match="halfvec"):
        parse(field, VectorType("halfvec", None), "csv")


@pytest.mark.parametrize("field", [b"{0:1}/3", b"{4:1}/3", b"{2:1,1:1}/3", b"{1:1,1:2}/3", b"{1:x}/3", b"{1:nan}/3",
                                   b"{1:1}", b"1:1/3", b"{}/0", b"{1:1e39}/3"])  # fmt: skip
def test_what_sparsevec_does_not_take_is_refused(field: bytes) -> None:
    with pytest.raises(IntegrityFault):
        parse(field, VectorType("sparsevec", None), "csv")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("vector", b""),
        ("vector", struct.pack(">hhf", 1, 1, 1.0)),
        ("vector", struct.pack(">hhf", 2, 0, 1.0)),
        ("vector", struct.pack(">hhf", 1, 0, math.inf)),
        ("halfvec", struct.pack(">hhe", 1, 0, math.nan)),
        ("halfvec", struct.pack(">hhe", 2, 0, 1)),
        ("sparsevec", struct.pack(">iiiif", 3, 1, 0, 3, 1.0)),
        ("sparsevec", struct.pack(">iiiif", 3, 1, 1, 0, 1.0)),
        ("sparsevec", struct.pack(">iii", 3, 1, 0)),
        ("bit", struct.pack(">i", 9) + b"\0"),
        ("bit", struct.pack(">i", -1)),
    ],
)
def test_binary_that_no_server_wrote_is_refused(kind: vectors.TypeName, field: bytes) -> None:
    with pytest.raises(IntegrityFault):
        parse(field, VectorType(kind, None), "binary")


def test_distances() -> None:
    dense = [parse(text, ANY, "csv") for text in (b"[0,0]", b"[3,4]")]
    assert dense[0].distance(dense[1]) == 5
    sparse = [parse(text, VectorType("sparsevec", None), "csv") for text in (b"{1:3}/9", b"{5:4}/9", b"{}/9")]
    assert sparse[0].distance(sparse[1]) == 5
    assert sparse[0].distance(sparse[2]) == 3
    bits = [parse(text, VectorType("bit", None), "csv") for text in (b"1010", b"0110")]
    assert bits[0].distance(bits[1]) == 2


@pytest.mark.parametrize(
    ("kind", "vector", "text"),
    [
        ("vector", Vector(2, [1.0, -0.5]), "[1.0,-0.5]"),
        ("sparsevec", Vector(9, [1.5], indices=[4]), "{4:1.5}/9"),
        ("sparsevec", Vector(9, [], indices=[]), "{}/9"),
        ("bit", Vector(5, (), bits=0b00101), "00101"),
    ],
)
def test_a_vector_as_pgvector_reads_it(kind: vectors.TypeName, vector: Vector, text: str) -> None:
    assert vector.text() == text
    assert parse(text.encode(), VectorType(kind, None), "csv").text() == text


@pytest.mark.parametrize("dimensions", [2, 3, 7, 8, 9, 15, 16, 17, 70])
def test_bits_are_the_same_in_text_and_in_binary(dimensions: int) -> None:
    """As the server sends them: the first bit is the highest, and the last byte is filled up with zeros."""
    kind = VectorType("bit", dimensions)
    for bits in {1, 2, (1 << dimensions) - 1, 1 << dimensions - 1, 0x5A5A5A5A5A & (1 << dimensions) - 1, 0}:
        text = f"{bits:0{dimensions}b}"
        filled = text.ljust((dimensions + 7) // 8 * 8, "0")
        binary = struct.pack(">i", dimensions) + int(filled, 2).to_bytes(len(filled) // 8, "big")
        one, other = parse(text.encode(), kind, "csv"), parse(binary, kind, "binary")
        assert one.bits == other.bits == bits
        assert type(other.bits) is int
        assert one.text() == other.text() == text
        assert one.distance(parse(b"0" * dimensions, kind, "csv")) == bits.bit_count()
