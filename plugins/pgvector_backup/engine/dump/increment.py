"""Whether a set is an increment, of which base, and if not, why; and the keys files of either.

Keys come before rows: only when every table's keys have gone on from the base's is it known that there will be an
increment, and by then it is known which rows it has to hold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault, IntegrityFault, NotFound
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.dump.keys_out import KeysFile, write_keys
from pgvector_backup.engine.dump.ranges import Estimate
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.keys_query import COMPARABLE, Seen
from pgvector_backup.engine.postgres.lineage import Lineage, difference, lineage_of
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.postgres.transactions import NOT_TOLD, TransactionIds
from pgvector_backup.engine.sets.base_set import Base, find_base, unfit
from pgvector_backup.engine.sets.keys_entry import KeysEntry, Link
from pgvector_backup.engine.sets.keys_file import BrokenLine, Tally
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name

_log: Final = logging.getLogger(__name__)

_SHARE: Final = 0.5
"""Of the rows: when more than this changed, a full set costs little more, and begins a new chain."""


@dataclass
class Line:
    """What a set stands on, if it does, and the keys of its tables.

    :param full_because: why a set that was to be an increment is a full one
    :param later: writes the keys of a full set, which nothing waits for: rows are read meanwhile
    """

    keys: Mapping[TableName, KeysFile] = field(default_factory=dict)
    base: Base | None = None
    full_because: str | None = None
    wal_position: int | None = None
    later: Callable[[], Mapping[TableName, KeysFile]] | None = None

    def write_keys(self) -> None:
        """Write the keys that are not there yet; over a connection of its own."""
        if self.later is not None:
            self.keys = self.later()

    @property
    def links(self) -> tuple[Link, ...]:
        """The sets that it stands on, the full one first."""
        return () if self.base is None else self.base.links

    def condition(self, table: Table) -> sql.Composed | None:
        """Which rows of a table the set holds; None: all."""
        keys = self.keys.get(table.name)
        return None if keys is None or keys.seen is None else keys.seen.unseen()

    def tally(self, name: TableName) -> Tally | None:
        """What was counted of a table; None where nothing was."""
        keys = self.keys.get(name)
        return None if keys is None else keys.tally

    def entry(self, name: TableName) -> KeysEntry | None:
        """What the manifest says of a table's keys; None where there are none."""
        keys = self.keys.get(name)
        return None if keys is None else keys.entry()

    def expected(self, name: TableName) -> Estimate | None:
        """What an increment will hold of a table, by its keys and the rows of the base; None: nobody knows."""
        tally = self.tally(name)
        if self.base is None or tally is None:
            return None
        entry, rows = self.base.entry(name.label), tally.written
        if not entry.rows:
            return Estimate(rows, None, None)
        return Estimate(rows, round(rows * entry.raw_bytes / entry.rows), round(rows * entry.bytes / entry.rows))


def begin_line(
    snapshot: Snapshot,
    tables: Sequence[Table],
    *,
    location: Location,
    claim: Claim,
    kind: FileKind,
    cancel: Cancel,
    full_every: int,
    held: ExitStack,
) -> Line:
    """Decide whether the set is an increment, by the keys of every table that can be read, which are written then.

    :param tables: those that can be read
    :param full_every: increments on one full set, at most
    :param held: until it is closed, no set that the increment stands on can be removed
    """
    with snapshot.joined(kept=True) as conn:
        lineages = {table.name: _lineage(conn, snapshot, table, kind) for table in tables}
        attempt = _Attempt(snapshot, tables, location, claim, kind, cancel, conn, lineages)
        try:
            base = attempt.base(full_every, held)
            keys = attempt.merge(base)
            return Line(keys, base, wal_position=snapshot.wal_position)
        except _Full as why:
            _log.warning("a full set is made, not an increment: %s", why)
            return Line(full_because=str(why), wal_position=snapshot.wal_position, later=attempt.all_keys)


class _Full(Exception):
    """There can be no increment; says why."""


def _lineage(conn: Connection[Any], snapshot: Snapshot, table: Table, kind: FileKind) -> Lineage | str:
    try:
        with translated(table=table.name.label):
            return lineage_of(conn, table, kind.format)
    except BackupError as fault:
        if conn.broken:
            raise
        snapshot.rejoin(conn)
        return f"the server does not tell what has to be known of it: {fault.english}"


@dataclass
class _Attempt:
    snapshot: Snapshot
    tables: Sequence[Table]
    location: Location
    claim: Claim
    kind: FileKind
    cancel: Cancel
    conn: Connection[Any]
    lineages: Mapping[TableName, Lineage | str]

    def base(self, full_every: int, held: ExitStack) -> Base:
        """The set to stand on.

        :raises _Full: when there is none, or nothing can stand on it
        """
        source, now = self.snapshot.source, self.snapshot.transactions
        self._require_placing(source, now, "the server")
        for name, lineage in self.lineages.items():
            if isinstance(lineage, str):
                raise _Full(f"{name.label}: {lineage}")
        if self.snapshot.failures:
            raise _Full(f"{', '.join(name.label for name in self.snapshot.failures)} cannot be read")
        base = find_base(self.location, source, [name.label for name in self.lineages])
        if isinstance(base, str):
            raise _Full(base)
        for backup_id in base.ids:
            try:
                held.enter_context(self.location.shared_lock(manifest_name(backup_id)))
            except NotFound:
                raise _Full(f"set {backup_id}, which it would stand on, is missing") from None
            except BackupError as fault:
                raise _Full(f"set {backup_id}, which it would stand on, cannot be held: {fault.english}") from None
        if (why := unfit(self.location, base)) is not None:
            raise _Full(why)
        if len(base.links) > full_every:
            raise _Full(f"full_every: {len(base.links) - 1} increments stand on set {base.ids[0]} already")
        self._compare(base)
        return base

    def _require_placing(self, source: Source, ids: TransactionIds, whose: str) -> None:
        if source.standby:
            raise _Full(f"{whose} is a standby, which does not know which transactions are open")
        if source.system_identifier is None:
            raise _Full(f"{whose} does not tell its system identifier (pg_control_system)")
        if source.timeline is None:
            raise _Full(f"{whose} does not tell its timeline (pg_current_wal_lsn, pg_walfile_name)")
        if ids == NOT_TOLD:
            raise _Full(f"{whose} does not tell which transactions had ended (pg_current_snapshot)")

    def _compare(self, base: Base) -> None:
        """Hold server and tables against what the base says of them."""
        now, then = self.snapshot.source, base.manifest.source
        name = base.manifest.backup_id
        ids, before = self.snapshot.transactions, base.manifest.snapshot
        self._require_placing(then, before, f"the base {name}: its server")
        if (now.system_identifier, now.database_oid) != (then.system_identifier, then.database_oid):
            raise _Full(
                f"the base {name} is of another server or database (system identifier {then.system_identifier})"
            )
        if now.timeline != then.timeline:
            raise _Full(
                f"the server has failed over or was restored since the base {name} (timeline {then.timeline}, now "
                f"{now.timeline})"
            )
        if ids.xmax < before.xmax:
            raise _Full(f"the server has begun fewer transactions than at the time of the base {name}")
        if ids.xmax - before.xmin >= COMPARABLE:
            raise _Full(f"too many transactions since the base {name} to tell its rows from later ones")
        reached, position = self.snapshot.wal_position, base.manifest.wal_position
        if reached is not None and position is not None and reached < position:
            raise _Full(f"the server's log is shorter than at the time of the base {name}")
        for table in self.tables:
            label = table.name.label
            entry, lineage = base.entry(label), self.lineages[table.name]
            assert entry.keys is not None
            assert isinstance(lineage, Lineage)
            if entry.format != self.kind.format.name:
                raise _Full(f"file_format: {label} is {entry.format} in the base {name}; a chain is of one format")
            if entry.late_transactions is None:
                raise _Full(f"{label}: the base {name} does not tell which transactions it has seen")
            if (why := difference(entry.keys.lineage, lineage)) is not None:
                raise _Full(f"{label}: {why}")

    def merge(self, base: Base) -> dict[TableName, KeysFile]:
        """Every table's keys, gone on from the base's.

        :raises _Full: when they do not go on from there, or too much has changed; no keys file is left
        """
        made: dict[TableName, KeysFile] = {}
        try:
            for table in self.tables:
                entry, lineage = base.entry(table.name.label), self.lineages[table.name]
                assert isinstance(lineage, Lineage)
                seen = Seen(
                    base.manifest.snapshot, self.snapshot.transactions, entry.relations, entry.late_transactions or ()
                )
                try:
                    made[table.name] = self._write(self.conn, table, lineage, (self.location, base, seen))
                except (BrokenLine, IntegrityFault) as fault:
                    raise _Full(f"{table.name.label}: {fault}") from None
                except DatabaseFault as fault:
                    self.cancel.check()
                    if self.conn.broken:
                        raise
                    self.snapshot.rejoin(self.conn)
                    raise _Full(fault.message) from None
            rows = sum(keys.tally.rows for keys in made.values())
            written = sum(keys.tally.written for keys in made.values())
            deleted = sum(keys.tally.deleted for keys in made.values())
            if written > rows * _SHARE or deleted > (rows - written + deleted) * _SHARE:
                raise _Full(f"more than half has changed: {written:,} of {rows:,} rows written, {deleted:,} deleted")
        except BaseException:
            for keys in made.values():
                self.claim.drop(*keys.parts)
            raise
        return made

    def all_keys(self) -> dict[TableName, KeysFile]:
        """The keys of a full set; a table whose keys cannot be had is in the set without them."""
        made: dict[TableName, KeysFile] = {}
        left = [
            (table, line)
            for table in self.tables
            if table.name not in self.snapshot.failures and isinstance(line := self.lineages[table.name], Lineage)
        ]
        try:
            while left:
                with self.snapshot.joined(kept=True) as conn:
                    while left and not conn.broken:
                        self._keys_of(conn, *left.pop(0), made)
        except BackupError as fault:
            self.cancel.check()
            _log.warning("keys are not in the set, no connection can be had for them: %s", fault.english)
        return made

    def _keys_of(self, conn: Connection[Any], table: Table, lineage: Lineage, made: dict[TableName, KeysFile]) -> None:
        try:
            made[table.name] = self._write(conn, table, lineage, None)
        except BackupError as fault:
            self.cancel.check()
            _log.warning("%s: its keys are not in the set: %s", table.name.label, fault.english)
            if not conn.broken:
                self.snapshot.rejoin(conn)

    def _write(
        self, conn: Connection[Any], table: Table, lineage: Lineage, base: tuple[Location, Base, Seen] | None
    ) -> KeysFile:
        with translated(table=table.name.label):
            return write_keys(
                conn,
                table,
                lineage,
                claim=self.claim,
                compression=self.kind.compression,
                cancel=self.cancel,
                base=base,
            )
