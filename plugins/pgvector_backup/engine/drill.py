"""The story of a restore drill: a set is restored into a scratch database, compared, searched, and dropped."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault, IntegrityFault, InvalidParams, StorageFault
from pgvector_backup.engine.check.inspection import See
from pgvector_backup.engine.check.limits import Limits
from pgvector_backup.engine.check.scratch import scratch_database
from pgvector_backup.engine.check.search import Sampler, consider_all
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.verify_result import TableVerification
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.load.read_back import read_back
from pgvector_backup.engine.postgres import binary_forms
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect, session
from pgvector_backup.engine.restore import restore
from pgvector_backup.engine.sets.chain import TableChain, chains
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location

_log: Final = logging.getLogger(__name__)


class Samples:
    """The vectors of a set that are going to be searched for, chosen while its rows go by."""

    def __init__(self, manifest: Manifest) -> None:
        self._of = {entry.name: Sampler(entry, manifest.backup_id) for entry in manifest.tables}

    def of(self, entry: TableEntry) -> See:
        """What has to see the rows of one table."""
        return self._of[entry.name].see

    def sampler(self, entry: TableEntry) -> Sampler:
        """What was chosen of one table."""
        return self._of[entry.name]


def drill(
    location: Location,
    manifest: Manifest,
    settings: Settings,
    connect: Connect | None,
    *,
    tables: Mapping[str, TableVerification],
    samples: Samples,
    now: datetime,
    run_id: str | None,
    cancel: Cancel,
) -> None:
    """Restore a set whose files are whole, and write into ``tables`` what became of each.

    :param connect: to the server for the scratch database; None: an embedded one
    :raises DatabaseFault: when the set could not be restored there
    :raises InvalidParams: when there is no server to be had
    """
    chained = chains(location, manifest)
    size = sum((chained.get(entry.name) or entry).raw_bytes for entry in manifest.tables)
    limits = Limits.of(
        size,
        disk_mb=settings.drill_disk_mb,
        seconds=settings.drill_timeout,
        memory_mb=settings.drill_memory_mb + settings.restore_memory_mb,
    )
    with scratch_database(connect, limits, cancel, lock_timeout=settings.lock_timeout) as scratch:
        started = time.monotonic()
        request = RestoreRequest(
            backup_path=location.relative_path,
            timestamp=manifest.backup_id,
            tables=tuple(entry.name for entry in manifest.tables) or None,
            into_other_database=True,
        )
        try:
            result = restore(request, settings, scratch, now=now, run_id=run_id, cancel=cancel, stand_ins=True)
        except (IntegrityFault, InvalidParams, StorageFault):
            raise
        except BackupError as fault:
            cancel.check()
            raise DatabaseFault(
                f"the drill could not restore the set, whose files are whole: {fault.english}",
                can_retry=fault.can_retry,
            ) from None
        for label, restored in result.tables.items():
            tables[label].inspection.notes += [f"drill: {note}" for note in restored.notes]
        _log.info("restored into the scratch database in %.3f s", time.monotonic() - started)
        with translated(), session(scratch, cancel, lock_timeout=settings.lock_timeout) as conn:
            # Exact answers: every row is looked at.
            conn.execute("SET enable_indexscan = off")
            conn.execute("SET enable_indexonlyscan = off")
            conn.execute("SET enable_bitmapscan = off")
            for entry in manifest.tables:
                cancel.check()
                if entry.properties is not None and entry.properties.force_row_security:
                    # The owner, who compares here, would be held to the table's policies as well.
                    conn.execute(
                        sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(
                            sql.Identifier(entry.schema, entry.table)
                        )
                    )
                _compare(
                    conn,
                    location,
                    manifest,
                    entry,
                    chain=chained.get(entry.name),
                    table=tables[entry.name],
                    sampler=samples.sampler(entry),
                    cancel=cancel,
                )


def _compare(
    conn: Connection[Any],
    location: Location,
    manifest: Manifest,
    entry: TableEntry,
    *,
    chain: TableChain | None,
    table: TableVerification,
    sampler: Sampler,
    cancel: Cancel,
) -> None:
    started = time.monotonic()
    form = entry.file_kind.format
    identifier = sql.Identifier(entry.schema, entry.table)
    stored_columns = tuple(column.name for column in entry.stored_columns)
    source = sql.SQL("{}{}").format(sql.SQL("ONLY " if entry.kind == "table" else ""), identifier)
    named = fingerprint.named(manifest.fingerprint_algorithm)
    algorithm = named or fingerprint.SHA256
    searches = sampler.searches()
    for search in searches:
        search.ask(conn, entry, source)
    retelling = None if form.is_text else binary_forms.retelling(conn, identifier.as_string(conn), stored_columns)
    there = Destination(identifier, source, stored_columns)
    rows, row_sum = read_back(conn, there, form, algorithm, cancel)
    restored = fingerprint.of_sum(row_sum)
    wanted = entry.fingerprint
    # The rows of a chain are those of no one file, so that their fingerprint is told by no manifest.
    # Nor is that of rows that hold numbers of types which are others here.
    told = named is not None and chain is None and retelling is None
    if searches or not told:
        total = 0
        for block in (StoredFile(location, entry) if chain is None else chain).blocks(cancel):
            for row, fields in form.rows(block.data):
                if not told:
                    total += algorithm.of_row(row if retelling is None else retelling.row(row))
                consider_all(searches, form, fields)
        wanted = entry.fingerprint if told else fingerprint.of_sum(total)
    table.drill = {
        "rows": rows,
        "fingerprint": "equal" if restored == wanted else "other",
        "searches": len(searches),
        "duration": round(time.monotonic() - started, 3),
    }
    table.duration += time.monotonic() - started
    if rows != entry.row_count or restored != wanted:
        table.inspection.blame(
            f"{entry.name}: drill: {rows:,} rows were restored, whose fingerprint is "
            f"{'' if restored == wanted else 'not '}that of the {entry.row_count:,} in the file"
        )
    for number, search in enumerate(searches, 1):
        if (wrong := search.verdict()) is not None:
            table.inspection.blame(f"{entry.name}: drill: search {number} by {search.column.name}: {wrong}")
    _log.info("%s: drilled, %s rows, %d searches, %.3f s", entry.name, f"{rows:,}", len(searches), table.duration)
