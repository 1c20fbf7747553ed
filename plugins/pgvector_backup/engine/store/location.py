"""Where a task's backup sets live: the directory that a request's names lead to."""

from __future__ import annotations

import abc
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Final, NamedTuple

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import (
    Conflict,
    IntegrityFault,
    InvalidParams,
    NotFound,
    StorageFault,
    storage_fault,
    storage_translated,
)
from pgvector_backup.engine.store import staging
from pgvector_backup.engine.store.naming import LOG_FILE, SAFE, check_bare, check_task_id
from pgvector_backup.engine.store.staging import Claim

_LATEST_CLAIM: Final = 3600
"""Seconds that an id may lie after the clock before the search for a free one gives up."""


Root = str | os.PathLike[str]
"""A path, or an fsspec URL such as ``s3://bucket/prefix``."""


def locate(root: Root, task_id: str | None, directory_name: str, *, create: bool = True) -> Location:
    """Find the place that a request leads to.

    :param root: the backup root
    :param task_id: whose directory below the root, which must exist; None for the root itself
    :param directory_name: the directory in there
    :param create: make that directory where there is none
    :raises NotFound: when the task's directory is not there, or leads out of the root
    :raises StorageFault: when the directory cannot be made
    """
    _check_directory_name(directory_name)
    if task_id is not None:
        check_task_id(task_id)
    text = os.fspath(root)
    if _is_url(text):
        objects: Location = _object_location().ObjectLocation(text, task_id, directory_name, create=create)
        return objects
    return LocalLocation(_local(text), task_id, directory_name, create=create)


def foresee(root: Root, task_id: str | None, directory_name: str) -> tuple[str, int | None]:
    """Where a request's sets would lie, with nothing made; and how many bytes are free there, None if nobody can say.

    :raises NotFound: when the task's directory is not there
    """
    _check_directory_name(directory_name)
    if task_id is not None:
        check_task_id(task_id)
    text = os.fspath(root)
    below = directory_name if task_id is None else f"{task_id}/{directory_name}"
    if _is_url(text):
        return f"{text.rstrip('/')}/{below}", None
    base = _local(text)
    if task_id is not None and not (base / task_id).is_dir():
        raise NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id=task_id))
    there = next(path for path in (base / below, *(base / below).parents) if path.is_dir())
    with storage_translated():
        return str(base / below), shutil.disk_usage(there).free


def locate_path(root: Root, relative_path: str, directory_name: str) -> Location:
    """Find an existing place by the path that lists of sets give, e.g. ``task_1/vector_bak``.

    :raises InvalidParams: for any other path: one that could lead elsewhere is not even tried
    :raises NotFound: when it is not there
    """
    *task, last = relative_path.split("/")
    if last != directory_name or len(task) > 1 or (task and not re.fullmatch(r"[A-Za-z0-9_]+", task[0])):
        raise InvalidParams(
            f"backup_path: {relative_path!r} is no place of backups; as listed, it is {directory_name} or "
            f"TASK_ID/{directory_name}"
        )
    return locate(root, task[0] if task else None, directory_name, create=False)


def locate_all(root: Root, directory_name: str) -> list[Location]:
    """Every place below the root that may hold sets: the root's own first, then the tasks' by name."""
    _check_directory_name(directory_name)
    text = os.fspath(root)
    tasks = _object_location().subdirectories(text) if _is_url(text) else _subdirectories(_local(text))
    found = []
    for task_id in [None, *(name for name in sorted(tasks) if re.fullmatch(r"[A-Za-z0-9_]+", name))]:
        with suppress(NotFound):
            found.append(locate(root, task_id, directory_name, create=False))
    return found


def _check_directory_name(directory_name: str) -> None:
    if not SAFE.fullmatch(directory_name):
        raise InvalidParams(f"backup_directory: not one plain directory name: {directory_name!r}")


def _is_url(root: str) -> bool:
    return "://" in root and not root.startswith("file://")


def _object_location() -> ModuleType:
    """What keeps sets in object stores; fsspec is needed by those who do that only."""
    try:
        from pgvector_backup.engine.store import objects as object_location  # noqa: PLC0415
    except ImportError:
        raise InvalidParams(
            "backup_root: a URL needs the package fsspec and the one for that store, such as s3fs; install them, or "
            "name a path"
        ) from None
    return object_location


def _local(root: str) -> Path:
    return Path(os.path.abspath(root.removeprefix("file://")))


def _subdirectories(base: Path) -> list[str]:
    try:
        with os.scandir(base) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as fault:
        raise storage_fault(fault) from fault


class Entry(NamedTuple):
    """A file that lies in a location; ``modified`` in seconds since 1970."""

    name: str
    bytes: int
    modified: float


class Location(abc.ABC):
    """The one place that holds a task's sets.

    :param directory: what users know it by: a path or URL
    :param task_id: whose it is; None for the root's own
    :param relative_path: the same below the backup root, e.g. ``task_1/vector_bak``
    """

    directory: str

    def __init__(self, task_id: str | None, directory_name: str) -> None:
        self.task_id = task_id
        self.relative_path = directory_name if task_id is None else f"{task_id}/{directory_name}"

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
    def entries(self) -> list[Entry]:
        """The files that lie here now, in no order."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a small file that lies beside a set, whole or not at all; an earlier one of that name is replaced."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; one that is not there counts as removed."""

    @abc.abstractmethod
    def kept(self, manifest: str) -> AbstractContextManager[None]:
        """Keep a set from being removed while it is read.

        :param manifest: name of its manifest
        :raises Conflict: while it is being removed
        """

    @abc.abstractmethod
    def seized(self, manifest: str) -> AbstractContextManager[None]:
        """Have a set to oneself, to remove it.

        :raises Conflict: while somebody reads it
        """

    @abc.abstractmethod
    def append_log(self, section: str) -> None:
        """Add a run's section to the log file."""


class LocalLocation(Location):
    """A directory of this machine, or of a file system mounted on it."""

    def __init__(self, base: Path, task_id: str | None, directory_name: str, *, create: bool = True) -> None:
        super().__init__(task_id, directory_name)
        with storage_translated():
            if task_id is None:
                if create:
                    base.mkdir(parents=True, exist_ok=True)
                parent = base
            else:
                parent = base / task_id
                if not parent.is_dir() or not _inside(parent, base):
                    raise NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id=task_id))
            self.path = parent / directory_name
            self.directory = str(self.path)
            if not create and not self.path.is_dir():
                raise NotFound(f"no backups in {self.relative_path}: {self.path} does not exist")
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
        with storage_translated():
            free = shutil.disk_usage(self.path).free
        if needed > free:
            raise StorageFault(
                f"{self.path}: the backup needs about {needed:,} bytes and {free:,} are free; "
                "free some, or move backup_root"
            )

    def attempt(self, backup_id: str) -> Claim | None:
        """Reserve one id; None when it is taken by a running backup or by any finished file."""
        with storage_translated():
            return Claim.attempt(self.path, backup_id)

    def sweep(self) -> list[str]:
        """See `Location`."""
        with storage_translated():
            return staging.sweep(self.path)

    def open(self, name: str) -> BinaryIO:
        """See `Location`; a symbolic link is not followed, a pipe not waited for.

        :raises IntegrityFault: when it is no regular file
        """
        check_bare(name)
        with storage_translated():
            try:
                kind = os.lstat(self.path / name).st_mode
                if not stat.S_ISREG(kind):
                    raise IntegrityFault(f"{self.path / name} is not a regular file")
                descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                raise NotFound(f"{self.path / name} does not exist") from None
            return os.fdopen(descriptor, "rb")

    def entries(self) -> list[Entry]:
        """See `Location`; only regular files, links are not followed."""
        found = []
        with storage_translated(), os.scandir(self.path) as listing:
            for one in listing:
                with suppress(FileNotFoundError):  # removed since it was listed
                    if one.is_file(follow_symlinks=False):
                        about = one.stat(follow_symlinks=False)
                        found.append(Entry(one.name, about.st_size, about.st_mtime))
        return found

    def write(self, name: str, content: bytes) -> None:
        """See `Location`."""
        check_bare(name)
        with storage_translated():
            staging.replace(self.path, name, content)

    def remove(self, name: str) -> None:
        """See `Location`."""
        check_bare(name)
        with storage_translated(), suppress(FileNotFoundError):
            os.unlink(self.path / name)
            staging.fsync_directory(self.path)

    @contextmanager
    def kept(self, manifest: str) -> Iterator[None]:
        """See `Location`."""
        with self._locked(manifest, fcntl.LOCK_SH, "it is being removed"):
            yield

    @contextmanager
    def seized(self, manifest: str) -> Iterator[None]:
        """See `Location`."""
        with self._locked(
            manifest, fcntl.LOCK_EX, "a restore, a verify or a truncate is reading it; wait for it to end"
        ):
            yield

    @contextmanager
    def _locked(self, manifest: str, kind: int, taken: str) -> Iterator[None]:
        with self.open(manifest) as file:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"set {manifest} is in use: {taken}") from None
            yield

    def append_log(self, section: str) -> None:
        """See `Location`; sections stay whole, whoever else is adding theirs."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with storage_translated(), os.fdopen(os.open(self.path / LOG_FILE, flags, 0o666), "ab") as log:
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


def require_writable(root: Root) -> None:
    """Refuse a root in which nothing could be stored, or, for an object store, which does not answer.

    :raises StorageFault: naming what is in the way
    """
    text = os.fspath(root)
    if _is_url(text):
        from pgvector_backup.engine.store import objects as object_location  # noqa: PLC0415

        object_location.subdirectories(text)
        return
    there = _local(text)
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise StorageFault(f"{there}: not a directory that this process may write to")
