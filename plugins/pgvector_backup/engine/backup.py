"""The story of a backup: location, snapshot, stream, manifest, result."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.base.progress import OnProgress
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.contract.backup_result import BackupResult, TableBackup
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.dump import remarks
from pgvector_backup.engine.dump.tables_out import Staged, TablesOut
from pgvector_backup.engine.load import by_hand
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.engine.postgres.table_name import TableName
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


def backup(
    request: BackupRequest,
    settings: Settings,
    connect: Connect,
    *,
    now: datetime,
    run_id: str | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
    saved_before: str | None = None,
) -> BackupResult:
    """Write the tables, as of one moment, to a new set of files.

    A table that fails is told of in the result and does not stop the others. Where every table fails, or
    anything else does, no file is left.

    :param connect: opens a connection to the database; at most ``jobs`` + 1 are open at once. Of a large backup some
        are opened by other processes, from what libpq knows of the first: what ``connect`` does with a connection
        besides, such as a SET, does not reach them
    :param now: with a time zone; the set is named after it
    :param on_progress: told about once a second how far the rows are
    :param saved_before: the set that is to be restored over these tables, if that is why they are backed up
    :raises BackupError: when there is nothing to tell of any table
    """
    started, cancel = time.monotonic(), cancel or Cancel()
    kind = FileKind.named(request.file_format, request.compression, request.compression_level).require()
    require_root(settings.backup_root, create=settings.may_make_root)
    location = locate(settings.backup_root, request.task_id, settings.backup_directory)
    holding = Holding.of(settings, location)
    with cancel.heard():
        for name in location.sweep():
            _log.warning("removed %s, left over by a run that was killed", name)
        claim = location.claim(now, settings.timestamp_format)
    # What an increment stands on is held until it is there itself, so that nobody can remove it meanwhile.
    with ExitStack() as held:
        try:
            out = TablesOut(request, settings, location, claim, kind, fingerprint.best(), cancel, held)
            staged = out.read(connect, on_progress)
            tables = _outcomes(settings.tables, staged, _remarks(staged, previous(location, staged.source)))
            manifest = _manifest(out, staged, tables, now, run_id=run_id, saved_before=saved_before)
            if manifest is None:
                claim.discard()
            else:
                if holding is not None:
                    holding.begin(claim, place_of(settings, location), manifest, now)
                claim.commit(manifest.to_bytes())
                _log.info(
                    "set %s is on disk with %d of %d tables: %s",
                    claim.backup_id,
                    len(manifest.tables),
                    len(tables),
                    manifest_name(claim.backup_id),
                )
        except BaseException:
            claim.discard()
            raise
    line = staged.line
    return BackupResult(
        directory=location.directory,
        backup_id=None if manifest is None else claim.backup_id,
        manifest_file=None if manifest is None else manifest_name(claim.backup_id),
        tables=tables,
        duration=time.monotonic() - started,
        notes=staged.notes,
        advice=staged.advice,
        mode="incremental" if line.links else "full",
        base_backup_id=None if line.base is None else line.base.link.backup_id,
        chain_length=len(line.links) + 1,
        full_because=line.full_because,
        source=staged.source,
    )


def _remarks(staged: Staged, last: Previous | None) -> dict[TableName, tuple[str, ...]]:
    """What has to be said of each table whose file is whole; it goes to the log at once."""
    said = {}
    for plan, stream in zip(staged.plans, staged.streams, strict=True):
        if stream.facts is None:
            continue
        name = plan.table.name
        fall = None
        if last is not None:
            tally = staged.line.tally(name)
            rows = stream.facts.rows if tally is None else tally.rows
            fall = remarks.of_fall(name.label, rows, last.rows.get(name.label), last.backup_id)
        said[name] = tuple(remark for remark in (plan.remark, fall) if remark is not None)
        for remark in said[name]:
            _log.warning("%s", remark)
    return said


def _manifest(
    out: TablesOut,
    staged: Staged,
    tables: Mapping[str, TableBackup],
    now: datetime,
    *,
    run_id: str | None,
    saved_before: str | None,
) -> Manifest | None:
    """What makes a set of the files, not written yet; None where no table has any."""
    line = staged.line
    entries = tuple(
        TableEntry.of(plan.table, stream.facts, out.kind, plan.late_transactions, line.entry(plan.table.name))
        for plan, stream in zip(staged.plans, staged.streams, strict=True)
        if stream.facts is not None
    )
    if not entries:
        return None
    manifest = Manifest(
        backup_id=out.claim.backup_id,
        created_at=now.isoformat(timespec="seconds"),
        task_id=out.request.task_id,
        run_id=run_id,
        source=staged.source,
        snapshot=staged.transactions,
        tables=entries,
        failed_tables={label: table.failure.english for label, table in tables.items() if table.failure},
        fingerprint_algorithm=out.algorithm.name,
        chain=line.links,
        full_because=line.full_because,
        wal_position=line.wal_position,
        collections=staged.collections if len(entries) == len(tables) else None,
        saved_before=saved_before,
    )
    return _with_script(out.location, out.claim, manifest)


def _with_script(location: Location, claim: Claim, manifest: Manifest) -> Manifest:
    """Stage what psql alone needs to load the set, and have the manifest tell of it; a set is whole without it."""
    try:
        script = by_hand.script(manifest, chains(location, manifest)).encode()
    except (BackupError, UnicodeError) as fault:
        _log.warning("set %s has no script for psql: %s", manifest.backup_id, fault)
        return manifest
    with translated():
        return by_hand.stage(claim, manifest, script)


def _outcomes(
    names: tuple[TableName, ...], staged: Staged, said: Mapping[TableName, tuple[str, ...]]
) -> dict[str, TableBackup]:
    """Each table's outcome, in the order in which they were asked for."""
    outcomes = {name: TableBackup(duration=0.0, failure=failure) for name, failure in staged.failures.items()}
    for stream in staged.streams:
        facts = stream.facts
        if facts is None:
            failure = stream.failure or BackupError(
                f"{stream.table.name.label}: ended without a word; see the task's log"
            )
            outcomes[stream.table.name] = TableBackup(duration=stream.seconds, failure=failure)
        else:
            tally = staged.line.tally(stream.table.name) or Tally(rows=facts.rows, written=facts.rows)
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
