"""One table of a restore: its rows loaded, proven, and where they meet others, inserted."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.encoding import row_encoder
from pgvector_backup.engine.contract.restore_result import TableRestore
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.load import foreign_csv, staged_rows
from pgvector_backup.engine.load.builds import Builds
from pgvector_backup.engine.load.copy_in import Load, Loaded
from pgvector_backup.engine.load.langchain_pair import Selection
from pgvector_backup.engine.load.large_rows import read_large
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.load.read_back import read_back
from pgvector_backup.engine.load.refusals import load_fault
from pgvector_backup.engine.load.staged_rows import Outcome
from pgvector_backup.engine.postgres import binary_forms
from pgvector_backup.engine.postgres.tables import count_rows
from pgvector_backup.engine.sets.stored_set import StoredSet

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableLoad:
    """The load of one table, in the transaction of its restore.

    :param watched: whether triggers or rules may change rows after the table has taken them
    """

    conn: Connection[Any]
    plan: TablePlan
    stored_set: StoredSet
    selection: Selection | None
    builds: Builds
    progress: Progress
    cancel: Cancel
    watched: bool = False

    def run(self) -> tuple[Outcome, float]:
        """Bring the rows in.

        :return: what came of them, and how many seconds it took
        :raises IntegrityFault: when the file, or what the table took, is not what the set says
        :raises Conflict: when a row does not fit, or its key is there already
        """
        self.cancel.check()
        started = time.monotonic()
        with self._refused():
            outcome = self._staged() if self.plan.staged else self._direct()
        return outcome, time.monotonic() - started

    def prove(self, outcome: Outcome) -> float:
        """Compare what is in the table with what was sent, once every trigger has run.

        :return: how many seconds it took
        :raises IntegrityFault: when it is not the same
        """
        started = time.monotonic()
        with self._refused():
            if not self.plan.staged:
                self._prove(self.plan.destination, outcome.loaded)
            elif outcome.watch is not None:
                plan = self.plan
                staged_rows.prove(
                    self.conn, plan.table, plan.destination, outcome.watch, label=plan.label, cancel=self.cancel
                )
        return time.monotonic() - started

    def _refused(self, load: Load | None = None) -> AbstractContextManager[None]:
        """Let the server's errors leave the block with their place in the file, as far as it is known."""
        plan = self.plan

        def where(fault: psycopg.Error) -> str:
            place, column = (None, None) if load is None else load.place_of(fault)
            return plan.in_file(fault, place, column)

        return load_fault(plan.label, on_conflict=plan.on_conflict, where=where, alone=not plan.rows_kept)

    def _direct(self) -> Outcome:
        loaded = self._load(self.plan.destination)
        return Outcome(loaded, inserted=loaded.rows_sent)

    def _staged(self) -> Outcome:
        conn, plan = self.conn, self.plan
        staging = staged_rows.create(conn, plan.label, plan.destination)
        loaded = self._load(staging)
        self._prove(staging, loaded)
        if plan.renamed:
            assert self.selection is not None
            note = self.selection.rename(conn, plan.label, staging, plan.destination)
            if note:
                plan.notes.append(note)
        coming = None
        if plan.rows_kept:  # those of an empty table are dropped already
            coming = staged_rows.rows_to_write(
                conn, plan.table, staging, into=plan.destination, on_conflict=plan.on_conflict
            )
            self.builds.drop_indexes(plan, plan.rebuilt(coming))
        return staged_rows.insert(
            conn,
            plan.table,
            staging,
            plan.destination,
            loaded,
            label=plan.label,
            on_conflict=plan.insert_rule,
            coming=coming,
            changed=plan.renamed,
            watched=self.watched,
            cancel=self.cancel,
        )

    def _load(self, into: Destination) -> Loaded:
        stored, notes = self.plan.stored, self.plan.notes
        here = {column.name: column.type for column in self.plan.table.columns}
        types = [here[name] for name in stored.columns]
        encoder = row_encoder(types) if stored.format.is_text else None
        algorithm = self.stored_set.algorithm or fingerprint.SHA256
        repairs = None if stored.entry is not None else foreign_csv.Repairs(stored, self.plan.table, self.cancel)
        retelling = None
        if not stored.format.is_text:
            retelling = binary_forms.retelling(
                self.conn, self.plan.table.identifier.as_string(self.conn), stored.columns
            )
        load = Load(
            conn=self.conn,
            into=into,
            file=stored.file,
            form=stored.format,
            blocks=self.stored_set.blocks(stored, self.cancel, prove=True),
            encoder=encoder,
            row_filter=None if self.selection is None else self.selection.row_filter(stored),
            repair=None if repairs is None else repairs.repair,
            retell=None if retelling is None else retelling.row,
            algorithm=algorithm,
            proof=algorithm if repairs is None or encoder is None else repairs.proof(algorithm),
            progress=self.progress,
            cancel=self.cancel,
        )
        with self._refused(load):
            loaded = load.run()
        if repairs is not None:
            notes += repairs.notes()
        entry = stored.entry
        if entry is not None:
            if loaded.rows_read != entry.rows:
                raise IntegrityFault(
                    f"{entry.file}: {loaded.rows_read:,} rows were read, {entry.rows:,} in the manifest"
                )
            if stored.chain is not None:
                pass  # its blocks have held themselves against the set's keys
            elif self.stored_set.algorithm is None:
                notes.append(
                    f"{self.plan.label}: the manifest's fingerprint cannot be computed here; what was sent and what is "
                    "in the table were compared"
                )
            elif fingerprint.of_sum(loaded.read_sum) != entry.fingerprint:
                raise IntegrityFault(f"{entry.file}: the fingerprint of its rows is not the manifest's")
        return loaded

    def _prove(self, into: Destination, loaded: Loaded) -> None:
        """Compare what is in the table with what was sent."""
        if self.plan.stored.entry is None and loaded.sent_as.is_text:
            # Another tool's spelling of a value is not the server's: only the rows can be counted.
            rows = count_rows(self.conn, into.source)
            same = rows == loaded.rows_sent
        else:
            large, apart = loaded.large, None
            if large.rows:
                apart = large.condition(self.conn, into, loaded.sent_as)
            rows, total = read_back(self.conn, into, loaded.sent_as, loaded.proof, self.cancel, without=apart)
            same = fingerprint.of_sum(total) == fingerprint.of_sum(loaded.sent_sum)
            if apart is not None:
                large_rows, large_total = read_large(self.conn, into, loaded.sent_as, apart, self.cancel)
                rows += large_rows
                same = same and (large_rows, large_total) == (large.rows, large.total)
            same = same and rows == loaded.rows_sent
        if not same:
            counts = f" ({loaded.rows_sent:,} sent, {rows:,} there)"
            raise staged_rows.altered(self.conn, self.plan.table, self.plan.label, counts=counts)


def restored(plan: TablePlan, outcome: Outcome, seconds: float, *, built: list[str]) -> TableRestore:
    """What became of a table.

    :param built: the indexes that were built after the load
    """
    loaded, stored = outcome.loaded, plan.stored
    rows = outcome.inserted + outcome.updated
    method = "csv as binary" if loaded.parsed_here else loaded.sent_as.name
    _log.info(
        "%s: %s rows of %s in %.3f s, sent as %s", plan.label, f"{rows:,}", human_size(stored.bytes), seconds, method
    )
    return TableRestore(
        duration=seconds,
        file=stored.file,
        bytes=stored.bytes,
        rows=rows,
        updated=outcome.updated,
        skipped=outcome.skipped,
        left_out=loaded.rows_read - loaded.rows_sent,
        rows_before=plan.rows_before,
        rows_after=plan.rows_kept + outcome.inserted,
        target=plan.name.label,
        created=plan.created,
        method=method,
        fingerprint=None if stored.entry is None or stored.chain is not None else stored.entry.fingerprint,
        indexes=tuple(built),
        notes=tuple(plan.notes),
    )
