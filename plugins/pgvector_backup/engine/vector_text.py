"""The text of a vector to pgvector's binary form, to the very bits that the server would have made of it.

pgvector reads each number with `strtof`, which rounds the decimal once, to the nearest of single precision. Reading it
as a double and rounding that is twice as many roundings, and gives another number only where the double lies exactly
half-way between two singles, or below the least normal one. Those are found and rounded once, from their text.

Needs pysimdjson and numpy; without them `encoders` is None. About 25 µs for 1,536 numbers, a tenth of what the server
takes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

np: Any
simdjson: Any
try:
    import numpy as np
    import simdjson
except ImportError:  # not everybody has them; the server reads text as well
    np = simdjson = None

_HEAD: Final = struct.Struct(">hh")
_MOST_DIMENSIONS: Final = 16_000
_NUMBER: Final = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")

_MINUS_ZERO: Final = re.compile(rb"-0\s*[,\]]")
_SPACE: Final = b" \t\n\r\v\f"

_LEAST_NORMAL: Final = 2.0**-126
_LARGEST: Final = float.fromhex("0x1.fffffep127")
_HALF_WAY: Final = 0x10000000
_BELOW_SINGLE: Final = 0x1FFFFFFF
"""The bits of a double's fraction that single precision has no room for; half-way is the first of them alone."""


class NotReadHere(ValueError):
    """A value that only the server can judge."""


def encoder(kind: str) -> Callable[[bytes], bytes] | None:
    """How to encode one type's values; None where the packages that it takes are missing.

    :param kind: ``vector`` or ``halfvec``
    :return: from text to what `vector_recv` or `halfvec_recv` takes; it raises `NotReadHere`
    """
    if np is None or simdjson is None:
        return None
    parser = simdjson.Parser()
    # Numbers of two bytes are made from singles, as `halfvec_in` does.
    wire = np.dtype(">f4") if kind == "vector" else np.dtype(">f2")
    half = kind == "halfvec"

    def encode(text: bytes) -> bytes:
        try:
            array = parser.parse(text)
            doubles = np.frombuffer(array.as_buffer(of_type="d"), dtype=np.float64)
        except (ValueError, TypeError, AttributeError, RuntimeError):
            return _encoded_exactly(text, half=half)
        finally:
            array = None  # the parser refuses to parse again while something of it is in use
        size = len(doubles)
        if not 0 < size <= _MOST_DIMENSIONS or text.find(b"[", 1) > 0:
            raise NotReadHere
        with np.errstate(over="ignore"):  # infinities are for the server to refuse
            singles = doubles.astype(np.float32)
        if ((doubles.view(np.uint64) & _BELOW_SINGLE) == _HALF_WAY).any() or np.abs(singles).min() < _LEAST_NORMAL:
            _round_once(text, doubles, singles)
        numbers: bytes = singles.astype(wire).tobytes()
        return _HEAD.pack(size, 0) + numbers

    return encode


def _round_once(text: bytes, doubles: Any, singles: Any) -> None:
    """Put the numbers right that two roundings may have made wrong."""
    sizes = np.abs(doubles)
    doubtful = ((doubles.view(np.uint64) & _BELOW_SINGLE) == _HALF_WAY) | ((sizes > 0) & (sizes <= _LEAST_NORMAL))
    if _MINUS_ZERO.search(text):  # JSON takes it for an integer, which has no sign
        doubtful |= sizes == 0
    places = np.flatnonzero(doubtful)
    if len(places):
        numbers = text.strip(_SPACE)[1:-1].split(b",")
        for place in places:
            singles[place] = to_single(numbers[place].strip(_SPACE))


def _encoded_exactly(text: bytes, *, half: bool) -> bytes:
    """The slow way: each number by itself, from its decimal digits."""
    text = text.strip(_SPACE)
    if not (text.startswith(b"[") and text.endswith(b"]")):
        raise NotReadHere
    numbers = [to_single(part.strip(_SPACE)) for part in text[1:-1].split(b",")]
    if not 0 < len(numbers) <= _MOST_DIMENSIONS:
        raise NotReadHere
    try:
        return _HEAD.pack(len(numbers), 0) + struct.pack(f">{len(numbers)}{'e' if half else 'f'}", *numbers)
    except OverflowError:
        raise NotReadHere from None


def to_single(text: bytes) -> float:
    """A decimal rounded once to single precision, ties to even, as `strtof` does.

    :raises NotReadHere: for what is no decimal number, or too large
    """
    if not _NUMBER.fullmatch(text):
        raise NotReadHere
    exact = Fraction(text.decode())
    negative = text.startswith(b"-")
    magnitude = _nearest(abs(exact))
    return -magnitude if negative else magnitude


def _nearest(exact: Fraction) -> float:
    if not exact:
        return 0.0
    # The exponent of the last bit kept: 24 bits in all, and never below that of the least subnormal.
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    if exact < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 23, -149)
    rounded = float(round(exact / unit) * unit)  # `round` takes ties to even
    if rounded > _LARGEST:
        raise NotReadHere
    return rounded


def available() -> bool:
    """Whether vectors can be encoded here."""
    return np is not None and simdjson is not None
