"""Fields of CSV as the values of PostgreSQL's binary COPY format, which the server takes without parsing.

The server spends most of a CSV restore on reading the digits of vectors. Each encoder here makes of a text exactly what
the server's own input function would have made of it, or raises `NotReadHere` and leaves it to the server.

Source: the ``_in``, ``_out`` and ``_recv`` functions of the types. Texts are as the session writes them (see
`session`): ISO dates, UTC, shortest floats.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime, timezone
from typing import Final, cast

from pgvector_backup.engine.codec import vector_text
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.codec.type_names import bare_type
from pgvector_backup.engine.codec.vector_text import NotReadHere, VectorEncoder

Encode = Callable[[bytes], bytes]

_COUNT: Final = struct.Struct(">h")
_LENGTH: Final = struct.Struct(">i")
_NULL: Final = _LENGTH.pack(-1)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=timezone.utc)

_LONG: Final = 1 << 20
"""Bytes of a text above which it is not copied without need."""

_UUID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INTEGER: Final = re.compile(rb"-?[0-9]{1,19}")
_MOMENT: Final = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?(\+00)?"
)
_DATE: Final = re.compile(rb"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_FLOAT: Final = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|Infinity)")


class RowEncoder:
    """Makes rows of the binary format, many at a time, column by column."""

    def __init__(self, columns: Sequence[Encode | VectorEncoder]) -> None:
        self._columns = columns
        self.count = _COUNT.pack(len(columns))

    def many(self, rows: Sequence[Sequence[Field]]) -> list[bytes | None]:
        """Each row with its count of fields first; None for one with a value that only the server can judge."""
        columns: list[list[bytes | None]] = [[self.count] * len(rows)]
        for at, encode in enumerate(self._columns):
            texts = [row[at] for row in rows]
            if isinstance(encode, VectorEncoder):
                columns.append(_vectors(encode, texts))
            elif encode is _as_it_is:
                columns.append([_NULL if text is None else _LENGTH.pack(len(text)) + text for text in texts])
            else:
                columns.append([_NULL if text is None else _value(encode, text) for text in texts])
        return [
            None if None in parts else b"".join(cast("tuple[bytes, ...]", parts))
            for parts in zip(*columns, strict=True)
        ]

    def parts(self, fields: Sequence[Field]) -> list[Sequence[bytes] | None] | None:
        """The values of one row, the large ones in parts that are not copies of the texts.

        :return: None for a row with a value that only the server can judge
        """
        values: list[Sequence[bytes] | None] = []
        for encode, text in zip(self._columns, fields, strict=True):
            if text is None:
                values.append(None)
            elif encode is _as_it_is:
                values.append((text,))
            elif encode is _jsonb:
                values.append((b"\x01", text))
            elif encode is _bytea:
                try:
                    values.append(_bytea_parts(text))
                except NotReadHere:
                    return None
            else:
                (made,) = _vectors(encode, [text]) if isinstance(encode, VectorEncoder) else [_value(encode, text)]
                if made is None:
                    return None
                values.append((made[_LENGTH.size :],))
        return values

    @staticmethod
    def length(parts: Sequence[bytes] | None) -> bytes:
        """What comes before a value."""
        return _NULL if parts is None else _LENGTH.pack(sum(map(len, parts)))

    def shortened(self, fields: Sequence[Field]) -> list[Field]:
        """A row of the same kind with something short in the place of long texts and bytes."""
        short: dict[Encode | VectorEncoder, bytes] = {_as_it_is: b"null", _jsonb: b"null", _bytea: b"\\x00"}
        return [
            short.get(encode, text) if text is not None and len(text) > _LONG else text
            for encode, text in zip(self._columns, fields, strict=True)
        ]


def _value(encode: Encode, text: bytes) -> bytes | None:
    try:
        value = encode(text)
    except NotReadHere:
        return None
    return _LENGTH.pack(len(value)) + value


def _vectors(encoder: VectorEncoder, texts: Sequence[Field]) -> list[bytes | None]:
    values = iter(encoder.many([text for text in texts if text is not None]))
    found: list[bytes | None] = []
    for text in texts:
        value = None if text is None else next(values)
        if text is None:
            found.append(_NULL)
        else:
            found.append(None if value is None else _LENGTH.pack(len(value)) + value)
    return found


def row_encoder(types: Sequence[str]) -> RowEncoder | None:
    """How to encode a table's rows; None when the server had better read them.

    :param types: of the columns, as ``format_type`` writes them
    """
    columns = [column_encoder(type_name) for type_name in types]
    known = [encode for encode in columns if encode is not None]
    return RowEncoder(known) if len(known) == len(columns) else None


def column_encoder(type_name: str) -> Encode | VectorEncoder | None:
    """How to encode one type's values; None for a type that is not known here."""
    base, _ = bare_type(type_name)
    if base in ("vector", "halfvec"):
        return vector_text.encoder(base)
    return _ENCODERS.get(base)


def _as_it_is(text: bytes) -> bytes:
    return text


def _jsonb(text: bytes) -> bytes:
    return b"\x01" + text


def _uuid(text: bytes) -> bytes:
    if not _UUID.fullmatch(text):
        raise NotReadHere
    return bytes.fromhex(text.decode().replace("-", ""))


def _integer(size: int) -> Encode:
    bound = 1 << (8 * size - 1)

    def encode(text: bytes) -> bytes:
        if not _INTEGER.fullmatch(text) or not -bound <= (number := int(text)) < bound:
            raise NotReadHere
        return number.to_bytes(size, "big", signed=True)

    return encode


def _boolean(text: bytes) -> bytes:
    if text == b"t":
        return b"\x01"
    if text == b"f":
        return b"\x00"
    raise NotReadHere


def _double(text: bytes) -> bytes:
    if not _FLOAT.fullmatch(text):
        raise NotReadHere
    return struct.pack(">d", float(text))


def _single(text: bytes) -> bytes:
    return struct.pack(">f", vector_text.to_single(text))


def _bytea(text: bytes) -> bytes:
    if not text.startswith(b"\\x"):
        raise NotReadHere
    try:
        return bytes.fromhex(text[2:].decode())
    except ValueError:
        raise NotReadHere from None


def _bytea_parts(text: bytes) -> list[bytes]:
    return (
        [_bytea(b"\\x" + text[at : at + _LONG]) for at in range(2, len(text), _LONG)]
        if text[:2] == b"\\x"
        else [_bytea(text)]
    )


def _moment(zoned: bool) -> Encode:
    def encode(text: bytes) -> bytes:
        match = _MOMENT.fullmatch(text)
        if match is None or (match[8] is not None) != zoned:
            raise NotReadHere
        microseconds = int((match[7] or b"").ljust(6, b"0"))
        try:
            year, month, day, hour, minute, second = (int(match[n]) for n in range(1, 7))
            since = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc) - _EPOCH
        except ValueError:  # 24:00:00, or the 60th second
            raise NotReadHere from None
        return struct.pack(">q", (since.days * 86_400 + since.seconds) * 1_000_000 + microseconds)

    return encode


def _date(text: bytes) -> bytes:
    match = _DATE.fullmatch(text)
    if match is None:
        raise NotReadHere
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise NotReadHere from None
    return struct.pack(">i", day.toordinal() - _EPOCH.toordinal())


_ENCODERS: Final[dict[str, Encode]] = {
    "text": _as_it_is,
    "character varying": _as_it_is,
    "character": _as_it_is,
    "json": _as_it_is,
    "jsonb": _jsonb,
    "uuid": _uuid,
    "smallint": _integer(2),
    "integer": _integer(4),
    "bigint": _integer(8),
    "boolean": _boolean,
    "real": _single,
    "double precision": _double,
    "bytea": _bytea,
    "timestamp with time zone": _moment(zoned=True),
    "timestamp without time zone": _moment(zoned=False),
    "date": _date,
}
