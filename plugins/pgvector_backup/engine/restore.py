"""The story of a restore: set, target, rows, proof, indexes, commit. All of it is one transaction.

Either every table is there and equal to the set when it ends, or nothing was changed. One connection does it; see
`copy_in` for why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.base.progress import OnProgress, Progress, reporting
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.restore_result import RestoreResult, TableRestore
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.load import another_database, permitted, places, provide, staged_rows, vetting
from pgvector_backup.engine.load.advances import advance
from pgvector_backup.engine.load.builds import WORTH_WORKERS, Builds, row_bytes
from pgvector_backup.engine.load.forecast import forecast
from pgvector_backup.engine.load.langchain_pair import Selection, select
from pgvector_backup.engine.load.one_table import TableLoad, restored
from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.load.plan import TablePlan, decide
from pgvector_backup.engine.load.read_back import allow_workers
from pgvector_backup.engine.load.refusals import commit_fault, load_fault
from pgvector_backup.engine.load.stand_ins import stand_in
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect, begin, pinned, session
from pgvector_backup.engine.postgres.source import Source, source_of
from pgvector_backup.engine.safety_backup import OnSaved, SafetyBackup
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.choice import several_databases
from pgvector_backup.engine.sets.copies import at_copy
from pgvector_backup.engine.sets.next_whole import naming_next
from pgvector_backup.engine.sets.stored_set import StoredSet, StoredTable, open_set, shared_lock
from pgvector_backup.engine.store.naming import LATEST

_log: Final = logging.getLogger(__name__)


def restore(
    request: RestoreRequest,
    settings: Settings,
    connect: Connect,
    *,
    now: datetime,
    run_id: str | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
    dry_run: bool = False,
    stand_ins: bool = False,
    on_saved: OnSaved | None = None,
) -> RestoreResult:
    """Bring tables of a set back, all of them or none.

    :param connect: opens a connection to the database; one does the work, a second watches index builds
    :param now: with a time zone; the result's timestamp
    :param run_id: told in the log
    :param on_progress: told about once a second how far the rows are
    :param dry_run: check the set and the target, tell what would be done, change nothing
    :param stand_ins: whether columns of types that the server does not have are made as texts or bytes, for a drill
    :param on_saved: told of the set that the tables were backed up to first, as soon as it is there
    :raises InvalidParams: when it would fill a table that neither the configuration nor the request names
    :raises NotFound: when the set, a table of it or, without ``create_missing``, a target is not there
    :raises IntegrityFault: when a file does not match its manifest, or what came to be in a table not its file
    :raises Conflict: when it would go among another database's rows, and the request does not say so
    :raises Conflict: when what the set defines would call a function that could do anything
    :raises Conflict: when a key is there already, a column does not fit, a table cannot be emptied
    :raises DatabaseFault: when the server refuses or fails; nothing was changed
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    settings = at_copy(settings, request.from_copy)
    catalog = Catalog(settings)
    location = catalog.place(request.backup_path, request.task_id)
    dry_run = dry_run or request.dry_run
    of = None
    if request.timestamp == LATEST and several_databases(catalog.at(location).sets):
        with translated(), session(connect, cancel, lock_timeout=settings.lock_timeout) as conn:
            of = _database_of(conn)
    found = catalog.find(location, request.timestamp, of=of)
    safety = SafetyBackup(request, settings, location, found.backup_id, now, run_id, cancel, on_progress, on_saved)
    with (
        safety.named(),
        naming_next(catalog, location, found.backup_id),
        shared_lock(location, found),
        reporting(on_progress) as watched,
    ):
        stored_set = open_set(location, found)
        chosen = stored_set.choose(request.tables)
        selection = select(stored_set, request, cancel)
        _log.info(
            "restoring set %s of %s: %s%s",
            found.backup_id,
            found.relative_path,
            ", ".join(table.label for table in chosen),
            "" if run_id is None else f" (run {run_id})",
        )
        if stored_set.manifest is not None and stored_set.manifest.failed_tables:
            _log.warning("not in the set, for their backup failed: %s", ", ".join(stored_set.manifest.failed_tables))
        # A restore proves the rest of the files while it loads them; what is not right then undoes everything.
        stored_set.glance(chosen, cancel)
        if dry_run:
            stored_set.check(chosen, cancel)
        with (
            _damage_first(stored_set, chosen, cancel),
            translated(),
            session(connect, cancel, lock_timeout=settings.lock_timeout) as conn,
        ):
            target = _database_of(conn)
            begin(conn)
            here, stood_in = pinned(connect, conn), dict[str, tuple[str, ...]]()
            if stand_ins:
                chosen = stand_in(conn, chosen, stood_in)
            remark = another_database.remark(found.source, target)
            where = places.find(conn, chosen, request)
            permitted.require(conn, where, request, settings)
            objection = another_database.objection(conn, found.source, target, where)
            if objection is not None and not (request.into_other_database or dry_run):
                raise Conflict(f"{objection}; nothing was changed")
            vetting.vet_texts(where)
            deed = _Deed(conn, request, settings, here, cancel, stored_set, selection, watched, stand_ins)
            if dry_run:
                outcome = deed.foretell(where)
                conn.execute("ROLLBACK")
            else:
                safety.save(conn, where, here)
                outcome = deed.carry_out(where)
                cancel.check()
                with load_fault(", ".join(outcome.tables), on_conflict=request.on_conflict), commit_fault():
                    conn.execute("COMMIT")
    unsaid = None if objection is None or request.into_other_database else f"the restore would be refused: {objection}"
    for label, notes in stood_in.items():
        outcome.tables[label] = replace(outcome.tables[label], notes=(*notes, *outcome.tables[label].notes))
    return RestoreResult(
        backup_path=found.relative_path,
        backup_id=found.backup_id,
        created_at=found.created_at,
        tables=outcome.tables,
        truncated=outcome.truncated,
        duration=time.monotonic() - started,
        truncate_duration=outcome.truncate_seconds,
        timestamp=now,
        planned=dry_run,
        source=found.source,
        target=target,
        into_other_database=objection,
        notes=tuple(note for note in (remark, unsaid) if note is not None),
        saved=safety.saved,
    )


@contextmanager
def _damage_first(stored_set: StoredSet, chosen: Sequence[StoredTable], cancel: Cancel) -> Iterator[None]:
    """Tell what is wrong with the set before what is in its way: to mend the one would be in vain."""
    try:
        yield
    except Conflict:
        stored_set.check(chosen, cancel)
        raise


def _database_of(conn: Connection[Any]) -> Source | None:
    """Which database a connection is to, outside of any transaction; None where the server does not tell."""
    try:
        return source_of(conn)
    except psycopg.Error as fault:
        _log.warning("the server does not tell which one it is (%s)", type(fault).__name__)
        return None


@dataclass
class _Outcome:
    """What became of the tables; of those emptied, rows before and after, and how long it took."""

    tables: dict[str, TableRestore]
    truncated: dict[str, tuple[int, int]] = field(default_factory=dict)
    truncate_seconds: float = 0.0


@dataclass(frozen=True)
class _Deed:
    """Everything between BEGIN and COMMIT."""

    conn: Connection[Any]
    request: RestoreRequest
    settings: Settings
    connect: Connect
    cancel: Cancel
    stored_set: StoredSet
    selection: Selection | None
    watched: list[Progress]
    drilled: bool = False

    def foretell(self, where: list[Place]) -> _Outcome:
        """What `carry_out` would do, up to the first row; the caller rolls back what was made for it."""
        if any(place.created for place in where):
            _log.info("a dry run: the tables that are missing are made, looked at, and undone")
        plans = self._plan(where, locked=False)
        return _Outcome(
            {one.label: forecast(self.conn, one, self.stored_set, self.selection, self.cancel) for one in plans}
        )

    def _plan(self, where: list[Place], *, locked: bool) -> list[TablePlan]:
        """Make what is missing, and decide what becomes of each table."""
        made = provide.make(self.conn, where, self.request)
        if not self.request.trust_definitions:
            vetting.vet_functions(self.conn, where, made if self.drilled else None)
        if locked:
            provide.lock(self.conn, where, self.request)
        plans = decide(self.conn, where, self.request, self.selection)
        for one in plans:
            one.notes += made.get(one.label, ())
        return plans

    def carry_out(self, where: list[Place]) -> _Outcome:
        """Everything but the commit."""
        conn = self.conn
        # What the server sends in the middle of a COPY is then its failure.
        conn.execute("SELECT set_config('client_min_messages', 'error', true)")
        if sum(row_bytes(place.stored) for place in where) >= WORTH_WORKERS:
            allow_workers(conn, self.settings.jobs)
        plans = self._plan(where, locked=True)
        started = time.monotonic()
        truncated = provide.empty(conn, plans)
        truncate_seconds = time.monotonic() - started if truncated else 0.0
        builds = Builds(conn, self.connect, self.cancel, self.settings.restore_memory_mb)
        builds.open(plans)
        watched = staged_rows.may_be_changed(conn, [one.table.oid for one in plans])
        loads = [
            TableLoad(conn, one, self.stored_set, self.selection, builds, self._progress(one), self.cancel, watched)
            for one in plans
        ]
        self.watched.extend(load.progress for load in loads)
        outcomes = [load.run() for load in loads]
        builds.settle(plans)
        proving = [load.prove(outcome) for load, (outcome, _) in zip(loads, outcomes, strict=True)]
        builds.finish(plans)
        for one in plans:
            advance(conn, one)
        tables = {
            one.label: restored(one, outcome, seconds + proven, built=builds.built.get(one.label, []))
            for one, (outcome, seconds), proven in zip(plans, outcomes, proving, strict=True)
        }
        return _Outcome(tables, truncated, truncate_seconds)

    def _progress(self, one: TablePlan) -> Progress:
        entry = one.stored.entry
        rows = None if entry is None else entry.rows
        return Progress(_log, one.label, rows, self.settings.progress_rows, expected_bytes=row_bytes(one.stored))
