"""A connection of a snapshot that reads tables block by block."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Protocol

from psycopg import Connection, sql

from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.sets.blocks import Block, Gatherer


class Reader(Protocol):
    """Reads rows over a connection that has joined a snapshot, one query after the other."""

    def blocks(self, query: sql.Composed) -> Generator[Block]:
        """The rows of a ``COPY … TO STDOUT``; each block is good until the next is asked for.

        Who leaves before the end, or meets an error, can ask for nothing more.

        :raises psycopg.Error: as the server has it
        :raises BackupError: when the connection's own process has ended
        """
        ...


class LocalReader:
    """Reads over a connection of this process.

    :param memory: as a `Gatherer` takes it
    """

    def __init__(
        self,
        conn: Connection[Any],
        kind: FileKind,
        algorithm: Algorithm,
        memory: Callable[[], memoryview] | None = None,
    ) -> None:
        self._conn = conn
        self._kind = kind
        self._algorithm = algorithm
        self._gatherer = Gatherer(memory)

    def blocks(self, query: sql.Composed | bytes) -> Generator[Block]:
        """See `Reader`."""
        with (
            self._conn.cursor() as cursor,
            cursor.copy(query) as copy,
            closing(self._gatherer.blocks(self._kind.format.copied(copy), self._kind, self._algorithm)) as blocks,
        ):
            yield from blocks
