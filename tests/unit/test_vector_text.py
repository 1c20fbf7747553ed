"""A vector's text becomes the very bits that `strtof` makes of it, however unlucky its digits are."""

from __future__ import annotations

import ctypes
import struct
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgvector_backup.engine.codec import vector_text
from pgvector_backup.engine.codec.vector_text import NotReadHere, to_single

_strtof = ctypes.CDLL(None).strtof
_strtof.restype = ctypes.c_float
_strtof.argtypes = [ctypes.c_char_p, ctypes.c_void_p]

LARGEST = float.fromhex("0x1.fffffep127")


UNDER_NORMAL = (
    "1.17549428075736429172788299103576651332274144333091469125379033012589948831384075265925652662532228558207839813100"
    "348269614414675743319094181060791015625E-38"
)
"""A hair's breadth below the middle between the largest single that is not normal and the least that is."""


def single(bits: int) -> float:
    (number,) = struct.unpack(">f", struct.pack(">I", bits))
    return float(number)


def bits_of(text: str) -> bytes:
    """What C makes of it."""
    return struct.pack(">f", _strtof(text.encode(), None))


FINITE = st.integers(0, 0x7F7FFFFE)
"""The bits of every positive single but the largest."""


@st.composite
def unlucky(draw: st.DrawFn) -> str:
    """A decimal at, or a hair beside, the middle between two neighbouring singles."""
    bits = draw(FINITE)
    with localcontext() as context:
        context.prec = 300
        middle = (Decimal(single(bits)) + Decimal(single(bits + 1))) / 2
        beside = draw(st.sampled_from(["0", "1e-40", "-1e-40", "1e-17", "-1e-17", "1e-12", "-1e-12"]))
        number = middle * (1 + Decimal(beside))
        return draw(st.sampled_from(["", "-"])) + str(number)


DECIMALS = st.one_of(
    unlucky(),
    FINITE.map(lambda bits: repr(single(bits))),
    st.floats(-LARGEST, LARGEST).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.tuples(st.integers(-(10**12), 10**12), st.integers(-70, 20)).map(lambda parts: f"{parts[0]}e{parts[1]}"),
    st.sampled_from(
        ["0", "-0", "0.0", "-0.0", "1e-45", "7e-46", "7.1e-46", "1e-300", "-1e-400", "16777217", "+1", ".5"]
    ),
)


@given(DECIMALS)
def test_one_number_is_rounded_as_c_does(text: str) -> None:
    assert struct.pack(">f", to_single(text.encode())) == bits_of(text)


@given(st.lists(DECIMALS, min_size=1, max_size=30))
@example(["-0", "0", "1"])
@example([UNDER_NORMAL])
@example([f"-{UNDER_NORMAL}", "1e-37"])
@example(["1.00000017881393432617187499", "1.00000017881393432617187500", "1.00000017881393432617187501"])
def test_a_vector_is_read_as_c_does(texts: list[str]) -> None:
    encoder = vector_text.encoder("vector")
    assert encoder is not None
    (made,) = encoder.many(["[{}]".format(",".join(texts)).encode()])
    assert made == struct.pack(">hh", len(texts), 0) + b"".join(map(bits_of, texts))


@given(st.lists(st.lists(DECIMALS, min_size=1, max_size=4), min_size=1, max_size=8))
def test_many_at_once_are_each_what_one_is(vectors: list[list[str]]) -> None:
    encoder = vector_text.encoder("vector")
    assert encoder is not None
    made = encoder.many(["[{}]".format(",".join(texts)).encode() for texts in vectors])
    for texts, one in zip(vectors, made, strict=True):
        assert one == struct.pack(">hh", len(texts), 0) + b"".join(map(bits_of, texts))


@given(st.lists(st.floats(-65504, 65504, width=16), min_size=1, max_size=20))
def test_half_precision(numbers: list[float]) -> None:
    encoder = vector_text.encoder("halfvec")
    assert encoder is not None
    (made,) = encoder.many([("[" + ",".join(map(repr, numbers)) + "]").encode()])
    assert made == struct.pack(f">hh{len(numbers)}e", len(numbers), 0, *numbers)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"1", b"[1", b"1]", b"[[1]]", b"[1,[2]]", b"[a]", b"[nan]", b"[inf]", b"[1,,2]", b"[0x1p3]", b"{}",
     b"[true]", b"[null]", b'["1"]', b"[" + b"1," * 16_000 + b"1]", b"[1e39]x", b"\xff"],
    ids=range(19),
)  # fmt: skip
def test_what_is_no_vector_is_left_to_the_server(text: bytes) -> None:
    encoder = vector_text.encoder("vector")
    assert encoder is not None
    assert encoder.many([b"[1]", text, b"[2]"]) == [b"\0\1\0\0\x3f\x80\0\0", None, b"\0\1\0\0\x40\0\0\0"]


@pytest.mark.parametrize("text", [b"1e39", b"3.4028236e38", b"nan", b"", b"x", b"1_0"])
def test_a_number_that_no_single_is(text: bytes) -> None:
    with pytest.raises(NotReadHere):
        to_single(text)


def test_the_largest_rounds_down_and_no_further() -> None:
    edge = Fraction(2) ** 128 - Fraction(2) ** 103  # half-way to what would be the next
    assert to_single(str(int(edge) - 1).encode()) == LARGEST
    with pytest.raises(NotReadHere):
        to_single(str(int(edge)).encode())
