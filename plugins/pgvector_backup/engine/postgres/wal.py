"""How far the server's write-ahead log is, and whether what a snapshot saw would survive a crash of the server."""

from __future__ import annotations

import time
from typing import Any, Final

from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.postgres.untold import told

_STEP_SECONDS: Final = 0.02
_LONGEST_SECONDS: Final = 0.6

_FLUSHED: Final = """
SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint, extract(epoch FROM current_setting('wal_writer_delay')::interval)
"""


def wal_position(conn: Connection[Any]) -> int | None:
    """How far the log is, in bytes, whether on disk or not; None where the server does not tell."""
    row = told(conn, lambda: conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone())
    return None if row is None else row[0]


def await_disk(conn: Connection[Any], position: int | None, since: float, cancel: Cancel) -> None:
    """Wait until every transaction that had committed by a position of the log is on the server's disk.

    Who commits with ``synchronous_commit`` off does not wait for that. After a crash such a transaction is gone, and
    its number is given to another one: of rows that a set has seen, nobody could tell those of the one from those of
    the other. As a rule nothing is waited for; the server needs three times ``wal_writer_delay`` at most, 0.6 s.
    Source: the manual's page "Asynchronous Commit".

    :param position: None: not told
    :param since: when the log was there, by `time.monotonic`
    """
    longest = _LONGEST_SECONDS
    while True:
        # Where it does not tell how far its disk is: what that takes at most.
        row = told(conn, lambda: conn.execute(_FLUSHED).fetchone())
        if row is not None:
            flushed, delay = row
            if position is not None and flushed >= position:
                return
            longest = 3 * float(delay)
        if time.monotonic() - since > longest:
            return
        cancel.wait(_STEP_SECONDS)
