"""A connection of a snapshot that reads tables block by block."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Protocol

from psycopg import Connection, sql

from pgvector_backup.engine import copy_data
from pgvector_backup.engine.blocks import Block, Gatherer
from pgvector_backup.engine.file_kind import FileKind
from pgvector_backup.engine.fingerprint import Algorithm


class Reader(Protocol):
    """Reads rows over a connection that has joined a snapshot; one query after the other."""

    def blocks(self, query: sql.Composed, kind: FileKind, algorithm: Algorithm) -> Generator[Block]:
        """The rows of a ``COPY … TO STDOUT``; each block is good until the next is asked for.

        Who leaves before the end has to close the reader as well.

        :raises psycopg.Error: as the server has it
        """
        ...


class LocalReader:
    """Reads over a connection of this process.

    :param memory: gives memory of ``BLOCK_BYTES`` for a block's rows, which it may give again once the next block is
        asked for; None: the reader brings its own
    """

    def __init__(self, conn: Connection[Any], memory: Callable[[], memoryview] | None = None) -> None:
        self._conn = conn
        self._gatherer = Gatherer(memory)

    def blocks(self, query: sql.Composed | bytes, kind: FileKind, algorithm: Algorithm) -> Generator[Block]:
        """See `Reader`."""
        with (
            self._conn.cursor() as cursor,
            cursor.copy(query) as copy,
            closing(self._gatherer.blocks(copy_data.rows(copy, kind.format), kind, algorithm)) as blocks,
        ):
            yield from blocks
