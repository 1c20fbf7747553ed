"""What is made once the rows are in: constraints, foreign keys, indexes, and sequences that go on after them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.load import dropped
from pgvector_backup.engine.load.definitions import add_constraint, add_index
from pgvector_backup.engine.load.dropped import Droppable
from pgvector_backup.engine.load.places import renamed
from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.load.refusals import load_fault
from pgvector_backup.engine.postgres.session import Connect, session
from pgvector_backup.engine.sets.stored_set import StoredTable

_log: Final = logging.getLogger(__name__)

WORTH_WORKERS: Final = 8 << 20
"""Bytes of rows below which the start of the server's parallel workers costs more than they save."""

_POLL_SECONDS: Final = 2.0
_MEBIBYTE: Final = 1 << 20


@dataclass
class Builds:
    """What one restore drops before its rows go in, and makes once they are in.

    :param connect: opens a second connection, which watches the builds
    :param memory_mb: that ``maintenance_work_mem`` may be raised to, in mebibytes
    :param built: by label, the indexes that were built
    """

    conn: Connection[Any]
    connect: Connect
    cancel: Cancel
    memory_mb: int
    built: dict[str, list[str]] = field(default_factory=dict)
    _indexes: list[tuple[TablePlan, Droppable]] = field(default_factory=list)
    _keys: list[tuple[TablePlan, Droppable]] = field(default_factory=list)

    def drop_of_empty(self, plans: Sequence[TablePlan]) -> None:
        """Of the tables that hold no rows, drop indexes and the foreign keys between them."""
        empty = [one for one in plans if not one.rows_kept and not one.created and one.table.kind == "table"]
        for one in empty:
            self.drop_indexes(one, one.rebuilt(0))
        if any(dropped.worth_it(_expected_rows(one.stored), 0) for one in plans):
            by_oid = {one.table.oid: one for one in empty}
            for key in dropped.droppable_foreign_keys(self.conn, [one.table for one in empty]):
                dropped.drop(self.conn, key)
                self._keys.append((by_oid[key.table.oid], key))

    def drop_indexes(self, one: TablePlan, indexes: Sequence[Droppable]) -> None:
        """Drop a table's indexes until its rows are in; from here on its readers have to wait."""
        with load_fault(one.label, on_conflict=one.on_conflict):
            for index in indexes:
                dropped.drop(self.conn, index)
                self._indexes.append((one, index))
        if indexes:
            _log.info(
                "%s: indexes dropped until its rows are in: %s", one.label, ", ".join(index.name for index in indexes)
            )

    def finish(self, plans: Sequence[TablePlan]) -> None:
        """Keys first, for the rows have to be right before the long work begins; then indexes."""
        self._constraints(plans)
        for one, key in self._keys:
            with load_fault(one.label, on_conflict=one.on_conflict):
                dropped.make_again(self.conn, key)
        largest = max(row_bytes(one.stored) for one in plans)
        if largest >= WORTH_WORKERS:
            _prepare(self.conn, memory_mb=self.memory_mb, bytes_loaded=largest)
        for one, index in self._indexes:
            self._build(one, index.name, partial(dropped.make_again, self.conn, index))
        for one in plans:
            if one.created and one.stored.entry is not None:
                for new in one.stored.entry.indexes:
                    if new.constraint is None:
                        self._build(one, new.name, partial(add_index, self.conn, one.stored.entry, new, one.name))

    def _constraints(self, plans: Sequence[TablePlan]) -> None:
        """Those of the tables that were made, foreign keys last."""
        where = renamed([(one.stored, one.name) for one in plans])
        for kinds in (("primary key", "unique", "exclusion", "check"), ("foreign key",)):
            for one in plans:
                if not one.created or one.stored.entry is None:
                    continue
                for constraint in one.stored.entry.constraints:
                    if constraint.type in kinds:
                        with load_fault(one.label, on_conflict=one.on_conflict):
                            left_out = add_constraint(self.conn, one.stored.entry, constraint, one.name, where)
                        if left_out is not None:
                            _log.warning("%s", left_out)
                            one.notes.append(left_out)

    def _build(self, one: TablePlan, name: str, make: Callable[[], None]) -> None:
        self.cancel.check()
        pid = self.conn.info.backend_pid
        with (
            load_fault(one.label, on_conflict=one.on_conflict),
            _watched(self.connect, pid, self.cancel, label=one.label, index=name),
        ):
            build_one(self.conn, one.label, name, make)
        self.built.setdefault(one.label, []).append(name)


def advance_sequences(conn: Connection[Any], plans: Sequence[TablePlan]) -> None:
    """Let serial and identity columns go on after the greatest number restored, as a dump would."""
    for one in plans:
        for column in one.table.columns:
            if column.identity is None and "nextval(" not in (column.default or ""):
                continue
            row = conn.execute(
                "SELECT s, has_sequence_privilege(s, 'UPDATE') FROM pg_get_serial_sequence(%s, %s) AS s",
                [one.table.identifier.as_string(conn), column.name],
            ).fetchone()
            if row is None or row[0] is None:
                continue
            if not row[1]:
                one.notes.append(
                    f"{one.label}: column {column.name} counts by {row[0]}, which the connection's role may not "
                    "set; set it beyond the greatest number restored"
                )
                continue
            conn.execute(
                sql.SQL(
                    "SELECT setval({sequence}::regclass, m)"
                    " FROM (SELECT max({column})::bigint AS m FROM {table}) AS t"
                    " WHERE m > coalesce(pg_sequence_last_value({sequence}::regclass), 0)"
                ).format(sequence=sql.Literal(row[0]), column=sql.Identifier(column.name), table=one.table.source)
            )


def row_bytes(stored: StoredTable) -> int:
    """Bytes of a table's rows, before compression."""
    return stored.entry.raw_bytes if stored.entry is not None else stored.bytes


def _expected_rows(stored: StoredTable) -> int:
    """Rows that will come; of a file without a manifest a guess from its size."""
    return stored.entry.rows if stored.entry is not None else stored.bytes // 4096


def _prepare(conn: Connection[Any], *, memory_mb: int, bytes_loaded: int) -> None:
    """Give the index builds of this transaction memory and workers.

    :param memory_mb: that ``maintenance_work_mem`` may be raised to, in mebibytes
    :param bytes_loaded: of the rows; a graph takes about as much as its vectors and their neighbours
    """
    row = conn.execute(
        "SELECT pg_size_bytes(current_setting('maintenance_work_mem')), current_setting('max_parallel_workers')::int,"
        " current_setting('max_parallel_maintenance_workers')::int"
    ).fetchone()
    assert row is not None
    given, workers, maintenance_workers = row
    wanted = min(memory_mb, bytes_loaded * 3 // 2 // _MEBIBYTE + 64)
    if wanted * _MEBIBYTE > given:
        conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", [f"{wanted}MB"])
    conn.execute(
        "SELECT set_config('max_parallel_maintenance_workers', %s, true),"
        # The server would count the pages of the table, and vectors lie beside it, in its TOAST table.
        " set_config('min_parallel_table_scan_size', '0', true)",
        [str(max(maintenance_workers, min(workers, 4)))],
    )


def build_one(conn: Connection[Any], label: str, name: str, make: Callable[[], None]) -> None:
    """Build an index; without workers if the server lacks the shared memory that they need.

    A container's ``/dev/shm`` has 64 MB as a rule, and pgvector's workers share the whole graph there.
    """
    conn.execute("SAVEPOINT an_index")
    try:
        make()
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as fault:
        if "shared memory" not in str(fault.diag.message_primary):
            raise
        conn.execute("ROLLBACK TO SAVEPOINT an_index")
        _log.warning(
            "%s: building index %s without parallel workers: %s", label, name, str(fault.diag.message_primary).strip()
        )
        conn.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        make()
    conn.execute("RELEASE SAVEPOINT an_index")


@contextmanager
def _watched(connect: Connect, pid: int, cancel: Cancel, *, label: str, index: str) -> Iterator[None]:
    """Tell in the log, by a connection of its own, how far the index build of a backend is."""
    over = threading.Event()

    def watch() -> None:
        if over.wait(_POLL_SECONDS):
            return
        try:
            with session(connect, cancel, lock_timeout=1) as conn:
                while not over.is_set():
                    row = conn.execute(_PROGRESS, [pid]).fetchone()
                    if row is not None:
                        phase, done, total, unit = row
                        share = f", {done / total:.0%} of {total:,} {unit}" if total else ""
                        _log.info("%s: index %s: %s%s", label, index, phase, share)
                    over.wait(_POLL_SECONDS)
        except Exception as fault:  # telling is a courtesy
            _log.debug("progress of index %s is not told: %s", index, type(fault).__name__)

    teller = threading.Thread(target=watch, name="index", daemon=True)
    started = time.monotonic()
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
    _log.info("%s: index %s built in %.3f s", label, index, time.monotonic() - started)


_PROGRESS: Final = """
SELECT phase,
       CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
       CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END,
       CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'pages' END
FROM pg_stat_progress_create_index WHERE pid = %s
"""
