"""The story of a restore: set, target, rows, proof, indexes, commit. All of it is one transaction.

Either every table is there and equal to the set when it ends, or nothing was changed. One connection does it; see
`copy_in` for why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, IntegrityFault
from pgvector_backup.engine.base.progress import OnProgress, Progress, reporting
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.encoding import row_encoder
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.result import RestoreResult, TableRestore, human_size
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.load import foreign_csv, key_conflicts, staged_rows, suspension, target
from pgvector_backup.engine.load.copy_in import Into, Load, Loaded, allow_workers, read_back
from pgvector_backup.engine.load.definitions import (
    add_constraint,
    add_index,
    create_extension,
    create_table,
    referenced,
    references,
)
from pgvector_backup.engine.load.langchain_pair import Selection, select
from pgvector_backup.engine.load.refusals import commit_fault, load_fault
from pgvector_backup.engine.load.suspension import SetAside
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect, session
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Table, describe, referencing_keys
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.stored_set import StoredSet, StoredTable, kept, open_set

_log: Final = logging.getLogger(__name__)

_WORTH_WORKERS: Final = 8 << 20
"""Bytes of rows below which the start of the server's parallel workers costs more than they save."""


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
) -> RestoreResult:
    """Bring tables of a set back, all of them or none.

    :param connect: opens a connection to the database; one does the work, a second watches index builds
    :param now: with a time zone; the result's timestamp
    :param run_id: told in the log
    :param on_progress: told about once a second how far the rows are
    :param dry_run: check the set and the target, tell what would be done, change nothing
    :raises NotFound: when the set, a table of it or, without ``create_missing``, a target is not there
    :raises IntegrityFault: when a file does not match its manifest, or what came to be in a table not its file
    :raises Conflict: when a key is there already, a column does not fit, a table cannot be emptied
    :raises DatabaseFault: when the server refuses or fails; nothing was changed
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    catalog = Catalog(settings)
    location = catalog.place(request.backup_path, request.task_id)
    found = catalog.find(location, request.timestamp)
    with kept(location, found), reporting(on_progress) as watched:
        stored_set = open_set(location, found)
        chosen = stored_set.choose(request.tables)
        selection = select(stored_set, chosen, request, cancel)
        _log.info(
            "restoring set %s of %s: %s%s",
            found.backup_id,
            found.relative_path,
            ", ".join(table.label for table in chosen),
            "" if run_id is None else f" (run {run_id})",
        )
        if stored_set.manifest is not None and stored_set.manifest.failed_tables:
            _log.warning("not in the set, for their backup failed: %s", ", ".join(stored_set.manifest.failed_tables))
        stored_set.check(chosen if selection is None else selection.with_collections(chosen), cancel)
        run = _Run(request, settings, connect, cancel, stored_set, selection, watched)
        with translated(), session(connect, cancel, lock_timeout=settings.lock_timeout) as conn:
            conn.execute("BEGIN")
            truncated: dict[str, tuple[int, int]] = {}
            if dry_run:
                tables = run.plan(conn, chosen)
                conn.execute("ROLLBACK")
            else:
                tables, truncated = run.carry_out(conn, chosen)
                cancel.check()
                with _told(", ".join(tables), request), commit_fault():
                    conn.execute("COMMIT")
    return RestoreResult(
        backup_path=found.relative_path,
        backup_id=found.backup_id,
        created_at=found.created_at,
        tables=tables,
        truncated=truncated,
        duration=time.monotonic() - started,
        truncate_duration=run.truncate_seconds,
        timestamp=now,
        planned=dry_run,
    )


@dataclass
class _Target:
    """One table of the set and the table that its rows go into."""

    stored: StoredTable
    table: Table
    created: bool
    rows_before: int = 0
    empty: bool = True
    built: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return self.stored.label

    @property
    def name(self) -> TableName:
        return TableName(self.table.schema, self.table.table)

    @property
    def into(self) -> Into:
        return Into(self.table.identifier, self.table.source, self.stored.columns)


@dataclass
class _Run:
    request: RestoreRequest
    settings: Settings
    connect: Connect
    cancel: Cancel
    stored_set: StoredSet
    selection: Selection | None
    watched: list[Progress]
    truncate_seconds: float = 0.0
    aside: list[SetAside] = field(default_factory=list)

    def plan(self, conn: Connection[Any], chosen: Sequence[StoredTable]) -> dict[str, TableRestore]:
        """What would be done, without a lock and without a change."""
        planned = {}
        for stored in chosen:
            name = target.find(conn, stored, self.request.schema)
            rows = 0 if stored.entry is None else stored.entry.rows
            notes: list[str] = []
            before = conflicts = 0
            if name is None:
                if not self._may_create(stored):
                    raise target.not_there(conn, stored, self.request.schema)
            else:
                table = describe(conn, name)
                notes = target.check(stored, table)
                before = _count(conn, table)
                conflicts, met = self._conflicts(conn, stored, table, before)
                notes += met
            kept_rows = 0 if self.request.truncate_before_restore else before
            if name is None:
                entry = stored.entry
                indexes = () if entry is None else entry.indexes
            else:
                apart = not kept_rows or suspension.worth_it(rows, kept_rows)
                indexes = table.indexes if apart else ()
            skipped = conflicts if self.request.on_conflict == "skip" else 0
            updated = conflicts if self.request.on_conflict == "update" else 0
            planned[stored.label] = TableRestore(
                duration=0.0,
                file=stored.file,
                bytes=stored.bytes,
                rows=rows - skipped,
                updated=updated,
                skipped=skipped,
                conflicts=conflicts,
                rows_before=before,
                rows_after=kept_rows + rows - skipped - updated,
                target=(name or target.name_of(stored, self.request.schema)).label,
                created=name is None,
                indexes=tuple(index.name for index in indexes if index.constraint is None),
                notes=tuple(notes),
            )
        return planned

    def _conflicts(
        self, conn: Connection[Any], stored: StoredTable, table: Table, before: int
    ) -> tuple[int, list[str]]:
        """Rows whose key is there already, and what is to be said of that."""
        if not before or self.request.truncate_before_restore:
            return 0, []
        if self.selection is not None:
            return 0, [f"{stored.label}: which of its keys are there already was not looked at"]
        conflicts = key_conflicts.count(conn, self.stored_set, stored, table, self.cancel)
        if conflicts is None:
            return 0, [f"{stored.label}: without its primary key nothing tells which rows are there already"]
        if conflicts and self.request.on_conflict == "error":
            refused = (
                f"{stored.label}: {conflicts:,} of its keys are there already, so the restore would be refused; set "
                "truncate_before_restore, or on_conflict to skip or update"
            )
            return conflicts, [refused]
        return conflicts, []

    def carry_out(
        self, conn: Connection[Any], chosen: Sequence[StoredTable]
    ) -> tuple[dict[str, TableRestore], dict[str, tuple[int, int]]]:
        """Everything but the commit."""
        # What the server sends in the middle of a COPY is then its failure.
        conn.execute("SELECT set_config('client_min_messages', 'error', true)")
        if sum(map(_bytes, chosen)) >= _WORTH_WORKERS:
            allow_workers(conn, self.settings.jobs)
        targets = self._lock(conn, self._provide(conn, chosen))
        truncated = self._truncate(conn, targets)
        self._set_aside(conn, targets)
        progress = {
            one.label: Progress(
                _log,
                one.label,
                None if one.stored.entry is None else one.stored.entry.rows,
                self.settings.progress_rows,
                expected_bytes=_bytes(one.stored),
            )
            for one in targets
        }
        self.watched.extend(progress.values())
        outcomes = {}
        for one in targets:
            self.cancel.check()
            started = time.monotonic()
            with _told(one.label, self.request):
                outcome = self._restore_one(conn, one, progress[one.label])
            outcomes[one.label] = (outcome, time.monotonic() - started)
        self._finish(conn, targets)
        self._advance_sequences(conn, targets)
        return {one.label: self._result(one, *outcomes[one.label]) for one in targets}, truncated

    # --- the tables ---

    def _may_create(self, stored: StoredTable) -> bool:
        return self.request.create_missing and stored.entry is not None

    def _provide(
        self, conn: Connection[Any], chosen: Sequence[StoredTable]
    ) -> list[tuple[StoredTable, TableName, bool]]:
        """Find each table, or make it; parents come first."""
        entries = [stored.entry for stored in chosen if stored.entry is not None]
        if self.request.create_missing and create_extension(conn, entries):
            _log.info("created extension vector")
        provided = {}
        for stored in chosen:
            name = target.find(conn, stored, self.request.schema)
            created = name is None
            if name is None:
                if not self._may_create(stored):
                    raise target.not_there(conn, stored, self.request.schema)
                assert stored.entry is not None
                name = target.name_of(stored, self.request.schema)
                with _told(stored.label, self.request):
                    create_table(conn, stored.entry, name)
                _log.info("%s: created table %s", stored.label, name.label)
            provided[stored.label] = (stored, name, created)
        taken: dict[TableName, str] = {}
        for stored, name, _ in provided.values():
            if name in taken:
                raise Conflict(
                    f"{stored.label} and {taken[name]} would both go into {name.label}; name one of them in `tables`"
                )
            taken[name] = stored.label
        ordered = target.order(list(chosen), self._parents(conn, provided))
        return [provided[stored.label] for stored in ordered]

    def _parents(
        self, conn: Connection[Any], provided: Mapping[str, tuple[StoredTable, TableName, bool]]
    ) -> dict[str, set[str]]:
        """By label, the labels of the tables that foreign keys point at, in the set or in the database."""
        labels = {name: label for label, (_, name, _) in provided.items()}
        was = self._renamed([(stored, name) for stored, name, _ in provided.values()])
        parents: dict[str, set[str]] = {label: set() for label in provided}
        for label, (stored, name, _) in provided.items():
            if stored.entry is not None:
                for text in references(stored.entry):
                    parent = labels.get(referenced(stored.entry, text, was))
                    if parent is not None:
                        parents[label].add(parent)
            for row in conn.execute(_REFERENCES, [name.identifier.as_string(conn)]):
                parent = labels.get(TableName(row[0], row[1]))
                if parent is not None:
                    parents[label].add(parent)
        return parents

    @staticmethod
    def _renamed(pairs: Sequence[tuple[StoredTable, TableName]]) -> dict[TableName, TableName]:
        """Where tables of the set are now, by where they were."""
        return {
            TableName(stored.entry.schema, stored.entry.table): name
            for stored, name in pairs
            if stored.entry is not None
        }

    def _lock(self, conn: Connection[Any], provided: Sequence[tuple[StoredTable, TableName, bool]]) -> list[_Target]:
        """Keep everybody out who could change the tables, then describe what is there."""
        existing = [name for _, name, created in provided if not created]
        if existing:
            # Without an emptying, who only reads may go on; an index that is set aside keeps them out later.
            mode = sql.SQL("ACCESS EXCLUSIVE" if self.request.truncate_before_restore else "SHARE ROW EXCLUSIVE")
            names = sql.SQL(", ").join(name.identifier for name in existing)
            with _told(", ".join(stored.label for stored, _, created in provided if not created), self.request):
                try:
                    conn.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(names, mode))
                except psycopg.errors.WrongObjectType:
                    raise Conflict(
                        f"{', '.join(name.label for name in existing)}: not all of them are tables, so no rows can be "
                        "restored; name another `schema` to have tables made there"
                    ) from None
        targets = []
        for stored, name, created in provided:
            table = describe(conn, name)
            one = _Target(stored, table, created)
            one.notes += target.check(stored, table)
            if created and stored.entry is not None and stored.entry.kind != "table":
                one.notes.append(f"{stored.label}: it was a {stored.entry.kind}, and is an ordinary table now")
            if not created:
                one.rows_before = _count(conn, table)
                one.empty = one.rows_before == 0
            targets.append(one)
        return targets

    def _truncate(self, conn: Connection[Any], targets: Sequence[_Target]) -> dict[str, tuple[int, int]]:
        emptied = [one for one in targets if not one.created]
        if not self.request.truncate_before_restore or not emptied:
            return {}
        started = time.monotonic()
        keys = referencing_keys(conn, [one.table.oid for one in emptied])
        if keys:
            named = ", ".join(f"{key} of {table}" for key, table in keys)
            raise Conflict(
                f"a foreign key forbids emptying the table: {named}; restore that table too; nothing changed"
            )
        conn.execute(sql.SQL("TRUNCATE TABLE {}").format(sql.SQL(", ").join(one.table.source for one in emptied)))
        truncated = {one.label: (one.rows_before, _count(conn, one.table)) for one in emptied}
        for one in emptied:
            one.empty = True
        self.truncate_seconds = time.monotonic() - started
        return truncated

    # --- indexes and keys ---

    def _set_aside(self, conn: Connection[Any], targets: Sequence[_Target]) -> None:
        """Of the tables that hold no rows, indexes and the foreign keys between them."""
        emptied = [one for one in targets if one.empty and not one.created and one.table.kind == "table"]
        for one in emptied:
            with _told(one.label, self.request):
                self._set_aside_indexes(conn, one)
        if any(suspension.worth_it(_expected_rows(one.stored), 0) for one in targets):
            self.aside += suspension.set_aside_foreign_keys(conn, [one.table for one in emptied])

    def _set_aside_indexes(self, conn: Connection[Any], one: _Target) -> None:
        dropped = suspension.set_aside_indexes(conn, one.table)
        if dropped:
            _log.info("%s: indexes set aside until its rows are in: %s", one.label, ", ".join(d.name for d in dropped))
        self.aside += dropped

    def _finish(self, conn: Connection[Any], targets: Sequence[_Target]) -> None:
        """Keys first, for the rows have to be right before the long work begins; then indexes."""
        self._constraints(conn, targets)
        by_oid = {one.table.oid: one for one in targets}
        for away in self.aside:
            if not away.is_index:
                with _told(by_oid[away.table.oid].label, self.request):
                    suspension.make_again(conn, away)
        largest = max(_bytes(one.stored) for one in targets)
        if largest >= _WORTH_WORKERS:
            suspension.prepare_builds(conn, memory_mb=self.settings.restore_memory_mb, bytes_loaded=largest)
        for away in self.aside:
            if away.is_index:
                one = by_oid[away.table.oid]
                self._build(conn, one, away.name, lambda away=away: suspension.make_again(conn, away))
        for one in [one for one in targets if one.created]:
            entry = one.stored.entry
            assert entry is not None
            for index in entry.indexes:
                if index.constraint is None:
                    self._build(
                        conn,
                        one,
                        index.name,
                        lambda e=entry, i=index, n=one.name: add_index(conn, e, i, n),
                    )

    def _constraints(self, conn: Connection[Any], targets: Sequence[_Target]) -> None:
        """Those of the tables that were made, foreign keys last."""
        created = [one for one in targets if one.created]
        renamed = self._renamed([(one.stored, one.name) for one in targets])
        for kinds in (("primary key", "unique", "exclusion", "check"), ("foreign key",)):
            for one in created:
                entry = one.stored.entry
                assert entry is not None
                for constraint in entry.constraints:
                    if constraint.type in kinds:
                        with _told(one.label, self.request):
                            left_out = add_constraint(conn, entry, constraint, one.name, renamed)
                        if left_out is not None:
                            _log.warning("%s", left_out)
                            one.notes.append(left_out)

    def _build(self, conn: Connection[Any], one: _Target, name: str, make: Any) -> None:
        self.cancel.check()
        pid = conn.info.backend_pid
        with (
            _told(one.label, self.request),
            suspension.watched(self.connect, pid, self.cancel, label=one.label, index=name),
        ):
            suspension.build(conn, one.label, name, make)
        one.built.append(name)

    def _advance_sequences(self, conn: Connection[Any], targets: Sequence[_Target]) -> None:
        """Let serial and identity columns go on after the greatest number restored, as a dump would."""
        for one in targets:
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

    # --- the rows ---

    def _restore_one(self, conn: Connection[Any], one: _Target, progress: Progress) -> staged_rows.Outcome:
        renames = self.selection is not None and self.selection.renames(one.label)
        if one.empty and not renames:
            loaded = self._load(conn, one, one.into, progress)
            self._prove(conn, one, one.into, loaded)
            return staged_rows.Outcome(loaded, inserted=loaded.rows_sent)
        staging = staged_rows.create(conn, one.label, one.into)
        loaded = self._load(conn, one, staging, progress)
        self._prove(conn, one, staging, loaded)
        changed = False
        if renames:
            assert self.selection is not None
            note = self.selection.rename(conn, one.label, staging, one.into)
            changed = True
            if note:
                one.notes.append(note)
        coming = staged_rows.coming(conn, one.table, staging, into=one.into, on_conflict=self.request.on_conflict)
        if one.table.kind == "table" and suspension.worth_it(coming, one.rows_before):
            self._set_aside_indexes(conn, one)  # from here on readers have to wait
        return staged_rows.insert(
            conn,
            one.table,
            staging,
            one.into,
            loaded,
            label=one.label,
            on_conflict=self.request.on_conflict,
            changed=changed,
            cancel=self.cancel,
        )

    def _load(self, conn: Connection[Any], one: _Target, into: Into, progress: Progress) -> Loaded:
        stored = one.stored
        here = {column.name: column.type for column in one.table.columns}
        types = [here[name] for name in stored.columns]
        encoder = row_encoder(types) if stored.format == "csv" else None
        algorithm = self.stored_set.algorithm or fingerprint.SHA256
        mending = None if stored.entry is not None else foreign_csv.Mending(stored, one.table)
        proof = algorithm if mending is None or encoder is None else mending.proof(algorithm)
        keep = None if self.selection is None else self.selection.keep(stored)
        loaded = Load(
            conn=conn,
            into=into,
            form=stored.format,
            blocks=self.stored_set.blocks(stored, self.cancel),
            encoder=encoder,
            keep=keep,
            mend=None if mending is None else mending.mend,
            algorithm=algorithm,
            proof=proof,
            progress=progress,
            cancel=self.cancel,
        ).run()
        if mending is not None:
            one.notes += mending.notes()
        entry = stored.entry
        if entry is not None:
            if loaded.rows_read != entry.rows:
                raise IntegrityFault(
                    f"{entry.file}: {loaded.rows_read:,} rows were read, {entry.rows:,} in the manifest"
                )
            if self.stored_set.algorithm is None:
                one.notes.append(
                    f"{one.label}: the manifest's fingerprint cannot be computed here; what was sent and what is in "
                    "the table were compared"
                )
            elif fingerprint.of_sum(loaded.read_sum) != entry.fingerprint:
                raise IntegrityFault(f"{entry.file}: the fingerprint of its rows is not the manifest's")
        return loaded

    def _prove(self, conn: Connection[Any], one: _Target, into: Into, loaded: Loaded) -> None:
        """Compare what is in the table with what was sent."""
        proof = loaded.proof
        if one.stored.entry is None and loaded.sent_as == "csv":
            # Another tool's spelling of a value is not the server's: only the rows can be counted.
            rows = staged_rows.count(conn, into)
            same = rows == loaded.rows_sent
        else:
            rows, total = read_back(conn, into, loaded.sent_as, proof, self.cancel)
            same = (rows, fingerprint.of_sum(total)) == (loaded.rows_sent, fingerprint.of_sum(loaded.sent_sum))
        if not same:
            raise IntegrityFault(
                f"{one.label}: the table did not take the rows as they are in the set ({loaded.rows_sent:,} sent, "
                f"{rows:,} there): a trigger, a rule or a generated value alters them; disable it for the restore. "
                "Nothing was changed"
            )

    def _result(self, one: _Target, outcome: staged_rows.Outcome, seconds: float) -> TableRestore:
        loaded = outcome.loaded
        rows = outcome.inserted + outcome.updated
        method = "csv as binary" if loaded.parsed_here else loaded.sent_as
        _log.info(
            "%s: %s rows of %s in %.3f s, sent as %s",
            one.label,
            f"{rows:,}",
            human_size(one.stored.bytes),
            seconds,
            method,
        )
        return TableRestore(
            duration=seconds,
            file=one.stored.file,
            bytes=one.stored.bytes,
            rows=rows,
            updated=outcome.updated,
            skipped=outcome.skipped,
            left_out=loaded.rows_read - loaded.rows_sent,
            rows_before=one.rows_before,
            rows_after=(0 if one.empty else one.rows_before) + outcome.inserted,
            target=one.name.label,
            created=one.created,
            method=method,
            fingerprint=None if one.stored.entry is None else one.stored.entry.fingerprint,
            indexes=tuple(one.built),
            notes=tuple(one.notes),
        )


def _told(label: str, request: RestoreRequest) -> Any:
    return load_fault(label, on_conflict=request.on_conflict)


def _expected_rows(stored: StoredTable) -> int:
    """Rows that will come; of a file without a manifest a guess from its size."""
    return stored.entry.rows if stored.entry is not None else stored.bytes // 4096


def _bytes(stored: StoredTable) -> int:
    """Of a table's rows, before compression."""
    return stored.entry.raw_bytes if stored.entry is not None else stored.bytes


def _count(conn: Connection[Any], table: Table) -> int:
    row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(table.source)).fetchone()
    assert row is not None
    return int(row[0])


_REFERENCES: Final = """
SELECT n.nspname, p.relname FROM pg_constraint k
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conrelid = to_regclass(%s)
"""
