"""Vectors as the fields of a file hold them: pgvector's types in text and in binary, without pgvector.

Source: the ``_in``, ``_out`` and ``_recv`` functions of pgvector's `vector.c`, `halfvec.c` and `sparsevec.c`, and the
binary form of the server's own `bit`.
"""

from __future__ import annotations

import math
import re
import struct
import sys
import threading
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.format_names import FormatName
from pgvector_backup.engine.codec.type_names import bare_type
from pgvector_backup.engine.codec.vector_text import VectorEncoder, encoder

TypeName = Literal["vector", "halfvec", "sparsevec", "bit"]

_SPARSE: Final = re.compile(r"\{([^{}]*)\}/(\d+)")
_MOST_DIMENSIONS: Final = {"vector": 16_000, "halfvec": 16_000, "sparsevec": 1_000_000_000, "bit": 83_886_080}
_LARGEST_HALF: Final = 65504.0


@dataclass(frozen=True)
class VectorType:
    """A column's type; ``dimensions`` None where it declares none."""

    name: TypeName
    dimensions: int | None


@dataclass(frozen=True)
class Vector:
    """A vector's numbers; of a sparse one those that are not 0, at ``indices`` counted from 1. Bits are one integer."""

    dimensions: int
    numbers: Sequence[float]
    indices: Sequence[int] | None = None
    bits: int | None = None

    def distance(self, other: Vector) -> float:
        """Euclidean, or between bits the number of those that differ."""
        if self.bits is not None and other.bits is not None:
            return float((self.bits ^ other.bits).bit_count())
        if self.indices is not None and other.indices is not None:
            mine = dict(zip(self.indices, self.numbers, strict=True))
            theirs = dict(zip(other.indices, other.numbers, strict=True))
            there = mine.keys() | theirs.keys()
            return math.dist([mine.get(at, 0.0) for at in there], [theirs.get(at, 0.0) for at in there])
        return math.dist(self.numbers, other.numbers)

    def text(self) -> str:
        """As pgvector reads it."""
        if self.bits is not None:
            return f"{self.bits:0{self.dimensions}b}"
        if self.indices is not None:
            pairs = zip(self.indices, self.numbers, strict=True)
            return "{" + ",".join(f"{at}:{number!r}" for at, number in pairs) + f"}}/{self.dimensions}"
        return "[" + ",".join(repr(float(number)) for number in self.numbers) + "]"


def vector_type(type_name: str, dimensions: int | None) -> VectorType | None:
    """Which of pgvector's types a column has, if any; a single bit is no vector.

    :param type_name: as ``format_type`` writes it
    :param dimensions: that the column declares
    """
    base, _ = bare_type(type_name)
    if base not in _TEXT or (base == "bit" and (dimensions or 1) == 1):
        return None
    return VectorType(cast("TypeName", base), dimensions)


def parse(field: bytes, kind: VectorType, file_format: FormatName) -> Vector:
    """Read a field.

    :raises IntegrityFault: when it is no such vector, has other dimensions than declared, or holds what pgvector
        forbids: NaN, an infinity, a number out of range
    """
    try:
        read = _BINARY[kind.name] if file_format == "binary" else _TEXT[kind.name]
        vector: Vector = read(field)
    except (ValueError, TypeError, OverflowError, struct.error):
        raise IntegrityFault(f"it is no {kind.name}") from None
    if kind.dimensions is not None and vector.dimensions != kind.dimensions:
        raise IntegrityFault(f"it has {vector.dimensions:,} dimensions, not {kind.dimensions:,}")
    if not 1 <= vector.dimensions <= _MOST_DIMENSIONS[kind.name]:
        raise IntegrityFault(f"a {kind.name} cannot have {vector.dimensions:,} dimensions")
    # A sum is finite only if every number is: 16,000 of the largest do not overflow a double.
    if not math.isfinite(sum(vector.numbers)):
        raise IntegrityFault(f"it holds NaN, an infinity or a number out of the range of {kind.name}")
    if kind.name == "halfvec" and not -_LARGEST_HALF <= min(vector.numbers) <= max(vector.numbers) <= _LARGEST_HALF:
        raise IntegrityFault("it holds a number out of the range of halfvec")
    return vector


def _dense(field: bytes) -> Vector:
    if not (field.startswith(b"[") and field.endswith(b"]")):
        raise ValueError("no brackets")
    fast = _encoder()
    if fast is not None:
        (binary,) = fast.many([field])
        if binary is not None:
            return _dense_binary(binary)
    # Also what pgvector forbids, such as NaN, so that it can be told from what is no number at all.
    numbers = [float(part) for part in field[1:-1].split(b",")]
    return Vector(len(numbers), _singles(numbers))


_own: Final = threading.local()


def _encoder() -> VectorEncoder | None:
    """Its parser is not to be shared by threads."""
    if not hasattr(_own, "fast"):
        _own.fast = encoder("vector")
    fast: VectorEncoder | None = _own.fast
    return fast


def _singles(numbers: Iterable[float]) -> array[float]:
    """As the server keeps them; what is too large becomes an infinity."""
    return array("f", numbers)


def _sparse(field: bytes) -> Vector:
    match = _SPARSE.fullmatch(field.decode("ascii"))
    if match is None:
        raise ValueError("not a sparse vector")
    pairs = [part.split(":") for part in match[1].split(",")] if match[1] else []
    return _sparse_of(int(match[2]), [int(at) for at, _ in pairs], _singles(float(n) for _, n in pairs))


def _sparse_of(dimensions: int, indices: list[int], numbers: Sequence[float]) -> Vector:
    if sorted(set(indices)) != indices or (indices and not 1 <= indices[0] <= indices[-1] <= dimensions):
        raise ValueError("indices out of order or range")
    return Vector(dimensions, numbers, indices=indices)


def _bits(field: bytes) -> Vector:
    if field.strip(b"01"):
        raise ValueError("not bits")
    return Vector(len(field), (), bits=int(field or b"0", 2))


def _dense_binary(field: bytes) -> Vector:
    dimensions, unused = struct.unpack_from(">hh", field)
    numbers = array("f", field[4:])
    if unused or len(numbers) != dimensions:
        raise ValueError("not a vector")
    if sys.byteorder == "little":
        numbers.byteswap()
    return Vector(dimensions, numbers)


def _half_binary(field: bytes) -> Vector:
    dimensions, unused = struct.unpack_from(">hh", field)
    if unused or dimensions < 0:
        raise ValueError("not a halfvec")
    return Vector(dimensions, struct.unpack(f">{dimensions}e", field[4:]))


def _sparse_binary(field: bytes) -> Vector:
    dimensions, count, unused = struct.unpack_from(">iii", field)
    if unused or count < 0 or len(field) != 12 + 8 * count:
        raise ValueError("not a sparsevec")
    indices = struct.unpack_from(f">{count}i", field, 12)
    numbers = struct.unpack_from(f">{count}f", field, 12 + 4 * count)
    return _sparse_of(dimensions, [at + 1 for at in indices], numbers)


def _bits_binary(field: bytes) -> Vector:
    (dimensions,) = struct.unpack_from(">i", field)
    if dimensions < 0 or len(field) != 4 + (dimensions + 7) // 8:
        raise ValueError("not bits")
    return Vector(dimensions, (), bits=int.from_bytes(field[4:], "big") >> (-dimensions % 8))


_TEXT: Final[dict[str, Any]] = {"vector": _dense, "halfvec": _dense, "sparsevec": _sparse, "bit": _bits}
_BINARY: Final[dict[str, Any]] = {
    "vector": _dense_binary,
    "halfvec": _half_binary,
    "sparsevec": _sparse_binary,
    "bit": _bits_binary,
}
