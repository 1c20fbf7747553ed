"""What a restore did, or would do: the public result of its run, and its section in the log file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError, Conflict
from pgvector_backup.engine.contract.databases import database_json
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.run_log import section
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.postgres.source import Source


@dataclass(frozen=True)
class TableRestore:
    """What became of one table of a set. Seconds, bytes.

    :param rows: of the set that are in the table now as they were: inserted, or put in the place of another
    :param updated: of these, rows that took the place of one with the same key
    :param skipped: rows of the set that gave way to one with the same key
    :param left_out: rows of the set that were not asked for: of other collections
    :param conflicts: of a restore that is only planned, rows of the set whose key is there already
    :param rows_before: in the table, before it was emptied if it was
    :param created: whether the table was made
    :param method: how rows were sent: ``binary``, ``csv``, or ``csv as binary`` where vectors were parsed here
    :param indexes: those built after the load
    :param notes: what is worth knowing of it
    """

    duration: float
    file: str
    bytes: int
    rows: int = 0
    updated: int = 0
    skipped: int = 0
    left_out: int = 0
    conflicts: int = 0
    rows_before: int = 0
    rows_after: int = 0
    target: str = ""
    created: bool = False
    method: str = ""
    fingerprint: str | None = None
    indexes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The table's entry in ``restore_results``."""
        return {
            "success": True,
            "source_file": self.file,
            "rows_restored": self.rows,
            "file_size": human_size(self.bytes),
            "duration": round(self.duration, 3),
            "bytes": self.bytes,
            "rows_updated": self.updated,
            "rows_skipped": self.skipped,
            "rows_left_out": self.left_out,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "target": self.target,
            "created": self.created,
            "method": self.method,
            "fingerprint": self.fingerprint,
            "indexes_built": list(self.indexes),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class SavedFirst:
    """The set that a restore made of the tables before it replaced rows of theirs.

    :param rows: by label
    """

    backup_path: str
    backup_id: str
    rows: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """``safety_backup`` of the result."""
        return {"backup_path": self.backup_path, "timestamp": self.backup_id, "rows": dict(self.rows)}


@dataclass(frozen=True)
class RestoreResult:
    """What a restore did, or with ``planned`` what it would have done.

    :param backup_path: the set's location below the backup root
    :param created_at: of the set, ISO 8601
    :param truncated: rows before and after, of the tables that were emptied first
    :param source: the database that the set is of; None: nothing tells
    :param target: the database that it went into
    :param into_other_database: why the request has to say that this may be another database; None: it need not
    :param notes: what is worth knowing of the restore as a whole
    :param saved: what was backed up first; None: nothing
    """

    backup_path: str
    backup_id: str
    created_at: str
    tables: Mapping[str, TableRestore]
    truncated: Mapping[str, tuple[int, int]]
    duration: float
    timestamp: datetime
    planned: bool = False
    truncate_duration: float = 0.0
    source: Source | None = None
    target: Source | None = None
    into_other_database: str | None = None
    notes: tuple[str, ...] = ()
    saved: SavedFirst | None = None

    def refusal(self, request: RestoreRequest) -> BackupError | None:
        """Of a restore that is only planned: why it would be refused, as far as can be foreseen."""
        if not self.planned:
            return None
        if self.into_other_database is not None and not request.into_other_database:
            return Conflict(self.into_other_database)
        conflicts = sum(table.conflicts for table in self.tables.values())
        if not conflicts or request.on_conflict != "error":
            return None
        return Conflict(
            f"{conflicts:,} keys of the set are there already, so the restore would be refused; on_conflict: skip puts "
            "back what is missing and leaves the rows that are there"
        )

    def to_json(self) -> dict[str, Any]:
        """The result as users of the older API know it."""
        return {
            **messages.beside("response", messages.RESTORE_PLANNED if self.planned else messages.RESTORE_DONE),
            "restore_performed": not self.planned,
            "truncate_performed": bool(self.truncated) and not self.planned,
            "backup_info": backup_info(self.backup_path, self.backup_id, self.created_at),
            "source_database": database_json(self.source),
            "target_database": database_json(self.target),
            "same_database": None if self.source is None else self.source.is_database_of(self.target),
            "needs_into_other_database": self.into_other_database is not None,
            "truncate_results": {
                label: {
                    "success": True,
                    "rows_before": before,
                    "rows_after": after,
                    "duration": round(self.truncate_duration, 3),
                }
                for label, (before, after) in self.truncated.items()
            },
            "restore_results": {label: table.to_json() for label, table in self.tables.items()},
            "notes": list(self.notes),
            "errors": [],
            "dry_run": self.planned,
            **({} if self.saved is None else {"safety_backup": self.saved.to_json()}),
            "duration": round(self.duration, 3),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }


def backup_info(backup_path: str | None, backup_id: str | None, created_at: str | None) -> dict[str, Any]:
    """Which set a restore is of."""
    date = None if created_at is None else datetime.fromisoformat(created_at).strftime("%Y-%m-%d %H:%M:%S")
    return {"backup_path": backup_path, "timestamp": backup_id, "backup_date": date}


@dataclass
class RestoreReport:
    """One restore run from end to end.

    :param restore: `RestoreResult.to_json`, None when it failed: nothing was changed then
    :param asked: the set that was asked for: path or task, and timestamp
    :param faults: the errors, in order
    :param certain: whether the restore itself said so; otherwise nobody knows what it has done
    :param note: why nothing was restored, where that is no failure
    :param saved: of a restore that failed: what was backed up first, as `SavedFirst.to_json`
    """

    restore: Mapping[str, Any] | None
    asked: tuple[str | None, str | None]
    timestamp: datetime
    faults: list[str] = field(default_factory=list)
    certain: bool = True
    note: str | None = None
    saved: Mapping[str, Any] | None = None

    @property
    def planned(self) -> bool:
        """Whether it was only to be told what would be done."""
        return bool((self.restore or {}).get("dry_run"))

    def to_json(self) -> dict[str, Any]:
        """The result as users of the older API know it, of a restore that failed too."""
        if self.restore is not None and not self.faults:
            return dict(self.restore)
        if self.planned:
            return {**(self.restore or {}), **messages.all_beside("errors", list(dict.fromkeys(self.faults)))}
        return {
            **messages.beside("response", messages.RESTORE_FAILED if self.faults else messages.NOTHING_DONE),
            "restore_performed": False if self.certain else None,
            "truncate_performed": False,
            "backup_info": backup_info(*self.asked, None),
            "truncate_results": {},
            "restore_results": {},
            **messages.all_beside("errors", list(dict.fromkeys(self.faults))),
            "dry_run": False,
            **({} if self.saved is None else {"safety_backup": dict(self.saved)}),
            "duration": 0.0,
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def log_section(self, *, run_id: str) -> str:
        """The run's section of ``vector_backup_log.txt``."""
        result = self.to_json()
        info = result["backup_info"]
        lines = [
            ("from", info["backup_path"] or "(none)"),
            ("run_id", run_id),
            ("duration", f"{result['duration']:.3f} s"),
        ]
        for key, words in (("source_database", "set of"), ("target_database", "into")):
            if (told := result.get(key)) is not None:
                lines.append((words, f"database {told['database']}, server {told['system_identifier'] or 'unknown'}"))
        lines += [("note", note) for note in result.get("notes", ())]
        if (saved := result.get("safety_backup")) is not None:
            lines.append(("saved", f"the tables as they were, as set {saved['timestamp']} in {saved['backup_path']}"))
        for label, table in result["truncate_results"].items():
            lines.append(("truncate", f"{label}: {table['rows_before']:,} rows -> {table['rows_after']:,}"))
        for label, table in result["restore_results"].items():
            lines.append(("table", f"{label}: {_restore_line(table)}"))
            lines += [("note", note) for note in table["notes"]]
        if self.note is not None:
            lines.append(("restore", f"{self.note}; the tables are as they were"))
        elif not self.certain:
            lines.append(("tables", "UNKNOWN, look at them: all of the set is there, or nothing was changed"))
        elif result["errors"]:
            lines.append(("tables", "as they were: a restore is one transaction"))
        lines += [("error", error) for error in result.get("errors_en", result["errors"])]
        state = "RESTORE FAILED" if result["errors"] else "RESTORE OK"
        return section(result["timestamp"], state, info["timestamp"], lines)


def _restore_line(table: Mapping[str, Any]) -> str:
    line = f"{table['rows_restored']:,} rows from {table['source_file']} ({table['file_size']}) into {table['target']}"
    for key, words in (("rows_updated", "updated"), ("rows_skipped", "skipped"), ("rows_left_out", "left out")):
        if table[key]:
            line += f", {table[key]:,} {words}"
    if table["indexes_built"]:
        line += f", indexes built: {', '.join(table['indexes_built'])}"
    return f"{line}, {table['duration']:.3f} s"
