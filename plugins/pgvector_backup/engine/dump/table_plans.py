"""What has to be known of each table before its first row is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.dump import remarks
from pgvector_backup.engine.dump.ranges import Estimate, PageRange, cutter, estimate, header
from pgvector_backup.engine.postgres import binary_forms, transactions
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.tables import Table


@dataclass(frozen=True)
class TablePlan:
    """One table: what it will come to, how its pages are cut, what precedes its rows.

    :param cut: divides its pages, given what they come to
    :param late_transactions: as a manifest has them
    :param remark: what has to be said of it
    """

    table: Table
    expected: Estimate
    header: bytes
    cut: Callable[[Estimate], Iterator[PageRange]]
    late_transactions: tuple[int, ...] | None
    remark: str | None

    def part(self, share: float) -> TablePlan:
        """The same, when only so much of the rows is read."""
        whole = self.expected
        parts = [None if one is None else round(one * share) for one in (whole.rows, whole.bytes, whole.stored)]
        return replace(self, expected=Estimate(*parts))


def plan_tables(snapshot: Snapshot, kind: FileKind, jobs: int, cancel: Cancel) -> list[TablePlan]:
    """Plan every table that can be read; one that cannot joins the snapshot's failures."""
    plans = []
    with snapshot.joined() as conn:
        for name, table in snapshot.described.items():
            cancel.check()
            try:
                with translated(table=name.label):
                    plans.append(_plan_of(conn, snapshot, table, kind, jobs))
            except BackupError as fault:
                cancel.check()
                if conn.broken:
                    raise
                snapshot.failures[name] = fault
                snapshot.rejoin(conn)
    return plans


def _plan_of(conn: Connection[Any], snapshot: Snapshot, table: Table, kind: FileKind, jobs: int) -> TablePlan:
    if not kind.format.is_text:
        binary_forms.require(conn, table)
    expected = estimate(conn, table, kind)
    return TablePlan(
        table=table,
        expected=expected,
        header=header(conn, table, kind.format),
        cut=cutter(conn, table, jobs=jobs),
        late_transactions=transactions.late(conn, table, snapshot.transactions),
        remark=remarks.of_children(conn, table, snapshot.described.values()),
    )
