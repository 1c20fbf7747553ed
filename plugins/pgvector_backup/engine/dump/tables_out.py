"""Tables to staged files: one snapshot, what to read of each table, keys, rows. Nobody sees the files yet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.base.progress import OnProgress, Progress, reporting
from pgvector_backup.engine.base.throttle import Throttle
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.dump.copy_out import Stream, copy_out
from pgvector_backup.engine.dump.increment import Line, begin_line
from pgvector_backup.engine.dump.langchain_collections import counted
from pgvector_backup.engine.dump.readers import Readers
from pgvector_backup.engine.dump.table_plans import TablePlan, estimated, plan_tables
from pgvector_backup.engine.postgres import snapshot as snapshots
from pgvector_backup.engine.postgres import standing
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.transactions import NOT_TOLD, TransactionIds
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import BlockIndexWriter
from pgvector_backup.engine.sets.blocks import BlockFile
from pgvector_backup.engine.sets.collection_entry import CollectionEntry
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.location import Location

_log: Final = logging.getLogger(__name__)

_MARGIN: Final = 1.05
"""Space asked for over the estimate, which is drawn from a few pages."""


@dataclass(frozen=True)
class Staged:
    """What came of the snapshot, once it has been left: its rows are in the streams' files, which nobody sees yet.

    :param failures: of tables that could not be planned, and so have no stream
    :param collections: None: not counted
    """

    source: Source
    transactions: TransactionIds
    failures: Mapping[TableName, BackupError]
    plans: Sequence[TablePlan]
    streams: Sequence[Stream]
    line: Line
    collections: tuple[CollectionEntry, ...] | None
    notes: tuple[str, ...]
    advice: str | None


@dataclass(frozen=True)
class TablesOut:
    """Everything of one set that needs the database.

    :param held: keeps what an increment stands on from being removed
    """

    request: BackupRequest
    settings: Settings
    location: Location
    claim: Claim
    kind: FileKind
    algorithm: Algorithm
    cancel: Cancel
    held: ExitStack

    def read(self, connect: Connect, on_progress: OnProgress | None) -> Staged:
        """Stream every table into files that have no name yet, and leave the snapshot.

        What is wrong with one table is told in its stream; it does not stop the others.

        :raises BackupError: when the server cannot be reached, or leaves in the middle
        """
        settings, cancel = self.settings, self.cancel
        # Leaving the snapshot comes before waiting for the disk: it holds up the server's vacuum no longer than
        # the last row takes.
        with (
            reporting(on_progress) as watched,
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="finish") as finisher,
            snapshots.take(
                connect,
                settings.tables,
                cancel,
                lock_timeout=settings.lock_timeout,
                with_children=settings.include_children,
                views=settings.back_up_views,
            ) as snapshot,
            counted(snapshot) as counting,
        ):
            _log.info(
                "backing up database %s as of snapshot %s to %s, as set %s",
                snapshot.source.database,
                snapshot.exported or "its own",
                self.location.directory,
                self.claim.backup_id,
            )
            notes, advice = _standing(snapshot)
            plans, line = self._plan(snapshot)
            streams = [self._stream(plan, line) for plan in plans]
            watched.extend(stream.progress for stream in streams)
            copy_out(
                Readers(snapshot, self.kind, self.algorithm, cancel),
                streams,
                jobs=settings.jobs,
                throttle=Throttle(settings.max_mb_per_second, cancel),
                finisher=finisher,
                cancel=cancel,
                first=line.write_keys,
            )
            collections = counting.result()  # the connection is needed next
            snapshot.await_disk()
        _hold_against_keys(self.claim, streams, line)
        return Staged(
            source=snapshot.source,
            transactions=snapshot.transactions,
            failures=snapshot.failures,
            plans=plans,
            streams=streams,
            line=line,
            collections=collections,
            notes=notes,
            advice=advice,
        )

    def _plan(self, snapshot: Snapshot) -> tuple[list[TablePlan], Line]:
        """What is read of each table, and whether that is all of it; there is room for it then."""
        plans = plan_tables(snapshot, self.kind, self.settings.jobs, self.cancel)
        line = Line()
        if (self.request.mode or self.settings.mode) == "incremental":
            line = begin_line(
                snapshot,
                [plan.table for plan in plans],
                location=self.location,
                claim=self.claim,
                kind=self.kind,
                cancel=self.cancel,
                full_every=self.settings.full_every,
                held=self.held,
            )
        plans = estimated(snapshot, plans, self.kind, self.cancel, line.expected)
        for failed, failure in snapshot.failures.items():
            _log_failure(failed.label, failure)
        self.location.require_space(round(_MARGIN * sum(plan.expected.stored or 0 for plan in plans)))
        return plans, line

    def _stream(self, plan: TablePlan, line: Line) -> Stream:
        label, claim, kind = plan.table.name.label, self.claim, self.kind
        staged = claim.stage(label, kind.suffix, expected=plan.expected.stored)
        index = BlockIndexWriter(claim.stage(label, kind.suffix + block_index.SUFFIX))

        def ended(stream: Stream) -> None:
            if stream.facts is None:
                claim.drop(*stream.file.parts)
                _log_failure(label, stream.failure)
            else:
                _log.info(
                    "%s: %s rows, %s in %.3f s (%.1f MB/s), %s",
                    label,
                    f"{stream.facts.rows:,}",
                    human_size(stream.facts.bytes),
                    stream.seconds,
                    stream.progress.rate,
                    stream.facts.name,
                )

        with translated():
            file = BlockFile(staged, index, kind, plan.header)
        return Stream(
            table=plan.table,
            file=file,
            ranges=plan.cut(plan.expected),
            expected_bytes=plan.expected.bytes,
            progress=Progress(
                _log, label, plan.expected.rows, self.settings.progress_rows, expected_bytes=plan.expected.bytes
            ),
            on_end=ended,
            rows=line.condition(plan.table),
        )


def _standing(snapshot: Snapshot) -> tuple[tuple[str, ...], str | None]:
    """What a server and a role keep from the set: notes, and advice; both go to the log at once."""
    unproven = standing.unproven(snapshot.source, ids_told=snapshot.transactions != NOT_TOLD)
    notes = tuple(note for note in (unproven, standing.unshared(snapshot)) if note is not None)
    advice = standing.too_powerful(snapshot)
    for remark in (*notes, *([] if advice is None else [advice])):
        _log.warning("%s", remark)
    return notes, advice


def _hold_against_keys(claim: Claim, streams: Sequence[Stream], line: Line) -> None:
    """See that as many rows came as there are keys of the same moment; a table that failed has no keys either."""
    for stream in streams:
        label, keys = stream.table.name.label, line.keys.get(stream.table.name)
        if keys is None:
            continue
        if stream.facts is not None and stream.facts.rows != keys.tally.written:
            stream.failure = DatabaseFault(
                f"{label}: {stream.facts.rows:,} rows were read where its keys, of the same moment, are "
                f"{keys.tally.written:,}; the server does not give the same answer twice",
                can_retry=False,
            )
            stream.facts = None
            claim.drop(*stream.file.parts)
            _log_failure(label, stream.failure)
        if stream.facts is None:
            claim.drop(*keys.parts)


def _log_failure(label: str, failure: BackupError | None) -> None:
    _log.error("%s: failed: %s", label, ("" if failure is None else failure.english).removeprefix(f"{label}: "))
