"""What a verify found, of a table, a set, all of them: the public result, and what is written beside a set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError, IntegrityFault
from pgvector_backup.engine.contract.requests import Depth
from pgvector_backup.engine.contract.run_log import section

_SPELT_OUT: Final = 10
"""Faults of one table that are spelt out; further ones are counted."""


@dataclass
class Inspection:
    """What a table's file turned out to hold; ``faults`` empty means that all that was looked at is as it should be.

    :param rows: counted where rows were decoded, otherwise as the index lists them
    :param fingerprint: ``equal`` to the manifest's, ``other``, or why it was not compared
    :param vectors: by column: how many there are, and their dimensions
    :param notes: what could not be looked at, and why
    """

    file: str
    bytes: int = 0
    rows: int | None = None
    blocks: int | None = None
    damaged_blocks: int = 0
    fingerprint: str | None = None
    vectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more_faults: int = 0

    def blame(self, fault: str, of_block: bool = False) -> None:
        """Note what is wrong; of one block or of the file."""
        self.damaged_blocks += of_block
        if len(self.faults) < _SPELT_OUT:
            self.faults.append(fault)
        else:
            self.more_faults += 1

    @property
    def all_faults(self) -> list[str]:
        """What is wrong, the last line a count of what was left out."""
        return [*self.faults, f"{self.file}: {self.more_faults:,} more faults"] if self.more_faults else self.faults


@dataclass
class TableVerification:
    """One table. Seconds.

    :param drill: what became of it in the drill: rows, searches, indexes; None where it was not restored
    """

    inspection: Inspection
    duration: float = 0.0
    drill: dict[str, Any] | None = None

    @property
    def faults(self) -> list[str]:
        """What is wrong with it."""
        return self.inspection.all_faults

    def to_json(self) -> dict[str, Any]:
        """The table's entry in the result."""
        found = self.inspection
        figures: dict[str, Any] = {
            "ok": not self.faults,
            "rows": found.rows,
            "bytes": found.bytes,
            "file": found.file,
            "duration": round(self.duration, 3),
        }
        if found.blocks is not None:
            figures |= {"blocks": found.blocks, "damaged_blocks": found.damaged_blocks}
        if found.fingerprint is not None:
            figures["fingerprint"] = found.fingerprint
        if found.vectors:
            figures["vectors"] = found.vectors
        if self.drill is not None:
            figures["drill"] = self.drill
        if self.faults:
            figures |= {"error": self.faults[0], "errors": self.faults}
        return figures


@dataclass
class SetVerification:
    """One set. Seconds.

    :param depth: how deep it was looked at, which may be less than asked for: ``notes`` then say why
    :param faults: what is wrong with the set as a whole; of its tables, each knows its own
    :param obstacle: what kept the verify from being carried out, with the set perhaps as whole as ever
    """

    directory: str
    relative_path: str
    task_id: str | None
    backup_id: str | None
    depth: Depth
    tables: dict[str, TableVerification] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    obstacle: BackupError | None = None
    duration: float = 0.0

    @property
    def damage(self) -> list[str]:
        """Everything that is wrong with the set and its tables."""
        return [*self.faults, *(fault for table in self.tables.values() for fault in table.faults)]

    @property
    def errors(self) -> list[str]:
        """The damage, and what was in the way."""
        return [*self.damage, *([] if self.obstacle is None else [self.obstacle.message])]

    @property
    def ok(self) -> bool:
        """Whether all was looked at that was to be, and all is well."""
        return not self.errors

    @property
    def whole_tables(self) -> list[str]:
        """The tables whose files are as they should be."""
        return [label for label, table in self.tables.items() if not table.faults]

    @property
    def damaged_tables(self) -> list[str]:
        """The tables whose files are not."""
        return [label for label, table in self.tables.items() if table.faults]

    def to_json(self) -> dict[str, Any]:
        """The set's entry in the result."""
        return {
            "backup_path": self.relative_path,
            "backup_directory": self.directory,
            "task_id": self.task_id,
            "timestamp": self.backup_id,
            "ok": self.ok,
            "depth": self.depth,
            "tables": {label: table.to_json() for label, table in self.tables.items()},
            "whole_tables": self.whole_tables,
            "damaged_tables": self.damaged_tables,
            "damaged": bool(self.damage),
            **messages.all_beside("errors", self.errors),
            "notes": [*self.notes, *(note for table in self.tables.values() for note in table.inspection.notes)],
            "duration": round(self.duration, 3),
        }

    def log_section(self, *, now: datetime, run_id: str | None) -> str:
        """The section of the location's log file."""
        lines = [
            ("run_id", run_id or "(none)"),
            ("depth", self.depth),
            ("duration", f"{self.duration:.3f} s"),
        ]
        for label, table in self.tables.items():
            rows = table.inspection.rows
            counted = f"{rows:,} rows" if rows is not None else "rows not counted"
            lines.append(("table", f"{label}: {'DAMAGED' if table.faults else 'whole'}, {counted}{_drilled(table)}"))
        lines += [("note", note) for note in self.to_json()["notes"]]
        lines += [("error", error) for error in self.errors]
        state = "VERIFY OK" if self.ok else "VERIFY FAILED"
        return section(now.isoformat(timespec="seconds"), state, self.backup_id, lines)


def _drilled(table: TableVerification) -> str:
    if table.drill is None:
        return ""
    return f", restored {table.drill['rows']:,} rows, {table.drill['searches']} searches compared"


@dataclass
class VerifyResult:
    """What a verify did. Seconds.

    :param faults: what kept whole locations from being looked at
    :param notes: what was passed over, and why
    """

    depth: Depth
    timestamp: datetime
    sets: list[SetVerification] = field(default_factory=list)
    faults: list[BackupError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    duration: float = 0.0

    @property
    def errors(self) -> list[str]:
        """All that is wrong, each line with its set."""
        return [
            *(
                f"{one.relative_path} {one.backup_id}: {messages.english(error)}"
                for one in self.sets
                for error in one.errors
            ),
            *(fault.message for fault in self.faults),
        ]

    @property
    def failure(self) -> BackupError | None:
        """Why the verify failed: damage comes before what only was in the way."""
        if any(one.damage for one in self.sets):
            return IntegrityFault(self._summary())
        obstacles = [*(one.obstacle for one in self.sets if one.obstacle is not None), *self.faults]
        return next((fault for fault in obstacles if not fault.can_retry), None) or next(iter(obstacles), None)

    def add(self, other: VerifyResult) -> None:
        """Let this be the result of both."""
        self.sets += other.sets
        self.faults += other.faults
        self.notes += other.notes
        self.duration += other.duration

    def to_json(self) -> dict[str, Any]:
        """The public result."""
        if self.errors:
            response = messages.VERIFY_FAILED
        else:
            response = messages.VERIFY_DONE if self.sets else messages.NOTHING_TO_VERIFY
        return {
            **messages.beside("response", response),
            "verify_performed": bool(self.sets),
            "depth": self.depth,
            "sets": [one.to_json() for one in self.sets],
            **messages.all_beside("errors", self.errors),
            "notes": self.notes,
            "duration": round(self.duration, 3),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def _summary(self) -> str:
        damaged = [one for one in self.sets if one.damage]
        first = damaged[0]
        whole = f"; whole are {', '.join(first.whole_tables)}" if first.whole_tables else ""
        more = f"; {len(damaged) - 1} more sets are damaged" if len(damaged) > 1 else ""
        return f"{first.relative_path} {first.backup_id}: {first.damage[0]}{whole}{more}"


def empty_result(
    depth: str, timestamp: datetime, *, errors: Sequence[str] = (), notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The public result of a verify that came to nothing, by failure or because it did not run."""
    return {
        **messages.beside("response", messages.VERIFY_FAILED if errors else messages.NOTHING_DONE),
        "verify_performed": False,
        "depth": depth,
        "sets": [],
        **messages.all_beside("errors", list(errors)),
        "notes": list(notes),
        "duration": 0.0,
        "timestamp": timestamp.isoformat(timespec="seconds"),
    }


def outcome(one: SetVerification, earlier: Mapping[str, Any] | None, *, now: datetime, run_id: str | None) -> bytes:
    """The content of ``verified_{timestamp}.json``; ``last`` keeps when each depth was last passed or failed.

    :param earlier: what the verify before this one wrote
    """
    at = now.isoformat(timespec="seconds")
    before = (earlier or {}).get("last")
    last = dict(before) if isinstance(before, dict) else {}
    last[one.depth] = {"verified_at": at, "ok": one.ok, "run_id": run_id}
    body = {
        "format_version": 1,
        "backup_id": one.backup_id,
        "verified_at": at,
        "depth": one.depth,
        "ok": one.ok,
        "run_id": run_id,
        **{name: value for name, value in one.to_json().items() if name in _KEPT},
        "last": last,
    }
    return (json.dumps(body, ensure_ascii=False, indent=2) + "\n").encode()


def checked_outcome(body: object) -> dict[str, Any] | None:
    """What an outcome file says, of which each part is what `outcome` writes; None where it is no such file."""
    if not isinstance(body, dict) or type(body.get("ok")) is not bool:
        return None
    texts = all(isinstance(body.get(name, ""), str) for name in ("backup_id", "verified_at", "depth"))
    run_id = body.get("run_id") is None or isinstance(body["run_id"], str)
    lists = all(
        isinstance(body.get(name, []), list) and all(isinstance(one, str) for one in body.get(name, []))
        for name in ("whole_tables", "damaged_tables", "errors", "notes")
    )
    parts = all(
        isinstance(body.get(name, {}), dict) and all(isinstance(one, dict) for one in body.get(name, {}).values())
        for name in ("tables", "last")
    )
    number = type(body.get("duration", 0)) in (int, float)
    try:
        moment = texts and ("verified_at" not in body or datetime.fromisoformat(body["verified_at"]).tzinfo is not None)
    except ValueError:
        moment = False
    return body if texts and run_id and lists and parts and number and moment else None


_KEPT: Sequence[str] = ("tables", "whole_tables", "damaged_tables", "errors", "notes", "duration")
