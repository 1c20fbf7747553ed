"""The one family of errors that the engine raises, whatever it was that went wrong.

Each floor above translates the family once: operators into task failures, HTTP into status codes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import ClassVar, TypedDict

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.plain_text import plain


class _Always(TypedDict):
    response: str
    error_type: str
    can_retry: bool
    timestamp: str


class ErrorReport(_Always, total=False):
    """An error as other programs read it; ``timestamp`` is ISO 8601 with an offset."""

    missing_params: list[str]


class BackupError(Exception):
    """Something that stopped a backup, a truncate or a restore.

    :param message: one sentence that names the value at fault and the remedy; never a secret
    :param can_retry: whether the same call may succeed later, where it differs from the class's habit
    """

    error_type: ClassVar[str] = "INTERNAL_ERROR"
    code: ClassVar[int] = 500
    can_retry: bool = False

    def __init__(self, message: str, *, can_retry: bool | None = None) -> None:
        known = messages.english(message)
        message = plain(message) if known is message else messages.Sentence(plain(message), plain(known))
        super().__init__(message)
        self.message = message
        if can_retry is not None:
            self.can_retry = can_retry

    def add(self, detail: str) -> None:
        """Let the message go on with what is known only further up."""
        both = f"{self.message}; {detail}", f"{self.english}; {detail}"
        self.message = messages.Sentence(*both) if isinstance(self.message, messages.Sentence) else both[0]
        self.args = (self.message,)

    def report(self) -> ErrorReport:
        """The error as it is pushed to XCom and sent over HTTP."""
        return ErrorReport(
            response=str(self.message),
            error_type=self.error_type,
            can_retry=self.can_retry,
            timestamp=datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds"),
        )

    @property
    def english(self) -> str:
        """The message as logs and the command line have it."""
        return messages.english(self.message)


class InvalidParams(BackupError):
    """What was asked for is malformed or not allowed."""

    error_type = "INVALID_PARAMS"
    code = 400


class MissingParams(BackupError):
    """Something that has to be said was not.

    :param names: of the keys that are missing
    """

    error_type = "MISSING_REQUIRED_PARAMS"
    code = 400

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(messages.PARAMS_MISSING.followed_by(", ".join(names)))
        self.names = list(names)

    def report(self) -> ErrorReport:
        """See `BackupError`; the keys are listed as well."""
        return {**super().report(), "missing_params": self.names}


class NotFound(BackupError):
    """A task directory, table, backup set or connection that is not there."""

    error_type = "RESOURCE_NOT_FOUND"
    code = 404


class Conflict(BackupError):
    """What was asked for would lose data, or meets something in use."""

    error_type = "CONFLICT"
    code = 409


class IntegrityFault(BackupError):
    """A file that does not match its manifest, or a table that took other rows than it was sent.

    ``of_set`` is false where the set itself is whole.
    """

    error_type = "INTEGRITY_ERROR"
    of_set: bool = True


class StorageFault(BackupError):
    """The place where files are kept failed: full, forbidden, broken."""

    error_type = "STORAGE_ERROR"
    can_retry = True


class DatabaseFault(BackupError):
    """The server could not be reached, or refused or failed a statement."""

    error_type = "DATABASE_ERROR"
    can_retry = True


class Cancelled(BackupError):
    """The work was stopped on request; nothing of it is left."""

    error_type = "CANCELLED"
    code = 409
    can_retry = True


_STORAGE_HINTS = {
    errno.ENOSPC: "no space left on the device; free some, or move backup_root",
    errno.EDQUOT: "the disk quota is used up; free some, or move backup_root",
    errno.EFBIG: "the file would exceed the size that the system allows",
    errno.EACCES: "permission denied; the worker's user must be able to write there",
    errno.EPERM: "operation not permitted; the worker's user must be able to write there",
    errno.EROFS: "the file system is read-only",
}


def storage_fault(fault: OSError) -> StorageFault:
    """What an operating system's error means for whoever keeps the files."""
    where = f"{os.fsdecode(fault.filename)}: " if isinstance(fault.filename, (str, bytes)) else ""
    hint = _STORAGE_HINTS.get(fault.errno or 0) or fault.strerror or type(fault).__name__
    return StorageFault(f"{where}{hint}")


@contextmanager
def storage_translated() -> Iterator[None]:
    """Let the operating system's errors leave the block as this family."""
    try:
        yield
    except OSError as fault:
        raise storage_fault(fault) from fault
