"""What a backup and a truncate did: the public result of their run, and its section in the log file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.contract.databases import database_json
from pgvector_backup.engine.contract.run_log import section
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.postgres.source import Source


def _noted(notes: Sequence[str]) -> dict[str, list[str]]:
    """``notes`` of a result, which is there when there is something to say."""
    return {"notes": list(notes)} if notes else {}


def _known(**figures: int | None) -> dict[str, int]:
    return {name: figure for name, figure in figures.items() if figure is not None}


_OF_THE_LINE: Final = ("mode", "base_backup_id", "chain_length", "full_because")

_USED: Final = ("connection", "source_database")
"""What a backup was made by, and of: the connection is told by whoever opened it."""
"""What a result tells of what its set stands on."""


@dataclass(frozen=True)
class TableBackup:
    """What became of one table; ``failure`` None means its file is whole and on disk. Seconds, bytes.

    :param rows: of the table at that moment; of these the file holds ``rows_written``
    :param notes: what is worth knowing of it, such as rows that are not in the set
    :param rows_deleted: rows of the base that the table has no more
    :param rows_unchanged: rows that lie in the files of the sets that this one stands on
    """

    duration: float
    rows: int = 0
    bytes: int = 0
    file: str = ""
    sha256: str = ""
    failure: BackupError | None = None
    notes: tuple[str, ...] = ()
    rows_written: int | None = None
    rows_deleted: int | None = None
    rows_unchanged: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The table's entry in ``tables_backed_up``."""
        if self.failure is not None:
            told = messages.beside("error", self.failure.message)
            return {"success": False, **told, "duration": round(self.duration, 3)}
        return {
            "success": True,
            "row_count": self.rows,
            **_known(
                rows_written=self.rows_written, rows_deleted=self.rows_deleted, rows_unchanged=self.rows_unchanged
            ),
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
    :param notes: what is worth knowing of the set as a whole
    :param advice: what would make the installation safer
    :param mode: ``incremental`` or ``full``; None where nothing tells
    :param base_backup_id: the set that an increment stands on; None of a full set
    :param chain_length: sets that a restore reads, this one among them
    :param full_because: why a set that was to be an increment is a full one
    :param source: the database that was backed up
    """

    directory: str
    backup_id: str | None
    manifest_file: str | None
    tables: Mapping[str, TableBackup]
    duration: float
    notes: tuple[str, ...] = ()
    advice: str | None = None
    mode: str | None = None
    base_backup_id: str | None = None
    chain_length: int = 1
    full_because: str | None = None
    source: Source | None = None

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
            **self._line(),
            **({} if self.source is None else {"source_database": database_json(self.source)}),
            "tables_backed_up": {label: table.to_json() for label, table in self.tables.items()},
            **messages.all_beside(
                "errors", [table.failure.message for table in self.tables.values() if table.failure is not None]
            ),
            **_noted([*self.notes, *(note for table in self.tables.values() for note in table.notes)]),
            **({} if self.advice is None else {"advice": self.advice}),
            "duration": round(self.duration, 3),
        }

    def _line(self) -> dict[str, Any]:
        return {} if self.mode is None else {name: getattr(self, name) for name in _OF_THE_LINE}


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
    :param copy: `CopyResult.to_json`, empty when it left nothing; None where no copies are made
    :param copy_fault: why the copy did not do all that it should
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
    copy: Mapping[str, Any] | None = None
    copy_fault: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as the contract with users has it."""
        if self.planned:
            return self._plan()
        backup, truncate, copy = self.backup or {}, self.truncate or {}, self.copy or {}
        uncopied = [*messages.all_heard(copy, "errors"), *([] if self.copy_fault is None else [self.copy_fault])]
        errors = list(dict.fromkeys([*messages.all_heard(backup, "errors"), *uncopied, *self.faults]))
        performed = bool(backup.get("backup_performed", False))
        if self.truncate_fault is not None:
            response = messages.TRUNCATE_FAILED
        elif errors:
            response = messages.COPY_FAILED if performed and set(errors) == set(uncopied) else messages.BACKUP_FAILED
        elif self.backup_unknown:
            response = messages.OUTCOME_UNKNOWN
        else:
            response = messages.BACKUP_DONE if performed else messages.NOTHING_DONE
        return {
            **messages.beside("response", response),
            "backup_performed": None if self.backup_unknown else performed,
            "truncate_performed": bool(truncate.get("truncate_performed", False)) if self.truncate_certain else None,
            "backup_directory": backup.get("backup_directory"),
            "backup_id": backup.get("backup_id"),
            "manifest_file": backup.get("manifest_file"),
            **{name: backup[name] for name in (*_OF_THE_LINE, *_USED) if name in backup},
            "tables_backed_up": backup.get("tables_backed_up", {}),
            "truncate_results": truncate.get("truncate_results", {}),
            **({} if self.copy is None else {"copies": copy.get("copies", [])}),
            **messages.all_beside("errors", errors),
            **_noted([*backup.get("notes", ()), *truncate.get("notes", ())]),
            **({"advice": backup["advice"]} if "advice" in backup else {}),
            "duration": round(sum(step.get("duration", 0.0) for step in (backup, copy, truncate)), 3),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    @property
    def planned(self) -> bool:
        """Whether it was only to be told what would be done."""
        return bool((self.backup or {}).get("dry_run"))

    def _plan(self) -> dict[str, Any]:
        told = messages.all_heard(self.backup or {}, "errors")
        return {
            **messages.beside("response", messages.BACKUP_PLANNED),
            **(self.backup or {}),
            "truncate_performed": False,
            **messages.all_beside("errors", list(dict.fromkeys([*told, *self.faults]))),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def log_section(self, *, task_id: str | None, run_id: str) -> str:
        """The run's section of ``vector_backup_log.txt``: readable at three in the morning."""
        result = self.to_json()
        lines = [
            ("task_id", task_id or "(none)"),
            ("run_id", run_id),
            ("duration", f"{result['duration']:.3f} s"),
        ]
        if self.backup_unknown:
            lines.append(("backup", f"unknown: {self.backup_note or 'nothing is recorded of it'}"))
        elif self.backup_note is not None:
            lines.append(("backup", f"{self.backup_note}; nothing was backed up"))
        elif not result["backup_performed"] and not result["errors"]:
            lines.append(("backup", "not asked for; nothing was done"))
        if result.get("base_backup_id") is not None:
            lines.append(("mode", f"incremental on {result['base_backup_id']}, chain of {result['chain_length']} sets"))
        elif result.get("full_because") is not None:
            lines.append(("mode", f"full, not incremental: {result['full_because']}"))
        for label, table in result["tables_backed_up"].items():
            lines.append(("table", f"{label}: {_table_line(label, table)}"))
        lines += [("copy", _copy_line(copy)) for copy in result.get("copies", ())]
        lines.append(("truncate", self._truncate_line(result["truncate_results"])))
        lines += [("note", note) for note in result.get("notes", ())]
        lines += [("advice", result["advice"])] if "advice" in result else []
        lines += [("error", error) for error in result.get("errors_en", result["errors"])]
        return section(result["timestamp"], "FAILED" if result["errors"] else "OK", result["backup_id"], lines)

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


def _table_line(label: str, table: Mapping[str, Any]) -> str:
    if not table["success"]:
        return f"FAILED: {messages.english(messages.heard(table, 'error')).removeprefix(f'{label}: ')}"
    parts = ""
    if table.get("rows_unchanged") or table.get("rows_deleted"):
        parts = f" ({table['rows_written']:,} written, {table['rows_deleted']:,} deleted since the base)"
    return (
        f"{table['row_count']:,} rows{parts}, {table['file_size']}, {table['duration']:.3f} s, "
        f"{table['backup_file']}, sha256 {table['sha256']}"
    )


def _copy_line(copy: Mapping[str, Any]) -> str:
    if not copy["success"]:
        return f"{copy['root']}: FAILED: {messages.english(messages.heard(copy, 'error'))}"
    return f"{copy['root']}: whole, {human_size(copy['bytes_copied'])} sent, {copy['duration']:.3f} s"
