"""The story of a backup: location, snapshot, stream, manifest, result."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.base.progress import OnProgress, Progress, reporting
from pgvector_backup.engine.base.throttle import Throttle
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.contract.backup_result import BackupResult, TableBackup
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.dump import remarks
from pgvector_backup.engine.dump.copy_out import Stream, copy_out
from pgvector_backup.engine.dump.increment import Line, begin_line
from pgvector_backup.engine.dump.langchain_collections import counted
from pgvector_backup.engine.dump.readers import Readers
from pgvector_backup.engine.dump.table_plans import TablePlan, estimated, plan_tables
from pgvector_backup.engine.load import by_hand
from pgvector_backup.engine.postgres import snapshot as snapshots
from pgvector_backup.engine.postgres import standing
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.transactions import NOT_TOLD
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.sets.block_index import BlockIndexWriter
from pgvector_backup.engine.sets.blocks import BlockFile
from pgvector_backup.engine.sets.chain import chains
from pgvector_backup.engine.sets.holding import Holding, place_of
from pgvector_backup.engine.sets.keys_file import Tally
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.previous import Previous, previous
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name
from pgvector_backup.engine.store.root import locate, require_root

_log: Final = logging.getLogger(__name__)

_MARGIN: Final = 1.05
"""Space asked for over the estimate, which is drawn from a few pages."""


def backup(
    request: BackupRequest,
    settings: Settings,
    connect: Connect,
    *,
    now: datetime,
    run_id: str | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> BackupResult:
    """Write the tables, as of one moment, to a new set of files.

    A table that fails is told of in the result and does not stop the others. Where every table fails, or
    anything else does, no file is left.

    :param connect: opens a connection to the database; at most ``jobs`` + 1 are open at once. Of a large backup some
        are opened by other processes, from what libpq knows of the first: what ``connect`` does with a connection
        besides, such as a SET, does not reach them
    :param now: with a time zone; the set is named after it
    :param on_progress: told about once a second how far the rows are
    :raises BackupError: when there is nothing to tell of any table
    """
    started, cancel = time.monotonic(), cancel or Cancel()
    kind = FileKind.named(request.file_format, request.compression, request.compression_level).require()
    algorithm = fingerprint.best()
    require_root(settings.backup_root, create=settings.may_make_root)
    location = locate(settings.backup_root, request.task_id, settings.backup_directory)
    holding = Holding.of(settings, location)
    with cancel.heard():
        for name in location.sweep():
            _log.warning("removed %s, left over by a run that was killed", name)
        claim = location.claim(now, settings.timestamp_format)
    held = ExitStack()  # what an increment stands on cannot be removed before it is there itself
    try:
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
                snapshot.exported,
                location.directory,
                claim.backup_id,
            )
            ids_told = snapshot.transactions != NOT_TOLD
            notes = tuple(note for note in [standing.unproven(snapshot.source, ids_told=ids_told)] if note)
            advice = standing.too_powerful(snapshot)
            for remark in (*notes, *([advice] if advice else [])):
                _log.warning("%s", remark)
            plans = plan_tables(snapshot, kind, settings.jobs, cancel)
            line = Line()
            if (request.mode or settings.mode) == "incremental":
                line = begin_line(
                    snapshot,
                    [plan.table for plan in plans],
                    location=location,
                    claim=claim,
                    kind=kind,
                    cancel=cancel,
                    full_every=settings.full_every,
                    held=held,
                )
            plans = estimated(snapshot, plans, kind, cancel, line.expected)
            for failed, failure in snapshot.failures.items():
                _log_failure(failed.label, failure)
            location.require_space(round(_MARGIN * sum(plan.expected.stored or 0 for plan in plans)))
            streams = [_stream(plan, kind, claim, settings.progress_rows, line) for plan in plans]
            watched.extend(stream.progress for stream in streams)
            readers = Readers(snapshot, kind, algorithm, cancel)
            copy_out(
                readers,
                streams,
                jobs=settings.jobs,
                throttle=Throttle(settings.max_mb_per_second, cancel),
                finisher=finisher,
                cancel=cancel,
                first=line.write_keys,
            )
            collections = counting.result()  # the connection is needed next
            snapshot.await_disk()
        _hold_against_keys(claim, streams, line)
        last = previous(location, snapshot.source)
        tables = _outcomes(settings.tables, snapshot, streams, _remarks(plans, streams, line, last), line)
        entries = tuple(
            TableEntry.of(plan.table, stream.facts, kind, plan.late_transactions, line.entry(plan.table.name))
            for plan, stream in zip(plans, streams, strict=True)
            if stream.facts is not None
        )
        if entries:
            manifest = Manifest(
                backup_id=claim.backup_id,
                created_at=now.isoformat(timespec="seconds"),
                task_id=request.task_id,
                run_id=run_id,
                source=snapshot.source,
                snapshot=snapshot.transactions,
                tables=entries,
                failed_tables={label: table.failure.english for label, table in tables.items() if table.failure},
                fingerprint_algorithm=algorithm.name,
                chain=line.links,
                full_because=line.full_because,
                wal_position=line.wal_position,
                collections=collections if len(entries) == len(tables) else None,
            )
            manifest = _with_script(location, claim, manifest)
            if holding is not None:
                holding.begin(claim, place_of(settings, location), manifest, now)
            claim.commit(manifest.to_bytes())
            _log.info(
                "set %s is on disk with %d of %d tables: %s",
                claim.backup_id,
                len(entries),
                len(tables),
                manifest_name(claim.backup_id),
            )
        else:
            claim.discard()
    except BaseException:
        claim.discard()
        raise
    finally:
        held.close()
    return BackupResult(
        directory=location.directory,
        backup_id=claim.backup_id if entries else None,
        manifest_file=manifest_name(claim.backup_id) if entries else None,
        tables=tables,
        duration=time.monotonic() - started,
        notes=notes,
        advice=advice,
        mode="incremental" if line.links else "full",
        base_backup_id=None if line.base is None else line.base.link.backup_id,
        chain_length=len(line.links) + 1,
        full_because=line.full_because,
    )


def _remarks(
    plans: list[TablePlan], streams: list[Stream], line: Line, last: Previous | None
) -> dict[TableName, tuple[str, ...]]:
    """What has to be said of each table whose file is whole; it goes to the log at once."""
    said = {}
    for plan, stream in zip(plans, streams, strict=True):
        if stream.facts is None:
            continue
        name = plan.table.name
        fall = None
        if last is not None:
            tally = line.tally(name)
            rows = stream.facts.rows if tally is None else tally.rows
            fall = remarks.of_fall(name.label, rows, last.rows.get(name.label), last.backup_id)
        said[name] = tuple(remark for remark in (plan.remark, fall) if remark is not None)
        for remark in said[name]:
            _log.warning("%s", remark)
    return said


def _stream(plan: TablePlan, kind: FileKind, claim: Claim, progress_rows: int, line: Line) -> Stream:
    label = plan.table.name.label
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
        progress=Progress(_log, label, plan.expected.rows, progress_rows, expected_bytes=plan.expected.bytes),
        on_end=ended,
        rows=line.condition(plan.table),
    )


def _hold_against_keys(claim: Claim, streams: list[Stream], line: Line) -> None:
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


def _with_script(location: Location, claim: Claim, manifest: Manifest) -> Manifest:
    """Stage what psql alone needs to load the set, and have the manifest tell of it; a set is whole without it."""
    try:
        script = by_hand.script(manifest, chains(location, manifest)).encode()
    except (BackupError, UnicodeError) as fault:
        _log.warning("set %s has no script for psql: %s", manifest.backup_id, fault)
        return manifest
    with translated():
        return by_hand.stage(claim, manifest, script)


def _log_failure(label: str, failure: BackupError | None) -> None:
    _log.error("%s: failed: %s", label, ("" if failure is None else failure.english).removeprefix(f"{label}: "))


def _outcomes(
    names: tuple[TableName, ...],
    snapshot: Snapshot,
    streams: list[Stream],
    said: Mapping[TableName, tuple[str, ...]],
    line: Line,
) -> dict[str, TableBackup]:
    """Each table's outcome, in the order in which they were asked for."""
    outcomes = {name: TableBackup(duration=0.0, failure=failure) for name, failure in snapshot.failures.items()}
    for stream in streams:
        facts = stream.facts
        if facts is None:
            failure = stream.failure or BackupError(
                f"{stream.table.name.label}: ended without a word; see the task's log"
            )
            outcomes[stream.table.name] = TableBackup(duration=stream.seconds, failure=failure)
        else:
            tally = line.tally(stream.table.name) or Tally(rows=facts.rows, written=facts.rows)
            outcomes[stream.table.name] = TableBackup(
                duration=stream.seconds,
                rows=tally.rows,
                rows_written=tally.written,
                rows_deleted=tally.deleted,
                rows_unchanged=tally.unchanged,
                bytes=facts.bytes,
                file=facts.name,
                sha256=facts.sha256,
                notes=said.get(stream.table.name, ()),
            )
    return {name.label: outcomes[name] for name in names}
