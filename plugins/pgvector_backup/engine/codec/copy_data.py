"""The rows that ``COPY … TO STDOUT`` sends, taken from libpq as they come.

In CSV and in binary the server sends one CopyData message a row; in binary the first of them also carries the file's
header, and a last one is the trailer alone. psycopg's own iteration goes through a generator and a wait for each
message; on small rows that is the larger part of what reading them costs. Source: "Functions Associated with the COPY
Command" in the manual's chapter on libpq.
"""

from __future__ import annotations

import select
from collections.abc import Iterator

import psycopg
from psycopg import Copy
from psycopg.abc import Buffer
from psycopg.pq import ExecStatus

from pgvector_backup.engine.codec.format_names import BINARY_HEADER, BINARY_TRAILER, FormatName

_ENDED = -1
"""What ``PQgetCopyData`` gives after the last message; 0 means that the next is not there yet."""


def rows(copy: Copy, file_format: FormatName) -> Iterator[Buffer]:
    """The rows that a connection sends, without what belongs to a file as a whole; see `messages`."""
    return messages(copy) if file_format == "csv" else _binary_rows(copy)


def _binary_rows(copy: Copy) -> Iterator[Buffer]:
    first = True
    for row in messages(copy):
        if first:
            first = False
            row = memoryview(row)[len(BINARY_HEADER) :]  # noqa: PLW2901
        if len(row) != len(BINARY_TRAILER) or row != BINARY_TRAILER:
            yield row


def messages(copy: Copy) -> Iterator[Buffer]:
    """Every message, the first one next; nobody else may read from ``copy``.

    :raises psycopg.Error: as psycopg's own iteration does
    """
    pgconn = copy.connection.pgconn
    get_copy_data, consume_input = pgconn.get_copy_data, pgconn.consume_input
    socket = select.poll()
    socket.register(pgconn.socket, select.POLLIN)
    while True:
        length, data = get_copy_data(1)
        if length > 0:
            yield data
        elif length == _ENDED:
            break
        else:
            socket.poll()
            consume_input()
    # To the end, for the error too: the connection goes on only then.
    failed = None
    while True:
        while pgconn.is_busy():
            socket.poll()
            consume_input()
        result = pgconn.get_result()
        if result is None:
            break
        if result.status != ExecStatus.COMMAND_OK:
            failed = failed or result
    if failed is not None:
        raise psycopg.errors.error_from_result(failed, encoding="utf-8")
