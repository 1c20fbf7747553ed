"""What a copy of backup sets answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.contract.run_log import section
from pgvector_backup.engine.contract.sizes import human_size


@dataclass(frozen=True)
class SetCopy:
    """What became of one set at one other root. Seconds, bytes.

    :param root: path or URL, without any secret
    :param files: that were brought there by this; 0: all were there already
    :param repaired: whether what was there of it was damaged
    """

    root: str
    backup_path: str
    timestamp: str
    duration: float
    files: int = 0
    bytes: int = 0
    repaired: bool = False
    failure: BackupError | None = None

    def to_json(self) -> dict[str, Any]:
        """The copy as results have it."""
        told: dict[str, Any] = {
            "root": self.root,
            "success": self.failure is None,
            "duration": round(self.duration, 3),
            "backup_path": self.backup_path,
            "timestamp": self.timestamp,
            "files_copied": self.files,
            "bytes_copied": self.bytes,
            "repaired": self.repaired,
        }
        if self.failure is not None:
            told |= {**messages.beside("error", self.failure.message), "error_type": self.failure.error_type}
        return told

    def line(self) -> str:
        """The copy in a line of a log."""
        if self.failure is not None:
            return f"{self.root}: FAILED: {self.failure.english}"
        if not self.files:
            return f"{self.root}: whole, it was there already"
        return (
            f"{self.root}: {'repaired' if self.repaired else 'whole'}, {self.files} files, {human_size(self.bytes)}, "
            f"{self.duration:.3f} s"
        )


@dataclass(frozen=True)
class CopyResult:
    """What a copy did, set by set and root by root; one that failed stopped no other.

    :param notes: what was passed over, and why
    """

    copies: tuple[SetCopy, ...]
    duration: float
    timestamp: datetime
    notes: tuple[str, ...] = field(default=())

    @property
    def failure(self) -> BackupError | None:
        """The first failure that a retry cannot cure, else the first."""
        failures = [one.failure for one in self.copies if one.failure is not None]
        return next((one for one in failures if not one.can_retry), None) or next(iter(failures), None)

    def to_json(self) -> dict[str, Any]:
        """The result as other programs read it."""
        return {
            **messages.beside("response", messages.COPY_FAILED if self.failure else messages.COPY_DONE),
            "copies": [one.to_json() for one in self.copies],
            **messages.all_beside("errors", [one.failure.message for one in self.copies if one.failure is not None]),
            "notes": list(self.notes),
            "duration": round(self.duration, 3),
            "timestamp": self.timestamp.isoformat(timespec="seconds"),
        }

    def log_section(self, backup_path: str, *, run_id: str | None) -> str | None:
        """What a location's log file is told of a copy that brought something somewhere, or failed to."""
        told = [one for one in self.copies if one.backup_path == backup_path and (one.files or one.failure)]
        if not told:
            return None
        state = "COPY FAILED" if any(one.failure for one in told) else "COPY OK"
        lines = [("run_id", run_id or "(none)"), *(("copy", f"{one.timestamp} to {one.line()}") for one in told)]
        ids = ", ".join(dict.fromkeys(one.timestamp for one in told))
        return section(self.timestamp.isoformat(timespec="seconds"), state, ids, lines)
