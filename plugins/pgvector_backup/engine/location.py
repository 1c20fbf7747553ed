"""Where a task's backup sets live: the directory that a request's names lead to."""

from __future__ import annotations

import abc
import fcntl
import os
import shutil
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from pgvector_backup.engine import messages, staging
from pgvector_backup.engine.errors import Conflict, IntegrityFault, InvalidParams, NotFound, StorageFault, translated
from pgvector_backup.engine.naming import LOG_FILE, SAFE, check_bare
from pgvector_backup.engine.request import check_task_id
from pgvector_backup.engine.staging import Claim

_LATEST_CLAIM: Final = 3600
"""Seconds that an id may lie after the clock before the search for a free one gives up."""


def locate(root: str | os.PathLike[str], task_id: str | None, directory_name: str) -> Location:
    """Find the place that a request leads to, and make its directory.

    :param root: the backup root: a path, or an fsspec URL such as ``s3://bucket/prefix``
    :param task_id: whose directory below the root, which must exist; None for the root itself
    :param directory_name: the directory made in there
    :raises NotFound: when the task's directory is not there, or leads out of the root
    :raises StorageFault: when the directory cannot be made
    """
    if not SAFE.fullmatch(directory_name):
        raise InvalidParams(f"backup_directory: not one plain directory name: {directory_name!r}")
    if task_id is not None:
        check_task_id(task_id)
    text = os.fspath(root)
    if "://" in text and not text.startswith("file://"):
        # fsspec is needed by those who use it only.
        from pgvector_backup.engine.object_location import ObjectLocation  # noqa: PLC0415

        return ObjectLocation(text, task_id, directory_name)
    return LocalLocation(Path(os.path.abspath(text.removeprefix("file://"))), task_id, directory_name)


class Location(abc.ABC):
    """The one place that holds a task's sets.

    :param directory: what users know it by: a path or URL
    """

    directory: str

    def claim(self, now: datetime, timestamp_format: str) -> Claim:
        """Reserve the id of a new set: the time, or the next second that nobody has taken.

        :param now: with a time zone, the one that names are to be in
        :raises InvalidParams: when the format gives unsafe names, or the same one for two seconds
        """
        _check_format(now, timestamp_format)
        for later in range(_LATEST_CLAIM):
            backup_id = (now + timedelta(seconds=later)).strftime(timestamp_format)
            if claim := self.attempt(backup_id):
                return claim
        raise Conflict(f"{self.directory}: no free backup id within an hour of {now.strftime(timestamp_format)}")

    @abc.abstractmethod
    def attempt(self, backup_id: str) -> Claim | None:
        """Reserve one id; None when it is taken."""

    @abc.abstractmethod
    def require_space(self, needed: int) -> None:
        """Refuse to begin what cannot end.

        :param needed: bytes
        :raises StorageFault: naming both figures
        """

    @abc.abstractmethod
    def sweep(self) -> list[str]:
        """Remove what killed runs have left here.

        :return: the names removed
        """

    @abc.abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a set's file for reading.

        :raises NotFound: when it is not there
        """

    @abc.abstractmethod
    def append_log(self, section: str) -> None:
        """Add a run's section to the log file."""


class LocalLocation(Location):
    """A directory of this machine, or of a file system mounted on it."""

    def __init__(self, base: Path, task_id: str | None, directory_name: str) -> None:
        with translated():
            if task_id is None:
                base.mkdir(parents=True, exist_ok=True)
                parent = base
            else:
                parent = base / task_id
                if not parent.is_dir() or not _inside(parent, base):
                    raise NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id=task_id))
            self.path = parent / directory_name
            self.directory = str(self.path)
            try:
                self.path.mkdir()
            except FileExistsError:
                if not self.path.is_dir():
                    raise StorageFault(f"{self.path} is not a directory; move it away") from None
            else:
                staging.fsync_directory(parent)
            if not _inside(self.path, base):
                raise NotFound(f"{self.path} leads outside the backup root {base}; replace the link")

    def require_space(self, needed: int) -> None:
        """See `Location`; what others may write meanwhile is not foreseen."""
        with translated():
            free = shutil.disk_usage(self.path).free
        if needed > free:
            raise StorageFault(
                f"{self.path}: the backup needs about {needed:,} bytes and {free:,} are free; "
                "free some, or move backup_root"
            )

    def attempt(self, backup_id: str) -> Claim | None:
        """Reserve one id; None when it is taken by a running backup or by any finished file."""
        with translated():
            return Claim.attempt(self.path, backup_id)

    def sweep(self) -> list[str]:
        """See `Location`."""
        with translated():
            return staging.sweep(self.path)

    def open(self, name: str) -> BinaryIO:
        """See `Location`; a symbolic link is not followed, a pipe not waited for.

        :raises IntegrityFault: when it is no regular file
        """
        check_bare(name)
        with translated():
            try:
                kind = os.lstat(self.path / name).st_mode
                if not stat.S_ISREG(kind):
                    raise IntegrityFault(f"{self.path / name} is not a regular file")
                descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                raise NotFound(f"{self.path / name} does not exist") from None
            return os.fdopen(descriptor, "rb")

    def append_log(self, section: str) -> None:
        """See `Location`; sections stay whole, whoever else is adding theirs."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with translated(), os.fdopen(os.open(self.path / LOG_FILE, flags, 0o666), "ab") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.write(section.encode())
            log.flush()
            os.fsync(log.fileno())


def _inside(path: Path, base: Path) -> bool:
    return path.resolve().is_relative_to(base.resolve())


def _check_format(now: datetime, timestamp_format: str) -> None:
    this = now.strftime(timestamp_format)
    # Within one minute: from :59 to :00 even minutes would tell them apart.
    first, second = (now.replace(second=second).strftime(timestamp_format) for second in (0, 1))
    if not SAFE.fullmatch(this) or first == second:
        raise InvalidParams(
            f"timestamp_format {timestamp_format!r} gives {this!r}: it must tell seconds apart, in letters, "
            "digits, - and _"
        )
