"""The story of a backup that is not made: what it would read, how large that is, whether there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, StorageFault
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.dump.ranges import Estimate, estimate
from pgvector_backup.engine.postgres import snapshot as snapshots
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets.holding import Holding
from pgvector_backup.engine.store.root import foresee, locate, require_root


@dataclass(frozen=True)
class Preview:
    """What a backup would do.

    :param tables: by label, what each would come to, or why it would fail
    :param free: bytes; None where nobody can say
    """

    directory: str
    source: Source
    tables: Mapping[str, Estimate | BackupError]
    free: int | None

    @property
    def needed(self) -> int:
        """Bytes on disk, all tables together, as far as they can be guessed."""
        return sum(one.stored or 0 for one in self.tables.values() if isinstance(one, Estimate))

    @property
    def failure(self) -> BackupError | None:
        """What would make the backup fail, as far as can be told."""
        failures = [one for one in self.tables.values() if isinstance(one, BackupError)]
        if failures:
            return failures[0]
        if self.free is not None and self.needed > self.free:
            return StorageFault(
                f"{self.directory}: the backup needs about {self.needed:,} bytes and {self.free:,} are free; free "
                "some, or move backup_root"
            )
        return None

    def to_json(self) -> dict[str, Any]:
        """The preview, for programs; sizes are estimates in bytes."""
        failure = self.failure
        return {
            "dry_run": True,
            "backup_performed": False,
            "backup_directory": self.directory,
            "database": self.source.database,
            "server_version": self.source.server_version,
            "tables": {label: _estimate_json(one) for label, one in self.tables.items()},
            "needed_bytes": self.needed,
            "needed_size": human_size(self.needed),
            "free_bytes": self.free,
            **messages.all_beside("errors", [] if failure is None else [failure.message]),
        }


def preview(request: BackupRequest, settings: Settings, connect: Connect, *, cancel: Cancel | None = None) -> Preview:
    """Look at the tables and the place as a backup would; a few pages of each are read, nothing is written.

    :raises NotFound: when the task's directory is not there
    :raises DatabaseFault: when the server cannot be reached
    """
    cancel = cancel or Cancel()
    kind = FileKind.named(request.file_format, request.compression, request.compression_level).require()
    if not settings.may_make_root:
        require_root(settings.backup_root)
    Holding.of(settings, locate(settings.backup_root, request.task_id, settings.backup_directory))
    directory, free = foresee(settings.backup_root, request.task_id, settings.backup_directory)
    tables: dict[str, Estimate | BackupError] = {}
    with snapshots.take(
        connect,
        settings.tables,
        cancel,
        lock_timeout=settings.lock_timeout,
        with_children=settings.include_children,
        views=settings.back_up_views,
    ) as snapshot:
        for name in settings.tables:
            failed = snapshot.failures.get(name)
            if failed is not None:
                tables[name.label] = failed
                continue
            try:
                with snapshot.joined(kept=True) as conn, translated(table=name.label):
                    tables[name.label] = estimate(conn, snapshot.described[name], kind)
            except BackupError as fault:
                cancel.check()
                tables[name.label] = fault
        return Preview(directory, snapshot.source, tables, free)


def _estimate_json(one: Estimate | BackupError) -> dict[str, Any]:
    if isinstance(one, BackupError):
        return {"success": False, **messages.beside("error", one.message)}
    size = None if one.stored is None else human_size(one.stored)
    return {"success": True, "rows": one.rows, "raw_bytes": one.bytes, "bytes": one.stored, "file_size": size}
