"""What a prune answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError


@dataclass(frozen=True)
class PrunedSet:
    """One set's fate.

    :param retained: why a set that was to go is still there; None: it went, or was to stay
    """

    timestamp: str
    bytes: int
    reasons: tuple[str, ...]
    retained: str | None = None


@dataclass(frozen=True)
class RenewedSet:
    """An increment that was written anew as a full set.

    :param backup_id: of the full set; None: it would be made
    """

    timestamp: str
    backup_id: str | None


@dataclass(frozen=True)
class PrunedLocation:
    """What stays and what went in one location; ``waiting`` says what keeps a plan from being carried out.

    :param consolidated: increments that were written as full sets before
    :param root: of a location of copies; None: the backup root
    """

    backup_path: str
    kept: tuple[PrunedSet, ...]
    removed: tuple[PrunedSet, ...]
    waiting: str | None = None
    root: str | None = None
    consolidated: tuple[RenewedSet, ...] = ()


@dataclass(frozen=True)
class PruneResult:
    """What a prune did, or would do."""

    locations: tuple[PrunedLocation, ...]
    dry_run: bool
    has_policy: bool
    duration: float
    timestamp: datetime
    failures: tuple[BackupError, ...] = field(default=())

    @property
    def failure(self) -> BackupError | None:
        """The first thing that went wrong; it stopped nothing else."""
        return self.failures[0] if self.failures else None

    @property
    def removed(self) -> int:
        """Sets that went, or would go."""
        return sum(len(one.removed) for one in self.locations)

    def to_json(self) -> dict[str, Any]:
        """The result as other programs read it; ``bytes_freed`` is what was, or would be."""
        if not self.has_policy:
            response = messages.NO_POLICY
        elif self.failures:
            response = messages.PRUNE_FAILED
        else:
            response = messages.PRUNE_PLANNED if self.dry_run else messages.PRUNE_DONE
        return {
            **messages.beside("response", response),
            "prune_performed": not self.dry_run and self.removed > 0,
            "dry_run": self.dry_run,
            "locations": [
                {
                    "backup_path": one.backup_path,
                    "kept": [
                        {"timestamp": kept.timestamp, "reasons": list(kept.reasons)}
                        | ({"retained": kept.retained} if kept.retained else {})
                        for kept in one.kept
                    ],
                    "removed": [
                        {"timestamp": gone.timestamp, "bytes": gone.bytes, "reasons": list(gone.reasons)}
                        for gone in one.removed
                    ],
                }
                | ({"waiting": one.waiting} if one.waiting else {})
                | ({"root": one.root} if one.root else {})
                | ({"consolidated": [asdict(new) for new in one.consolidated]} if one.consolidated else {})
                for one in self.locations
            ],
            "bytes_freed": sum(gone.bytes for one in self.locations for gone in one.removed),
            **messages.all_beside("errors", [failure.message for failure in self.failures]),
            "duration": round(self.duration, 3),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def log_section(self, location: PrunedLocation, *, run_id: str | None) -> str:
        """What a location's log file is told of a prune that removed something there."""
        lines = [f"==== {self.timestamp.isoformat(timespec='seconds')}  PRUNE OK"]
        if run_id is not None:
            lines.append(f"run_id:    {run_id}")
        lines += [f"new:       {one.backup_id}: full, of {one.timestamp}" for one in location.consolidated]
        lines += [f"removed:   {one.timestamp}: {'; '.join(one.reasons)}" for one in location.removed]
        lines += [f"retained:  {one.timestamp}: {one.retained}" for one in location.kept if one.retained]
        return "\n".join(lines) + "\n\n"
