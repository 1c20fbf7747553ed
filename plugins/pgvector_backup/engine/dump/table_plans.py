"""What has to be known of each table before its first row is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.dump import no_text, remarks
from pgvector_backup.engine.dump.ranges import Estimate, PageRange, cutter, estimate, header
from pgvector_backup.engine.postgres import binary_forms, transactions
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Table

_UNKNOWN: Final = Estimate(None, None, None)


@dataclass(frozen=True)
class TablePlan:
    """One table: what it will come to, how its pages are cut, what precedes its rows.

    :param expected: nothing is known of it yet, see `estimated`
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


def plan_tables(snapshot: Snapshot, kind: FileKind, jobs: int, cancel: Cancel) -> list[TablePlan]:
    """Plan every table that can be read; one that cannot joins the snapshot's failures."""
    with snapshot.joined(kept=True) as conn:
        return _each(
            snapshot,
            conn,
            cancel,
            snapshot.described.values(),
            lambda table: _plan_of(conn, snapshot, table, kind, jobs),
        )


def estimated(
    snapshot: Snapshot,
    plans: Sequence[TablePlan],
    kind: FileKind,
    cancel: Cancel,
    known: Callable[[TableName], Estimate | None],
) -> list[TablePlan]:
    """The same plans with what each table will come to; a table that cannot be read joins the snapshot's failures.

    :param known: what is known of a table already: of it nothing is read
    """
    told = {plan.table.name: known(plan.table.name) for plan in plans}
    by_name = {plan.table.name: plan for plan in plans}
    with ExitStack() as held:
        conn = held.enter_context(snapshot.joined(kept=True)) if None in told.values() else None

        def with_estimate(table: Table) -> TablePlan:
            expected = told[table.name]
            if expected is None:
                assert conn is not None
                expected = estimate(conn, table, kind)
            return replace(by_name[table.name], expected=expected)

        return _each(snapshot, conn, cancel, [plan.table for plan in plans], with_estimate)


def _each(
    snapshot: Snapshot,
    conn: Connection[Any] | None,
    cancel: Cancel,
    tables: Iterable[Table],
    plan: Callable[[Table], TablePlan],
) -> list[TablePlan]:
    plans = []
    for table in tables:
        cancel.check()
        try:
            with translated(table=table.name.label):
                plans.append(plan(table))
        except BackupError as fault:
            cancel.check()
            if conn is None or conn.broken:
                raise
            snapshot.failures[table.name] = no_text.named(snapshot, table, fault, cancel)
            snapshot.rejoin(conn)
    return plans


def _plan_of(conn: Connection[Any], snapshot: Snapshot, table: Table, kind: FileKind, jobs: int) -> TablePlan:
    remark = remarks.of_children(conn, table, snapshot.described.values())
    if not kind.format.is_text:
        binary_forms.require(conn, table)
        numbers = binary_forms.of_numbers(conn, table)
        remark = "; ".join(one for one in (remark, numbers) if one) or None
    return TablePlan(
        table=table,
        expected=_UNKNOWN,
        header=header(conn, table, kind.format),
        cut=cutter(conn, table, jobs=jobs),
        late_transactions=transactions.late(conn, table, snapshot.transactions),
        remark=remark,
    )
