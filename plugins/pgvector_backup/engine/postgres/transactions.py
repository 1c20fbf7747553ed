"""Which transaction wrote a row, and whether a snapshot saw it.

A row's ``xmin`` is the low half of a 64-bit transaction id and stays with the row when it is frozen. So a row can
be placed only relative to a known id and less than 2**31 transactions from it; what cannot be placed is
counted as unseen, because a truncate that guesses loses rows.

``pg_visible_in_snapshot`` is not enough here: a snapshot's text lists top-level transactions only, and would call a
row visible that a still open savepoint's subtransaction had written. Instead, the ids at or above the snapshot's
``xmin`` whose rows the snapshot did show are listed with the backup; there are few of them, as a rule none. A frozen
row of four billion transactions ago may have the number of one that is open: it does not vouch for that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.postgres.untold import told

_WRAP: Final = 1 << 32
_COMPARABLE: Final = 1 << 31
_FIRST_NORMAL: Final = 3
_LISTED_AT_MOST: Final = 100_000


@dataclass(frozen=True)
class TransactionIds:
    """``pg_current_snapshot()``: all below ``xmin`` had ended, none from ``xmax`` on had begun. 64-bit ids."""

    xmin: int
    xmax: int

    @classmethod
    def current(cls, conn: Connection[Any]) -> TransactionIds:
        """Those of the connection's snapshot, which it takes if there is none yet."""
        row = conn.execute(
            "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM pg_current_snapshot() AS s"
        ).fetchone()
        assert row is not None
        return cls(int(row[0]), int(row[1]))


NOT_TOLD: Final = TransactionIds(0, 0)
"""Of a server that does not tell, or does not know: no row can be placed by it."""


def late(conn: Connection[Any], table: Table, snapshot: TransactionIds) -> tuple[int, ...] | None:
    """The transactions at or above the snapshot's ``xmin`` that wrote rows which it shows.

    :param conn: joined to the snapshot
    :return: 64-bit ids, sorted; None when they are too many to list, or the server does not tell
    """
    if not table.has_rows_of_its_own or snapshot.xmin == snapshot.xmax:
        return ()
    query = sql.SQL(
        "SELECT offset_ FROM (SELECT DISTINCT offset_ FROM"
        "  (SELECT (xmin::text::bigint - {low} + {wrap}) % {wrap} AS offset_ FROM {source}) AS written"
        "  WHERE offset_ < {span}) AS listed"
        " WHERE pg_visible_in_snapshot(({xmin} + offset_)::text::xid8, pg_current_snapshot())"
        " ORDER BY offset_ LIMIT {most}"
    ).format(
        xmin=snapshot.xmin,
        low=snapshot.xmin % _WRAP,
        wrap=_WRAP,
        source=table.source,
        span=snapshot.xmax - snapshot.xmin,
        most=_LISTED_AT_MOST + 1,
    )
    rows = told(conn, lambda: conn.execute(query).fetchall())
    if rows is None:
        return None
    return tuple(snapshot.xmin + row[0] for row in rows) if len(rows) <= _LISTED_AT_MOST else None


def count(
    conn: Connection[Any],
    table: Table,
    snapshot: TransactionIds,
    relations: Sequence[int],
    late_ids: Sequence[int] | None,
) -> tuple[int, int]:
    """Count a table's rows, and those of them that the snapshot did not see in it.

    The caller holds a lock that keeps every writer out.

    :param relations: oids of the relations that were read; rows of another, such as a partition attached since or a
        table that has taken the name, may be of any age
    :return: rows, unseen rows
    :raises Conflict: when the ids of then and now cannot be compared
    """
    now = TransactionIds.current(conn)
    if now.xmax < snapshot.xmax:
        raise Conflict(
            f"{table.name.label}: the server has begun fewer transactions than at the time of the backup, so it "
            "was itself restored since; make a new backup"
        )
    if now.xmax - snapshot.xmin >= _COMPARABLE:
        raise Conflict(
            f"{table.name.label}: too many transactions since the backup to tell its rows from later ones; "
            "make a new backup"
        )
    if late_ids is None:
        raise Conflict(
            f"{table.name.label}: a transaction was open for so long during the backup that the rows which the "
            "backup holds cannot be told from later ones, or the server did not tell; end it, see that the "
            "connection's role may execute pg_visible_in_snapshot, and make a new backup"
        )
    query = sql.SQL(
        "SELECT count(*), count(*) FILTER"
        " (WHERE raw < {first} OR (offset_ < {span} AND listed IS NULL) OR NOT relation = ANY({relations}::oid[]))"
        " FROM (SELECT relation, raw, (raw - {low} + {wrap}) % {wrap} AS offset_"
        "       FROM (SELECT tableoid AS relation, xmin::text::bigint AS raw FROM {source}) AS r) AS written"
        " LEFT JOIN unnest({late}::bigint[]) AS listed ON listed = offset_"
    ).format(
        first=_FIRST_NORMAL,
        span=now.xmax - snapshot.xmin,
        low=snapshot.xmin % _WRAP,
        wrap=_WRAP,
        source=table.source,
        relations=list(relations),
        late=[late_id - snapshot.xmin for late_id in late_ids],
    )
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0], row[1]
