"""The engine's stories against a test's own database and directory, in as few words as possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.contract.backup_result import BackupResult, TruncateResult
from pgvector_backup.engine.contract.copy_result import CopyResult
from pgvector_backup.engine.contract.requests import BackupRequest, CopyRequest, RestoreRequest, VerifyRequest
from pgvector_backup.engine.contract.restore_result import RestoreResult, SavedFirst
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.verify_result import VerifyResult
from pgvector_backup.engine.copy_sets import copy
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.restore import restore
from pgvector_backup.engine.truncate import truncate
from pgvector_backup.engine.verify import verify
from tests.helpers import langchain
from tests.helpers.database import Database


@dataclass
class House:
    """One test's database, directory and settings; every story can be told in one call."""

    database: Database
    root: Path
    settings: Settings = field(init=False)
    connect: Callable[[], psycopg.Connection[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(backup_root=self.root, lock_timeout=2)
        self.connect = self.database.connect

    @property
    def directory(self) -> Path:
        """Where sets without a task id go."""
        return self.root / "vector_bak"

    def files(self) -> list[str]:
        """What lies there now, by name."""
        return sorted(path.name for path in self.directory.iterdir()) if self.directory.exists() else []

    def configure(self, **changes: Any) -> None:
        """Change settings; table lists may be given as text."""
        for key in ("tables", "truncate_tables"):
            if isinstance(changes.get(key), str):
                changes[key] = parse_names(changes[key])
        if "tables" in changes:
            changes.setdefault("truncate_tables", ())
        self.settings = replace(self.settings, **changes)

    def langchain(self, rows: int = 58) -> None:
        """Make LangChain's two tables."""
        self.database.run(langchain.filled(rows))

    def backup(self, *, now: datetime | None = None, cancel: Cancel | None = None, **request: Any) -> BackupResult:
        """Back up as asked."""
        return backup(
            BackupRequest.from_mapping(request),
            self.settings,
            self.connect,
            now=now or datetime.now(timezone.utc),
            run_id="test",
            cancel=cancel,
        )

    def copy(self, *roots: Any, cancel: Cancel | None = None, **request: Any) -> CopyResult:
        """Copy as asked, by default the newest set, to other roots; none named: to those configured."""
        if not {"backup_path", "task_id", "all"} & set(request):
            request["backup_path"] = "vector_bak"
        settings = replace(self.settings, copy_roots=roots or self.settings.copy_roots)
        return copy(CopyRequest.from_mapping(request), settings, now=datetime.now(timezone.utc), cancel=cancel)

    def truncate(self, result: BackupResult, *, cancel: Cancel | None = None, **request: Any) -> TruncateResult:
        """Empty the tables on the word of a backup."""
        assert result.manifest_file is not None
        return truncate(
            BackupRequest.from_mapping(request),
            self.settings,
            self.connect,
            manifest_file=result.manifest_file,
            cancel=cancel,
        )

    def restore(
        self,
        *,
        cancel: Cancel | None = None,
        dry_run: bool = False,
        into: Database | None = None,
        saved_to: list[SavedFirst] | None = None,
        **request: Any,
    ) -> RestoreResult:
        """Restore as asked: by default the newest set, into the database that it is of; ``into`` another is meant.

        :param saved_to: gets what was backed up first
        """
        if "backup_path" not in request and "task_id" not in request:
            request["backup_path"] = "vector_bak"
        request.setdefault("timestamp", "latest")
        request.setdefault("into_other_database", into is not None)
        return restore(
            RestoreRequest.from_mapping(request),
            self.settings,
            self.connect if into is None else into.connect,
            now=datetime.now(timezone.utc),
            run_id="test",
            cancel=cancel,
            dry_run=dry_run,
            on_saved=None if saved_to is None else saved_to.append,
        )

    def verify(self, *, cancel: Cancel | None = None, **request: Any) -> VerifyResult:
        """Verify as asked; a drill runs on this database's server unless ``connect`` says otherwise."""
        connect = request.pop("connect", self.connect)
        now = datetime.now(timezone.utc)
        return verify(
            VerifyRequest.from_mapping(request), self.settings, connect, now=now, run_id="test", cancel=cancel
        )

    def count(self, table: str) -> int:
        """Rows that a table holds now."""
        rows = self.database.run(f"SELECT count(*) FROM {table}")
        return int(rows[0][0])
