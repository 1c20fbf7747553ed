"""The story of a truncate: prove the files, keep writers out, prove the rows, empty the tables."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, InvalidParams
from pgvector_backup.engine.contract.backup_result import TruncateResult
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres import record_manager, transactions
from pgvector_backup.engine.postgres.description import describe
from pgvector_backup.engine.postgres.errors import database_fault, translated
from pgvector_backup.engine.postgres.locks import holders_named
from pgvector_backup.engine.postgres.session import Connect, require_settings, session
from pgvector_backup.engine.postgres.source import source_of
from pgvector_backup.engine.postgres.standing import unproven
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN, Table, count_rows, place, referencing_keys
from pgvector_backup.engine.postgres.transactions import NOT_TOLD
from pgvector_backup.engine.sets.beside import write_emptied
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.chain import chains
from pgvector_backup.engine.sets.copies import require_copies
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.next_whole import naming_next
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.sets.stored_set import shared_locks
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.naming import committed_id
from pgvector_backup.engine.store.root import locate

_log: Final = logging.getLogger(__name__)


def truncate(
    request: BackupRequest,
    settings: Settings,
    connect: Connect,
    *,
    manifest_file: str,
    cancel: Cancel | None = None,
    dry_run: bool = False,
) -> TruncateResult:
    """Empty ``truncate_tables``, all of them or none, if a set on disk holds every row that they hold now.

    :param manifest_file: bare name of the set's manifest, in the request's location
    :param dry_run: find out whether it would be allowed now, keep nobody out, change nothing
    :raises InvalidParams: when no table may be emptied
    :raises IntegrityFault: when a file of the set does not match its manifest
    :raises Conflict: when a table holds a row that the set does not, or another database answers; when a copy of the
        set has to be there first and is not
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    if not settings.truncate_tables:
        raise InvalidParams("no table may be emptied: `truncate_tables` names none of those backed up")
    location = locate(settings.backup_root, request.task_id, settings.backup_directory, create=False)
    with (
        naming_next(Catalog(settings), location, committed_id(manifest_file) or ""),
        location.shared_lock(manifest_file),
        ExitStack() as bases,
    ):
        manifest = Manifest.read(location, manifest_file)
        entries = {name: _entry(manifest, name) for name in settings.truncate_tables}
        copies = require_copies(settings, location, manifest_file)
        if manifest.chain:
            bases.enter_context(
                shared_locks(location, (manifest.backup_id, *(one.backup_id for one in manifest.chain)))
            )
        chained = chains(location, manifest)
        for entry in manifest.tables:
            if (chain := chained.get(entry.name)) is not None:
                chain.check(cancel)
            else:
                StoredFile(location, entry).check(cancel)
        with translated(), session(connect, cancel, lock_timeout=settings.lock_timeout) as conn:
            _require_same_database(conn, manifest)
            with conn.transaction():
                require_settings(conn)
                tables = {
                    name: _locked(conn, name, "ACCESS SHARE" if dry_run else "ACCESS EXCLUSIVE", entries[name])
                    for name in settings.truncate_tables
                }
                rows_before = {
                    name.label: _require_backed_up(conn, table, entries[name], manifest)
                    for name, table in tables.items()
                }
                _require_unreferenced(conn, list(tables.values()))
                notes = [note for table in tables.values() for note in record_manager.remembered(conn, table)]
                cancel.check()
                if not dry_run:
                    # Before the rows go, for the set may then be their only copy, which no retention may let go.
                    held = {label: rows for label, rows in rows_before.items() if rows}
                    if held:
                        for place in (location, *copies):
                            write_emptied(place, manifest.backup_id, held, datetime.now(timezone.utc))
                    emptied = sql.SQL(", ").join(table.source for table in tables.values())
                    conn.execute(sql.SQL("TRUNCATE TABLE {}").format(emptied))
                rows_after = {name.label: count_rows(conn, table.source) for name, table in tables.items()}
                cancel.check()
    for label, rows in rows_before.items():
        done = "would be emptied" if dry_run else "emptied"
        _log.info("%s: %s of %s rows, all of them in %s", label, done, f"{rows:,}", manifest_file)
    for note in notes:
        _log.warning("%s", note)
    return TruncateResult(
        rows_before=rows_before,
        rows_after=rows_after,
        duration=time.monotonic() - started,
        planned=dry_run,
        notes=tuple(notes),
    )


def _entry(manifest: Manifest, name: TableName) -> TableEntry:
    if manifest.failed_tables:
        failed = ", ".join(manifest.failed_tables)
        raise Conflict(f"set {manifest.backup_id} is not whole, {failed} failed; nothing is emptied on its word")
    for entry in manifest.tables:
        if entry.name == name.label:
            return entry
    raise Conflict(f"{name.label}: not in set {manifest.backup_id}; back it up before emptying it")


def _require_same_database(conn: Connection[Any], manifest: Manifest) -> None:
    """Refuse another server or database, whatever the connection is called today."""
    here, there = source_of(conn), manifest.source
    for source, when in ((there, "when it was backed up"), (here, "now")):
        why = unproven(source, ids_told=manifest.snapshot != NOT_TOLD)
        if why is not None:
            raise Conflict(f"{when}: {why}; nothing was emptied")
    if (here.system_identifier, here.database_oid) != (there.system_identifier, there.database_oid):
        raise Conflict(
            f"database {here.database} on server {here.system_identifier} is not the one backed up: "
            f"{there.database} on server {there.system_identifier}"
        )
    if here.timeline != there.timeline:
        # Transaction ids after the fork are given a second time: a new row may carry the id of a backed-up one.
        raise Conflict(
            f"the server has failed over or was restored since the backup (timeline {there.timeline}, now "
            f"{here.timeline}), so its rows cannot be told from later ones; make a new backup"
        )


def _locked(conn: Connection[Any], name: TableName, mode: str, entry: TableEntry) -> Table:
    """Lock a table until the transaction ends; waits at most the session's lock timeout."""
    try:
        # To measure a table takes a lock as well.
        with holders_named(conn, [place(conn, name) or name], mode, label=name.label):
            table = describe(conn, name, with_children=entry.kind == WITH_CHILDREN)
            if not table.has_rows_of_its_own:
                raise Conflict(
                    f"{name.label} is a {table.kind}, which cannot be emptied; take it out of truncate_tables"
                )
            conn.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(table.source, sql.SQL(mode)))
    except psycopg.Error as fault:
        raise database_fault(fault, table=name.label) from fault
    return table


def _require_backed_up(conn: Connection[Any], table: Table, entry: TableEntry, manifest: Manifest) -> int:
    """Count the rows; refuse when one of them is not in the set."""
    if (table.schema, table.table) != (entry.schema, entry.table):
        raise Conflict(
            f"{entry.name} is now {table.schema}.{table.table}, and was {entry.schema}.{entry.table} when it was "
            "backed up; name the schema in `tables` and `truncate_tables`"
        )
    rows, unseen = transactions.count(conn, table, manifest.snapshot, entry.relations, entry.late_transactions)
    if unseen or rows > entry.row_count:
        raise Conflict(
            f"{entry.name}: {max(unseen, rows - entry.row_count):,} of {rows:,} rows were written after the backup "
            f"{manifest.backup_id} and are not in it; nothing was emptied. Stop the writers and run again"
        )
    return rows


def _require_unreferenced(conn: Connection[Any], tables: list[Table]) -> None:
    keys = referencing_keys(conn, [table.oid for table in tables])
    if keys:
        named = ", ".join(f"{key} of {table}" for key, table in keys)
        raise Conflict(f"a foreign key forbids emptying the table: {named}; nothing was emptied")
