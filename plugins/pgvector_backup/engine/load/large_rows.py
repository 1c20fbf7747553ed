"""Rows with fields of many megabytes: they are compared by digests that the server makes, and not read back.

A row that a connection reads is held by libpq twice and by Python once, beside what was sent of it. Where a file has
such rows, both sides make a SHA-256 of each of their fields instead, and only these meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.load.open_copy import Destination

LARGE: Final = 4 << 20
"""Bytes above which a field makes its row a large one."""


@dataclass
class LargeRows:
    """The large rows of a file as they were sent.

    :param columns: places of the columns in which any had such a field
    :param total: the sum of their numbers
    """

    columns: set[int] = field(default_factory=set)
    rows: int = 0
    total: int = 0

    def take(self, fields: Sequence[Field]) -> bool:
        """Count a row if it is a large one.

        :param fields: in the format in which it is sent
        """
        return self.take_parts([None if one is None else (one,) for one in fields])

    def take_parts(self, fields: Sequence[Sequence[bytes] | None]) -> bool:
        """The same, of fields that are sent in parts."""
        wide = {at for at, parts in enumerate(fields) if parts is not None and sum(map(len, parts)) > LARGE}
        if not wide:
            return False
        self.columns |= wide
        self.rows += 1
        self.total += _number(None if parts is None else _digest(parts) for parts in fields)
        return True

    def condition(self, conn: Connection[Any], into: Destination, form: Format) -> sql.Composable:
        """What holds of the large rows of a table, and of no other of its rows."""
        values = _values(conn, into, form)
        return sql.SQL(" OR ").join(
            sql.SQL("coalesce(octet_length({}), 0) > {}").format(values[at], sql.Literal(LARGE))
            for at in sorted(self.columns)
        )


def read_large(
    conn: Connection[Any], into: Destination, form: Format, condition: sql.Composable, cancel: Cancel
) -> tuple[int, int]:
    """The large rows that a table holds now, and the sum of their numbers."""
    digests = sql.SQL(", ").join(sql.SQL("sha256({})").format(value) for value in _values(conn, into, form))
    rows = total = 0
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT {} FROM {} WHERE {}").format(digests, into.source, condition))
        for row in cursor:
            cancel.check()
            rows += 1
            total += _number(None if one is None else bytes(one) for one in row)
    return rows, total


def _values(conn: Connection[Any], into: Destination, form: Format) -> list[sql.Composable]:
    """Each column as the bytes that COPY would send of it; `format` uses the types' output functions, as COPY does."""
    if form.is_text:
        # Of a composite, IS NULL would ask for its columns.
        texts = sql.SQL("CASE WHEN num_nulls({0}) = 0 THEN convert_to(format('%s', {0}), 'UTF8') END")
        return [texts.format(sql.Identifier(name)) for name in into.columns]
    sends = dict(conn.execute(_SENDS, [into.table.as_string(conn)]).fetchall())
    return [sql.SQL("{}({})").format(sql.SQL(sends[name]), sql.Identifier(name)) for name in into.columns]


def _digest(parts: Iterable[bytes]) -> bytes:
    made = hashlib.sha256()
    for part in parts:
        made.update(part)
    return made.digest()


def _number(digests: Iterable[bytes | None]) -> int:
    row = b"".join(b"\0" if one is None else b"\1" + one for one in digests)
    return int.from_bytes(hashlib.sha256(row).digest()[:16], "little")


_SENDS: Final = """
SELECT a.attname, t.typsend::regproc::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
