"""Rows of CSV that the server reads for us: those that no encoder makes binary, and the first ones, to compare.

It reads them into a temporary table and tells them in the binary format; a COPY that is under way on the same
connection has to end before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.formats import BINARY, CSV
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.load.refusals import in_file, load_fault, place_told

_CONVERTED: Final = sql.Identifier("pg_temp", "pgvector_backup_converted")


@dataclass(frozen=True)
class ServerParser:
    """Has the server make binary rows of CSV.

    :param into: the table whose columns they are of
    :param label: what the set calls it
    :param file: the bare name of the file that rows are of
    """

    conn: Connection[Any]
    into: Destination
    label: str
    file: str

    def may_be_asked(self) -> bool:
        """Whether the role may make temporary tables in this database."""
        asked = self.conn.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
        return asked == (True,)

    def binary(self, rows: Sequence[bytes], lines: Sequence[int]) -> list[bytes]:
        """Rows of CSV in the binary format.

        :param lines: of the file, in which they begin
        :raises Conflict: when a value cannot be one of the table's, saying where in the file it is
        """
        with self.conn.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
                    sql.Identifier("pgvector_backup_converted"), self.into.column_list, self.into.source
                )
            )
            try:
                with cursor.copy(sql.SQL("COPY {} FROM STDIN ({})").format(_CONVERTED, sql.SQL(CSV.options))) as copy:
                    for row in rows:
                        copy.write(row)
            except psycopg.Error as fault:
                line, column = place_told(fault)
                place = in_file(self.file, None if line is None else _line_of(line, rows, lines), column)
                with load_fault(self.label, on_conflict="error", where=lambda _: place):
                    raise
            with cursor.copy(sql.SQL("COPY {} TO STDOUT ({})").format(_CONVERTED, sql.SQL(BINARY.options))) as copy:
                converted = [bytes(row) for row in BINARY.copied(copy)]
            cursor.execute(sql.SQL("DROP TABLE {}").format(_CONVERTED))
        if len(converted) != len(rows):
            raise IntegrityFault(f"the server reads {len(converted):,} rows where {len(rows):,} were sent")
        return converted


def _line_of(number: int, rows: Sequence[bytes], lines: Sequence[int]) -> str:
    """The file's line of a line that the server counts in a few rows of the file."""
    begun = 1
    for row, line in zip(rows, lines, strict=True):
        ended = begun + row.count(b"\n")
        if number < ended:
            return f"line {line + number - begun:,}"
        begun = ended
    return f"line {lines[-1]:,}"
