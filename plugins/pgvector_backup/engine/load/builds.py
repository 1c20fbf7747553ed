"""What is made once the rows are in: constraints, foreign keys, indexes, and what else a table was."""

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
from pgvector_backup.engine.load import dropped, properties, relaxed_keys
from pgvector_backup.engine.load.attempts import attempt
from pgvector_backup.engine.load.constraints import add_constraint
from pgvector_backup.engine.load.definitions import index_definition
from pgvector_backup.engine.load.dropped import Droppable
from pgvector_backup.engine.load.places import renamed
from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.load.refusals import load_fault
from pgvector_backup.engine.load.relaxed_keys import RelaxedKey
from pgvector_backup.engine.postgres.session import Connect, on_own_path, session
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN
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
    _relaxed: list[RelaxedKey] = field(default_factory=list)

    def open(self, plans: Sequence[TablePlan]) -> None:
        """Drop what rows of the set may break; of tables without rows, indexes and the keys between them."""
        there = [one for one in plans if not one.created and one.table.kind in ("table", WITH_CHILDREN)]
        empty = [one for one in there if not one.rows_kept]
        standing = [one for one in plans if not one.created]
        by_oid = {one.table.oid: one for one in standing}
        loose: dict[str, Droppable] = {}
        for key in dropped.droppable_loose_constraints(self.conn, [one.table for one in standing]):
            if key.name in by_oid[key.table.oid].loose_constraints:
                # Two tables may have it from the same one.
                loose.setdefault(key.drop.as_string(self.conn), key)
        self._drop_keys(list(loose.values()), standing)
        self._drop_keys(dropped.droppable_domain_checks(self.conn, [one.table for one in plans]), plans)
        for one in empty:
            self.drop_indexes(one, one.rebuilt(0))
        if any(dropped.worth_it(_expected_rows(one.stored), 0) for one in plans):
            self._drop_keys(dropped.droppable_foreign_keys(self.conn, [one.table for one in empty]), empty)
        self._relaxed = relaxed_keys.relax(self.conn, plans)

    def _drop_keys(self, keys: Sequence[Droppable], plans: Sequence[TablePlan]) -> None:
        by_oid = {one.table.oid: one for one in plans}
        for key in keys:
            dropped.drop(self.conn, key)
            self._keys.append((by_oid[key.table.oid], key))

    def settle(self, plans: Sequence[TablePlan]) -> None:
        """Have everything checked and run that waits for the end of the transaction.

        What is pending forbids to build an index, and a deferred trigger may change rows that would be proven before.
        """

        def where(fault: psycopg.Error) -> str:
            return "".join(one.in_file(fault) for one in plans if one.name.table == fault.diag.table_name)

        with load_fault(", ".join(one.label for one in plans), on_conflict=plans[0].on_conflict, where=where):
            with on_own_path(self.conn):
                self.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for key in self._relaxed:
                self.conn.execute(key.restore)

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
        self._constraints(plans, ("not null", "primary key", "unique", "exclusion", "check"))
        largest = max(row_bytes(one.stored) for one in plans)
        if largest >= WORTH_WORKERS:
            _prepare(self.conn, memory_mb=self.memory_mb, bytes_loaded=largest)
        # A foreign key may go by a unique index that is no constraint's.
        self._new_indexes(plans, unique=True)
        self._constraints(plans, ("foreign key",))
        for one, key in self._keys:
            with load_fault(one.label, on_conflict=one.on_conflict):
                dropped.make_again(self.conn, key)
        for one, index in self._indexes:
            self._build(one, index.name, index.make)
        self._new_indexes(plans, unique=False)
        for one in plans:
            if one.created and one.stored.entry is not None:
                with load_fault(one.label, on_conflict=one.on_conflict):
                    properties.after_rows(self.conn, one.stored.entry, one.name, one.notes)

    def _constraints(self, plans: Sequence[TablePlan], kinds: Sequence[str]) -> None:
        """Those of the tables that were made."""
        where = renamed([(one.stored, one.name) for one in plans])
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

    def _new_indexes(self, plans: Sequence[TablePlan], *, unique: bool) -> None:
        """Those of the tables that were made which hold no constraint."""
        for one in plans:
            entry = one.stored.entry
            if not one.created or entry is None:
                continue
            for new in entry.indexes:
                if new.unique is not unique:
                    continue
                if new.constraint is None and new.valid:
                    self._build(one, new.name, [index_definition(self.conn, entry, new, one.name)])
                elif not new.valid:
                    one.notes.append(
                        f"{one.label}: index {new.name} was left out, for it was not valid when the set was made: "
                        f"{new.definition}"
                    )

    def _build(self, one: TablePlan, name: str, make: Sequence[sql.Composed]) -> None:
        self.cancel.check()
        pid = self.conn.info.backend_pid
        with (
            load_fault(one.label, on_conflict=one.on_conflict),
            _with_build_progress(self.connect, pid, self.cancel, label=one.label, index=name),
        ):
            refused = build_one(self.conn, one.label, name, partial(attempt, self.conn, *make))
        if refused is None:
            self.built.setdefault(one.label, []).append(name)
            return
        definition = make[0].as_string(self.conn)
        one.notes.append(f"{one.label}: index {name} was left out, for it cannot be built: {refused}: {definition}")
        _log.warning("%s", one.notes[-1])


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


def build_one(conn: Connection[Any], label: str, name: str, make: Callable[[], str | None]) -> str | None:
    """Build an index; without workers if the server lacks the shared memory that they need.

    A container's ``/dev/shm`` has 64 MB as a rule, and pgvector's workers share the whole graph there.

    :param make: builds it; gives why the rows or the server do not allow it, None when it is built
    :return: the same
    """
    conn.execute("SAVEPOINT an_index")
    try:
        refused = make()
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as fault:
        if "shared memory" not in str(fault.diag.message_primary):
            raise
        conn.execute("ROLLBACK TO SAVEPOINT an_index")
        _log.warning(
            "%s: building index %s without parallel workers: %s", label, name, str(fault.diag.message_primary).strip()
        )
        conn.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        refused = make()
    conn.execute("RELEASE SAVEPOINT an_index")
    return refused


@contextmanager
def _with_build_progress(connect: Connect, pid: int, cancel: Cancel, *, label: str, index: str) -> Iterator[None]:
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
