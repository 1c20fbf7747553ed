"""The public result of a run, and its section in the log file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError

_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")


def human_size(size: int) -> str:
    """A size in 1024-based units with one decimal, e.g. ``209.0 B``, ``764.0 KB``, ``1.2 GB``."""
    amount, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        # 1023.95 would be written 1024.0
        if amount < 1023.95:
            break
        if unit != _UNITS[-1]:
            amount /= 1024
    return f"{amount:.1f} {unit}"


def _noted(notes: Sequence[str]) -> dict[str, list[str]]:
    """``notes`` of a result, which is there when there is something to say."""
    return {"notes": list(notes)} if notes else {}


@dataclass(frozen=True)
class TableBackup:
    """What became of one table; ``failure`` None means its file is whole and on disk. Seconds, bytes.

    :param notes: what is worth knowing of it, such as rows that are not in the set
    """

    duration: float
    rows: int = 0
    bytes: int = 0
    file: str = ""
    sha256: str = ""
    failure: BackupError | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The table's entry in ``tables_backed_up``."""
        if self.failure is not None:
            return {"success": False, "error": self.failure.message, "duration": round(self.duration, 3)}
        return {
            "success": True,
            "row_count": self.rows,
            "file_size": human_size(self.bytes),
            "backup_file": self.file,
            "duration": round(self.duration, 3),
            "bytes": self.bytes,
            "sha256": self.sha256,
            **_noted(self.notes),
        }


@dataclass(frozen=True)
class BackupResult:
    """What a backup did.

    :param backup_id: None when no set came to be
    """

    directory: str
    backup_id: str | None
    manifest_file: str | None
    tables: Mapping[str, TableBackup]
    duration: float

    @property
    def failure(self) -> BackupError | None:
        """The first table's failure; worth a retry only if every failure is."""
        failures = [table.failure for table in self.tables.values() if table.failure is not None]
        return next((failure for failure in failures if not failure.can_retry), None) or next(iter(failures), None)

    def to_json(self) -> dict[str, Any]:
        """The backup's part of the run's result."""
        return {
            "backup_performed": self.failure is None,
            "backup_directory": self.directory,
            "backup_id": self.backup_id,
            "manifest_file": self.manifest_file,
            "tables_backed_up": {label: table.to_json() for label, table in self.tables.items()},
            "errors": [table.failure.message for table in self.tables.values() if table.failure is not None],
            **_noted([note for table in self.tables.values() for note in table.notes]),
            "duration": round(self.duration, 3),
        }


@dataclass(frozen=True)
class TruncateResult:
    """What a truncate did: rows of each table as counted under its lock, before and after. Seconds.

    :param planned: nothing was emptied, only found out that it would be allowed
    :param notes: what has to be done besides
    """

    rows_before: Mapping[str, int]
    rows_after: Mapping[str, int]
    duration: float
    planned: bool = False
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The truncate's part of the run's result."""
        each = {
            label: {
                "success": True,
                "rows_before": before,
                "rows_after": self.rows_after[label],
                "duration": round(self.duration, 3),
            }
            for label, before in self.rows_before.items()
        }
        return {
            "truncate_performed": not self.planned,
            "truncate_results": each,
            **_noted(self.notes),
            "duration": round(self.duration, 3),
        }


@dataclass
class RunReport:
    """One run from end to end, put together from what its steps have left.

    :param backup: `BackupResult.to_json`, None when the backup left nothing
    :param truncate: `TruncateResult.to_json`, None when there was none or it failed
    :param faults: the errors of the steps, in order
    :param truncate_fault: why the truncate did not empty what it should
    :param truncate_certain: whether the truncate itself said so; otherwise nobody knows what it has done
    :param backup_unknown: whether it is not known if there was a backup
    :param backup_note: why there was none, where that is no failure
    :param truncate_note: likewise of the truncate
    """

    backup: Mapping[str, Any] | None
    truncate: Mapping[str, Any] | None
    truncate_asked: bool
    timestamp: datetime
    faults: list[str] = field(default_factory=list)
    truncate_fault: str | None = None
    truncate_certain: bool = True
    backup_unknown: bool = False
    backup_note: str | None = None
    truncate_note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as the contract with users has it."""
        backup, truncate = self.backup or {}, self.truncate or {}
        errors = list(dict.fromkeys([*backup.get("errors", ()), *self.faults]))
        performed = bool(backup.get("backup_performed", False))
        if self.truncate_fault is not None:
            response = messages.TRUNCATE_FAILED
        elif errors:
            response = messages.BACKUP_FAILED
        elif self.backup_unknown:
            response = messages.OUTCOME_UNKNOWN
        else:
            response = messages.BACKUP_DONE if performed else messages.NOTHING_DONE
        return {
            "response": response,
            "backup_performed": None if self.backup_unknown else performed,
            "truncate_performed": bool(truncate.get("truncate_performed", False)) if self.truncate_certain else None,
            "backup_directory": backup.get("backup_directory"),
            "backup_id": backup.get("backup_id"),
            "manifest_file": backup.get("manifest_file"),
            "tables_backed_up": backup.get("tables_backed_up", {}),
            "truncate_results": truncate.get("truncate_results", {}),
            "errors": errors,
            **_noted([*backup.get("notes", ()), *truncate.get("notes", ())]),
            "duration": round(backup.get("duration", 0.0) + truncate.get("duration", 0.0), 3),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def log_section(self, *, task_id: str | None, run_id: str) -> str:
        """The run's section of ``vector_backup_log.txt``: readable at three in the morning."""
        result = self.to_json()
        state = "FAILED" if result["errors"] else "OK"
        lines = [
            f"==== {result['timestamp']}  {state}  {result['backup_id'] or '(no set)'}",
            f"task_id:   {task_id or '(none)'}",
            f"run_id:    {run_id}",
            f"duration:  {result['duration']:.3f} s",
        ]
        if self.backup_unknown:
            lines.append(f"backup:    unknown: {self.backup_note or 'nothing is recorded of it'}")
        elif self.backup_note is not None:
            lines.append(f"backup:    {self.backup_note}; nothing was backed up")
        elif not result["backup_performed"] and not result["errors"]:
            lines.append("backup:    not asked for; nothing was done")
        for label, table in result["tables_backed_up"].items():
            lines.append(f"table:     {label}: {_table_line(label, table)}")
        lines.append(f"truncate:  {self._truncate_line(result['truncate_results'])}")
        lines += [f"note:      {note}" for note in result.get("notes", ())]
        lines += [f"error:     {error}" for error in result["errors"]]
        return "\n".join(lines) + "\n\n"

    def _truncate_line(self, tables: Mapping[str, Any]) -> str:
        if self.truncate_fault is not None and not self.truncate_certain:
            return f"UNKNOWN, look at the tables: {self.truncate_fault}"
        if self.truncate_note is not None:
            return self.truncate_note
        if self.truncate_fault is not None:
            return f"REFUSED, the tables are as they were: {self.truncate_fault}"
        if not tables:
            return "not carried out" if self.truncate_asked else "not asked for"
        return "; ".join(
            f"{label}: {table['rows_before']:,} rows -> {table['rows_after']:,}" for label, table in tables.items()
        )


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
class RestoreResult:
    """What a restore did, or with ``planned`` what it would have done.

    :param backup_path: the set's location below the backup root
    :param created_at: of the set, ISO 8601
    :param truncated: rows before and after, of the tables that were emptied first
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

    def to_json(self) -> dict[str, Any]:
        """The result as users of the older API know it."""
        return {
            "response": messages.RESTORE_PLANNED if self.planned else messages.RESTORE_DONE,
            "restore_performed": not self.planned,
            "truncate_performed": bool(self.truncated) and not self.planned,
            "backup_info": backup_info(self.backup_path, self.backup_id, self.created_at),
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
            "errors": [],
            "dry_run": self.planned,
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
    """

    restore: Mapping[str, Any] | None
    asked: tuple[str | None, str | None]
    timestamp: datetime
    faults: list[str] = field(default_factory=list)
    certain: bool = True
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as users of the older API know it, of a restore that failed too."""
        if self.restore is not None and not self.faults:
            return dict(self.restore)
        return {
            "response": messages.RESTORE_FAILED if self.faults else messages.NOTHING_DONE,
            "restore_performed": False if self.certain else None,
            "truncate_performed": False,
            "backup_info": backup_info(*self.asked, None),
            "truncate_results": {},
            "restore_results": {},
            "errors": list(dict.fromkeys(self.faults)),
            "dry_run": False,
            "duration": 0.0,
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def log_section(self, *, run_id: str) -> str:
        """The run's section of ``vector_backup_log.txt``."""
        result = self.to_json()
        state = "FAILED" if result["errors"] else "OK"
        info = result["backup_info"]
        lines = [
            f"==== {result['timestamp']}  RESTORE {state}  {info['timestamp'] or '(no set)'}",
            f"from:      {info['backup_path'] or '(none)'}",
            f"run_id:    {run_id}",
            f"duration:  {result['duration']:.3f} s",
        ]
        for label, table in result["truncate_results"].items():
            lines.append(f"truncate:  {label}: {table['rows_before']:,} rows -> {table['rows_after']:,}")
        for label, table in result["restore_results"].items():
            lines.append(f"table:     {label}: {_restore_line(table)}")
            lines += [f"note:      {note}" for note in table["notes"]]
        if self.note is not None:
            lines.append(f"restore:   {self.note}; the tables are as they were")
        elif not self.certain:
            lines.append("tables:    UNKNOWN, look at them: all of the set is there, or nothing was changed")
        elif result["errors"]:
            lines.append("tables:    as they were: a restore is one transaction")
        lines += [f"error:     {error}" for error in result["errors"]]
        return "\n".join(lines) + "\n\n"


def _restore_line(table: Mapping[str, Any]) -> str:
    line = f"{table['rows_restored']:,} rows from {table['source_file']} ({table['file_size']}) into {table['target']}"
    for key, words in (("rows_updated", "updated"), ("rows_skipped", "skipped"), ("rows_left_out", "left out")):
        if table[key]:
            line += f", {table[key]:,} {words}"
    if table["indexes_built"]:
        line += f", indexes built: {', '.join(table['indexes_built'])}"
    return f"{line}, {table['duration']:.3f} s"


def _table_line(label: str, table: Mapping[str, Any]) -> str:
    if not table["success"]:
        return f"FAILED: {str(table['error']).removeprefix(f'{label}: ')}"
    return (
        f"{table['row_count']:,} rows, {table['file_size']}, {table['duration']:.3f} s, "
        f"{table['backup_file']}, sha256 {table['sha256']}"
    )


_LOG_TAIL: Final = 16 << 20
"""How much of a log file is searched for a section, from its end."""


def section_of(log: BinaryIO, backup_id: str) -> str | None:
    """The section of the run that made a set; None when the log does not hold it any more.

    :param log: the log file, open for reading
    """
    log.seek(max(log.seek(0, os.SEEK_END) - _LOG_TAIL, 0))
    for section in log.read().decode(errors="replace").split("\n\n"):
        first = section.lstrip().partition("\n")[0]
        # Of a verify or a restore of that set it says one word more.
        if first.startswith("==== ") and first.split()[3:] == [backup_id]:
            return section.strip()
    return None
