"""A COPY into a table that is open: bytes go in, and a server that has failed it is noticed at once."""

from __future__ import annotations

import select
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from psycopg import Connection, Copy, sql

from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.postgres.session import on_own_path

if TYPE_CHECKING:
    from typing_extensions import Self

_MESSAGE_BYTES: Final = 1 << 16
"""Of one message to the server, which reads each to its end before it looks at the rows in it."""


@dataclass(frozen=True)
class Destination:
    """Where rows go.

    :param source: the table as it stands after FROM
    :param columns: of the file, in its order
    """

    table: sql.Composable
    source: sql.Composable
    columns: tuple[str, ...]

    @property
    def column_list(self) -> sql.Composable:
        """The columns for COPY and SELECT."""
        return sql.SQL(", ").join(sql.Identifier(name) for name in self.columns)

    @property
    def bracketed(self) -> sql.Composable:
        """The columns after a table's name; nothing where there are none, which the grammar has no brackets for."""
        return sql.SQL("({})").format(self.column_list) if self.columns else sql.SQL("")


class BrokenOff(Exception):
    """The server has failed a COPY; nothing more needs to be sent."""


class OpenCopy:
    """``COPY … FROM STDIN``, from the header to the trailer; it may be closed and opened again in between."""

    def __init__(self, conn: Connection[Any], into: Destination, form: Format) -> None:
        self._conn = conn
        self._into = into
        self._form = form
        self._stack = ExitStack()
        self._copy: Copy | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(exc_type, exc_value, traceback)

    def open(self) -> None:
        """Begin, with the format's header."""
        self._stack.enter_context(on_own_path(self._conn))
        cursor = self._stack.enter_context(self._conn.cursor())
        statement = sql.SQL("COPY {} {} FROM STDIN ({})").format(
            self._into.table, self._into.bracketed, sql.SQL(self._form.options)
        )
        self._copy = self._stack.enter_context(cursor.copy(statement))
        if self._form.header:
            self._copy.write(self._form.header)

    def write(self, data: bytes) -> None:
        """Send whole rows.

        :raises BrokenOff: when the server has failed the COPY
        """
        assert self._copy is not None
        for at in range(0, len(data), _MESSAGE_BYTES):
            self._copy.write(memoryview(data)[at : at + _MESSAGE_BYTES])
        # A server that has something to say in the middle of a COPY has failed it, for notices are off. What is read
        # from an encrypted line may be the encryption's own.
        if not self._conn.pgconn.ssl_in_use and select.select([self._conn.fileno()], [], [], 0)[0]:
            raise BrokenOff

    def close(self) -> None:
        """End, with the format's trailer; the server has taken every row when this returns."""
        assert self._copy is not None
        if self._form.trailer:
            self._copy.write(self._form.trailer)
        self._stack.close()
        self._copy = None
