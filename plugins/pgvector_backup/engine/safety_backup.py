"""The story before a restore that replaces rows: the tables as they are now, kept as one more set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, Cancelled
from pgvector_backup.engine.base.progress import OnProgress
from pgvector_backup.engine.contract.requests import BackupRequest, RestoreRequest
from pgvector_backup.engine.contract.restore_result import SavedFirst
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.postgres import tables
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.engine.postgres.table_name import TableName, parse_names
from pgvector_backup.engine.store.location import Location

_log: Final = logging.getLogger(__name__)


OnSaved = Callable[[SavedFirst], None]
"""Told of the set once it is on disk, so that it is known whatever becomes of the restore."""


@dataclass
class SafetyBackup:
    """How a restore backs up first.

    :param location: of the set that is restored; the new one comes beside it
    :param restored: the set that is restored
    :param saved: the set that was made, once it is there
    """

    request: RestoreRequest
    settings: Settings
    location: Location
    restored: str
    now: datetime
    run_id: str | None
    cancel: Cancel
    on_progress: OnProgress | None
    on_saved: OnSaved | None
    saved: SavedFirst | None = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Have whatever fails after it say where the tables as they were are kept."""
        try:
            yield
        except BackupError as fault:
            if self.saved is not None:
                fault.add(f"what was backed up first is kept as set {self.saved.backup_id} in {self.saved.backup_path}")
            raise

    def save(self, conn: Connection[Any], where: Sequence[Place], connect: Connect) -> None:
        """Back up the tables that rows go into, as far as they are there, if that is asked for and rows could be lost.

        :param connect: to the server that `conn` is to
        :raises BackupError: when one of them could not be backed up; nothing was changed then
        """
        there = [place for place in where if not place.created]
        if not self.request.backup_before_restore or not self.request.replaces or not there:
            return
        settings = replace(
            self.settings,
            tables=tuple(_called(conn, place) for place in there),
            truncate_tables=(),
        )
        try:
            result = backup(
                BackupRequest.from_mapping({"task_id": self.location.task_id, "mode": "full", **_form(there)}),
                settings,
                connect,
                now=self.now,
                run_id=self.run_id,
                cancel=self.cancel,
                on_progress=self.on_progress,
                saved_before=self.restored,
            )
        except Cancelled:
            raise
        except BackupError as fault:
            raise _stopping(fault) from fault
        if result.failure is not None:
            raise _stopping(result.failure)
        assert result.backup_id is not None
        self.saved = SavedFirst(
            self.location.relative_path,
            result.backup_id,
            {label: table.rows for label, table in result.tables.items()},
        )
        _log.info("the tables as they were are kept as set %s in %s", self.saved.backup_id, self.saved.backup_path)
        if self.on_saved is not None:
            self.on_saved(self.saved)


def _called(conn: Connection[Any], place: Place) -> TableName:
    """As the set calls the table, where that is the same table: the two can then be compared, and restored alike."""
    (name,) = parse_names(place.stored.label)
    return name if tables.place(conn, name) == place.name else place.name


def _form(there: Sequence[Place]) -> Mapping[str, Any]:
    """Format and compression as those of the set that is restored."""
    entry = there[0].stored.entry
    return {} if entry is None else {"file_format": entry.format, "compression": entry.compression}


def _stopping(fault: BackupError) -> BackupError:
    text = messages.SAVING_FAILED.followed_by(fault.english)
    return type(fault)(text, can_retry=fault.can_retry)
