"""The text of a vector to pgvector's binary form, to the very bits that the server would have made of it.

pgvector reads each number with `strtof`, which rounds the decimal once, to the nearest of single precision. Reading it
as a double and rounding that is twice as many roundings, and gives another number only where the double lies exactly
half-way between two singles, or below the least normal one. Those are found and rounded once, from their text.

Needs pysimdjson and numpy; without them there is no encoder. About 25 µs for 1,536 numbers, a seventh of what the
server takes.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final

_HEAD: Final = struct.Struct(">hh")
_MOST_DIMENSIONS: Final = 16_000
_NUMBER: Final = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")

_MINUS_ZERO: Final = re.compile(rb"-0\s*[,\]]")
_SPACE: Final = b" \t\n\r\v\f"

_LEAST_NORMAL: Final = 2.0**-126
_LARGEST: Final = float.fromhex("0x1.fffffep127")
_LARGEST_HALF: Final = 65504.0
_HALF_WAY: Final = 0x10000000
_BELOW_SINGLE: Final = 0x1FFFFFFF
"""The bits of a double's fraction that single precision has no room for; half-way is the first of them alone."""


class NotReadHere(ValueError):
    """A value that only the server can judge."""


@functools.cache
def packages() -> tuple[Any, Any] | None:
    """Numpy and simdjson, imported when first needed; None where they are missing: the server reads text as well."""
    try:
        import numpy  # noqa: PLC0415
        import simdjson  # noqa: PLC0415
    except ImportError:
        return None
    return numpy, simdjson


class VectorEncoder:
    """Encodes the values of one column, many at a time.

    :param kind: ``vector`` or ``halfvec``
    """

    def __init__(self, kind: str, np: Any, simdjson: Any) -> None:
        self._np = np
        self._parser = simdjson.Parser()
        self._half = kind == "halfvec"
        # Numbers of two bytes are made from singles, as `halfvec_in` does.
        self._wire = np.dtype(">f2" if self._half else ">f4")
        self._room = np.empty((0, 0))

    def many(self, texts: Sequence[bytes]) -> list[bytes | None]:
        """What `vector_recv` or `halfvec_recv` takes for each text; None for one that only the server can judge."""
        np = self._np
        found: list[bytes | None] = [None] * len(texts)
        places: list[int] = []
        size = 0
        for place, text in enumerate(texts):
            try:
                array = self._parser.parse(text)
                doubles = np.frombuffer(array.as_buffer(of_type="d"), dtype=np.float64)
            except (ValueError, TypeError, AttributeError, RuntimeError):
                found[place] = self._exactly(text)
                continue
            finally:
                array = None  # the parser refuses to parse again while something of it is in use
            if not 0 < len(doubles) <= _MOST_DIMENSIONS or text.find(b"[", 1) > 0:
                continue
            if len(doubles) != size and places:
                self._encode(texts, places, size, found)
                places = []
            size = len(doubles)
            if self._room.shape[0] < len(texts) or self._room.shape[1] != size:
                self._room = np.empty((len(texts), size), dtype=np.float64)
            self._room[len(places)] = doubles
            places.append(place)
        if places:
            self._encode(texts, places, size, found)
        return found

    def _encode(self, texts: Sequence[bytes], places: Sequence[int], size: int, found: list[bytes | None]) -> None:
        """Vectors of one size, which lie in the first rows of the room."""
        np = self._np
        doubles = self._room[: len(places)]
        with np.errstate(over="ignore"):  # infinities are for the server to refuse
            singles = doubles.astype(np.float32)
        doubtful = ((doubles.view(np.uint64) & _BELOW_SINGLE) == _HALF_WAY).any()
        if doubtful or np.abs(singles).min() <= _LEAST_NORMAL:
            for row, place in enumerate(places):
                self._round_once(texts[place], doubles[row], singles[row])
        with np.errstate(over="ignore"):
            wire = singles.astype(self._wire)
        numbers = wire.tobytes()
        head, step = _HEAD.pack(size, 0), self._wire.itemsize * size
        finite = max(singles.max(), -singles.min()) <= (_LARGEST_HALF if self._half else _LARGEST)
        for row, place in enumerate(places):
            # What is out of range is for the server to refuse, which sees the text and says where it is.
            if finite or np.isfinite(wire[row]).all():
                found[place] = head + numbers[row * step : (row + 1) * step]

    def _round_once(self, text: bytes, doubles: Any, singles: Any) -> None:
        """Put the numbers right that two roundings may have made wrong."""
        np = self._np
        sizes = np.abs(doubles)
        doubtful = ((doubles.view(np.uint64) & _BELOW_SINGLE) == _HALF_WAY) | ((sizes > 0) & (sizes <= _LEAST_NORMAL))
        if _MINUS_ZERO.search(text):  # JSON takes it for an integer, which has no sign
            doubtful |= sizes == 0
        places = np.flatnonzero(doubtful)
        if len(places):
            numbers = text.strip(_SPACE)[1:-1].split(b",")
            for place in places:
                # What is too large after all stays an infinity, for the server to refuse.
                with suppress(NotReadHere):
                    singles[place] = to_single(numbers[place].strip(_SPACE))

    def _exactly(self, text: bytes) -> bytes | None:
        try:
            return _encoded_exactly(text, half=self._half)
        except NotReadHere:
            return None


def encoder(kind: str) -> VectorEncoder | None:
    """How to encode a column of ``vector`` or ``halfvec``; None where the packages that it takes are missing."""
    found = packages()
    return None if found is None else VectorEncoder(kind, *found)


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
