"""Rows of a file taken apart: PostgreSQL's CSV and its binary COPY format, field by field.

Source: the manual's page on COPY, "File Formats". A field is the bytes that COPY wrote for it, None for NULL. What is
wrong is told without a word of what the row holds: rows are the user's data.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.format_names import FormatName

Field = bytes | None

_FIELDS: Final = 1664
"""Of one row, in any server: more of them are an attempt to use up memory."""

_ROW_BYTES: Final = 1 << 30
"""Of one row of CSV: no server takes a longer one, and a quote that is never closed would make one of all the rest."""

_TOO_MANY: Final = f"a row of more than {_FIELDS:,} fields"

_LONG: Final = 1 << 20
"""Bytes of a value above which it is not copied without need."""

_QUOTES: Final = re.compile(rb'"+')
_NO_PAIR: Final = re.compile(rb'"(?<!"")(?!"(?!"))')
"""The first of quotes that are not two, so that one of them may be the closing one; pairs are passed over quickly."""

_COMMA: Final = ord(",")
_COUNT: Final = struct.Struct(">h")
_LENGTH: Final = struct.Struct(">i")


def rows_of(data: bytes, file_format: FormatName) -> Iterator[tuple[bytes, list[Field]]]:
    """The rows of one unpacked block, each as it stands there and as its fields.

    :raises IntegrityFault: where they cannot be told apart
    """
    return _binary(data) if file_format == "binary" else _csv(data)


def _csv(data: bytes) -> Iterator[tuple[bytes, list[Field]]]:
    """Whole rows, found by looking for the next quote, comma or line end: a vector's digits are passed over at once."""
    find, end = data.find, len(data)
    at = 0
    line = -1  # the next line end, within quotes or not
    while at < end:
        start = at
        fields: list[Field] = []
        while True:
            if data.startswith(b'"', at):
                value, at = _quoted(data, at + 1)
                fields.append(value)
            else:
                if line < at:
                    line = find(b"\n", at)
                    if line < 0:
                        raise IntegrityFault("a row has no end")
                comma = find(b",", at, line)
                stop = line if comma < 0 else comma
                if find(b'"', at, stop) >= 0:
                    raise IntegrityFault(f"field {len(fields) + 1}: a quote within a field that is not quoted")
                fields.append(data[at:stop] or None)
                at = stop
            if data.startswith(b",", at):
                at += 1
            elif data.startswith(b"\n", at):
                at += 1
                break
            elif at == end:
                raise IntegrityFault("a row has no end")
            else:
                raise IntegrityFault(f"field {len(fields)}: something follows its closing quote")
            if len(fields) > _FIELDS:
                raise IntegrityFault(_TOO_MANY)
        yield data[start:at], fields


def csv_rows(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut CSV into rows, line ends included; only the last may lack its own.

    A line ends a row unless it lies within quotes: until then their number is odd.
    """
    parts: list[bytes] = []  # of the row at hand
    quotes = held = 0
    for chunk in chunks:
        held = held + len(chunk) if parts else len(chunk)
        if held > _ROW_BYTES:
            raise IntegrityFault(f"a row of more than {_ROW_BYTES:,} bytes: a quote is not closed, or no line ends")
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            quotes += line.count(b'"')
            if quotes & 1:
                parts.append(line + b"\n")
            elif parts:
                parts.append(line + b"\n")
                yield b"".join(parts)
                parts.clear()
                quotes = 0
            else:
                yield line + b"\n"
                quotes = 0
        if rest:
            parts.append(rest)
            quotes += rest.count(b'"')
    if parts:
        yield b"".join(parts)


def csv_fields(row: bytes) -> list[Field]:
    """The fields of a CSV row without its line end; an empty one is NULL unless it is quoted.

    :raises IntegrityFault: for a quote that is not closed, or stands where none may
    """
    if b'"' not in row:
        if row.count(b",") >= _FIELDS:
            raise IntegrityFault(_TOO_MANY)
        return [part or None for part in row.split(b",")]
    fields: list[Field] = []
    at = 0
    while True:
        if row.startswith(b'"', at):
            value, at = _quoted(row, at + 1)
            fields.append(value)
            if at == len(row):
                return fields
            if row[at] != _COMMA:
                raise IntegrityFault(f"field {len(fields)}: something follows its closing quote")
            at += 1
        else:
            comma = row.find(b",", at)
            end = len(row) if comma < 0 else comma
            if row.find(b'"', at, end) >= 0:
                raise IntegrityFault(f"field {len(fields) + 1}: a quote within a field that is not quoted")
            fields.append(row[at:end] or None)
            if comma < 0:
                return fields
            at = comma + 1
        if len(fields) > _FIELDS:
            raise IntegrityFault(_TOO_MANY)


def _quoted(row: bytes, start: int) -> tuple[bytes, int]:
    """The value that begins after a quote, and where its closing quote ends."""
    close = row.find(b'"', start)
    doubled = row.startswith(b'"', close + 1)
    while doubled and close >= 0:
        ended = _QUOTES.match(row, close)
        assert ended is not None
        if (ended.end() - close) & 1:  # pairs, and the closing one
            close = ended.end() - 1
            break
        found = _NO_PAIR.search(row, ended.end())
        close = -1 if found is None else found.start()
    if close < 0:
        raise IntegrityFault("a quote is not closed")
    if doubled and close - start > _LONG:
        return _undoubled(row, start, close), close + 1
    value = row[start:close]
    return (value.replace(b'""', b'"') if doubled else value), close + 1


def _undoubled(row: bytes, start: int, close: int) -> bytes:
    """A long value with one quote for each two, made without a second copy of it."""
    value = BytesIO()
    while start < close:
        part = row[start : min(start + _LONG, close)]
        if (len(part) - len(part.rstrip(b'"'))) & 1:  # it would end between the two
            part += b'"'
        start += len(part)
        value.write(part.replace(b'""', b'"'))
    return value.getvalue()


def _binary(data: bytes) -> Iterator[tuple[bytes, list[Field]]]:
    at = 0
    try:
        while at < len(data):
            start = at
            (count,) = _COUNT.unpack_from(data, at)
            if count < 0:
                raise IntegrityFault("a row of a negative number of fields")
            if count > _FIELDS:
                raise IntegrityFault(_TOO_MANY)
            at += _COUNT.size
            fields: list[Field] = []
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(data, at)
                at += _LENGTH.size
                if length == -1:
                    fields.append(None)
                    continue
                if length < 0 or at + length > len(data):
                    raise IntegrityFault(f"field {len(fields) + 1}: it reaches beyond its block")
                fields.append(data[at : at + length])
                at += length
            yield data[start:at], fields
    except struct.error:
        raise IntegrityFault("a row has no end") from None
