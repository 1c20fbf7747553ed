"""The story before a restore that replaces rows: the tables as they are now, kept as one more set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class SafetyBackup:
    """How a restore backs up first.

    :param location: of the set that is restored; the new one comes beside it
    """

    request: RestoreRequest
    settings: Settings
    connect: Connect
    location: Location
    now: datetime
    run_id: str | None
    cancel: Cancel
    on_progress: OnProgress | None

    def save(self, conn: Connection[Any], where: Sequence[Place]) -> SavedFirst | None:
        """Back up the tables that rows go into, as far as they are there; None where nothing could be lost.

        :raises BackupError: when one of them could not be backed up; nothing was changed then
        """
        there = [place for place in where if not place.created]
        if not self.request.replaces or not there:
            return None
        settings = replace(
            self.settings,
            tables=tuple(_called(conn, place) for place in there),
            truncate_tables=(),
        )
        try:
            result = backup(
                BackupRequest.from_mapping({"task_id": self.location.task_id, "mode": "full", **_form(there)}),
                settings,
                self.connect,
                now=self.now,
                run_id=self.run_id,
                cancel=self.cancel,
                on_progress=self.on_progress,
            )
        except Cancelled:
            raise
        except BackupError as fault:
            raise _stopping(fault) from fault
        if result.failure is not None:
            raise _stopping(result.failure)
        assert result.backup_id is not None
        saved = SavedFirst(
            self.location.relative_path,
            result.backup_id,
            {label: table.rows for label, table in result.tables.items()},
        )
        _log.info("the tables as they were are kept as set %s in %s", saved.backup_id, saved.backup_path)
        return saved


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
