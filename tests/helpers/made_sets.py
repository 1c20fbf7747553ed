"""Backup sets to look at: one made by the engine itself, or many that differ in their names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.installation import configuration
from tests.helpers.database import Database


def make_set(
    database: Database, *, run_id: str = "manual__1", now: datetime | None = None, **asked: Any
) -> BackupResult:
    """One more set of the database, where the installation is configured to put it."""
    return backup(
        BackupRequest.from_mapping(asked),
        configuration.settings(),
        database.connect,
        now=now or datetime.now(timezone.utc),
        run_id=run_id,
    )


def multiply(directory: Path, backup_id: str, moments: Iterable[datetime]) -> list[str]:
    """Copies of a set, each under the name of another moment; the data is shared on disk."""
    manifest = Manifest.from_bytes((directory / f"manifest_{backup_id}.json").read_bytes())
    made = []
    for moment in moments:
        new_id = moment.strftime("%Y%m%d_%H%M%S")
        tables = []
        for table in manifest.tables:
            file, index = (name.replace(backup_id, new_id) for name in (table.file, table.index))
            os.link(directory / table.file, directory / file)
            os.link(directory / table.index, directory / index)
            tables.append(replace(table, file=file, index=index))
        script = None
        if manifest.script is not None:
            script = manifest.script.replace(backup_id, new_id)
            os.link(directory / manifest.script, directory / script)
        copy = replace(
            manifest,
            script=script,
            backup_id=new_id,
            created_at=moment.isoformat(),
            run_id=f"manual__{new_id}",
            tables=tuple(tables),
        )
        (directory / f"manifest_{new_id}.json").write_bytes(copy.to_bytes())
        made.append(new_id)
    return made


def days_before(moment: datetime, number: int) -> list[datetime]:
    """Moments a day apart, going back."""
    return [moment - timedelta(days=day) for day in range(1, number + 1)]
