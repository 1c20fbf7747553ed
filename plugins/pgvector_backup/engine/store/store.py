"""A store: bytes under bare names in one directory, on a disk or in a bucket; and what several runs agree on there."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple, TypeVar

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.store.naming import data_file_name

if TYPE_CHECKING:
    from psycopg.abc import Buffer


_One = TypeVar("_One")
_Result = TypeVar("_Result")


class Entry(NamedTuple):
    """A file that lies in a store; ``modified`` in seconds since 1970."""

    name: str
    bytes: int
    modified: float


class Hold(NamedTuple):
    """That a store lets nobody remove a file.

    :param mode: ``governance``: but for who has a right of its own; ``compliance``: nobody at all; of one that was set
        by others also what they call it
    :param until: with a time zone; None: until it is lifted
    """

    mode: str
    until: datetime | None

    def covers(self, other: Hold) -> bool:
        """Whether it holds as long as another one, and as strictly."""
        long_enough = self.until is None or (other.until is not None and self.until >= other.until)
        return long_enough and self.mode in (other.mode, "compliance")

    def holds(self, now: datetime) -> bool:
        """Whether it has not ended yet."""
        return self.until is None or self.until > now

    def describe(self) -> str:
        """In words, with its end in UTC."""
        until = "" if self.until is None else f" until {self.until.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
        return f"held by the store ({self.mode}){until}"


class Writer(abc.ABC):
    """A file that is being written; nobody sees it under its name until it is published.

    :param name: the bare name that it will have
    :raises StorageFault: from every method; what the store says of one write may be raised by a later one
    """

    name: str
    published: bool = False

    @abc.abstractmethod
    def write(self, data: Buffer) -> None:
        """Append; the caller sees to it that one thread does so at a time."""

    @abc.abstractmethod
    def sync(self) -> None:
        """Hand over every byte and wait until the store has taken it; nothing is written after this."""

    @property
    @abc.abstractmethod
    def sha256(self) -> str:
        """Of the file, once it is synced."""

    @abc.abstractmethod
    def publish(self) -> None:
        """Give the file its name; more than once is fine."""

    @property
    def proven(self) -> bool:
        """Whether the store's own checksum of what arrived was compared, once it is published."""
        return False

    @abc.abstractmethod
    def discard(self) -> None:
        """Leave nothing of the file, under whichever name it has; more than once is fine."""


class Claim(abc.ABC):
    """A reserved id and the files staged under it. Use `Location.claim`."""

    backup_id: str
    resumed: bool = False
    """Whether it was taken over from a run that died."""

    def stage(self, label: str, suffix: str, *, expected: int | None = None) -> Writer:
        """Begin a table's file, or one that lies beside it.

        :param expected: bytes that it will have, as far as can be told; a store cuts an upload by that
        """
        return self.stage_file(data_file_name(label, self.backup_id, suffix), expected=expected)

    @abc.abstractmethod
    def stage_file(self, name: str, *, expected: int | None = None) -> Writer:
        """Begin a file of that very name, one of this id's."""

    @abc.abstractmethod
    def adopt(self, name: str) -> None:
        """Make a whole file that lies here under its final name part of the set."""

    @abc.abstractmethod
    def announce(self, manifest: bytes) -> None:
        """Say what is going to be committed, so that files published before that are known to a sweep."""

    @abc.abstractmethod
    def commit(self, manifest: bytes) -> None:
        """Make the set exist: its files are published, then its manifest."""

    def hold(self, hold: Hold) -> None:
        """Have the store hold every file of the set, from the moment on at which the set exists; before `commit`.

        :raises InvalidParams: where the store holds nothing
        """
        raise InvalidParams(f"object_lock: set {self.backup_id} is being made where nothing can be held")

    @abc.abstractmethod
    def abandon(self) -> None:
        """Leave what is published to whoever takes the claim over, or to the next sweep; nothing of it is a set."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Leave nothing of a set that was not committed; of one that was, nothing happens."""

    @abc.abstractmethod
    def drop(self, *files: Writer) -> None:
        """Take files out of the set and out of the store, e.g. those of a table that failed."""


class AdoptedFile(Writer):
    """A file that was there, whole, before its set was begun again."""

    published = True

    def __init__(self, name: str, delete: Callable[[str], None]) -> None:
        self.name = name
        self._delete = delete

    def write(self, data: Buffer) -> None:
        """It is whole."""
        raise AssertionError(self.name)

    def sync(self) -> None:
        """It is."""

    @property
    def sha256(self) -> str:
        """Whoever adopted it knows."""
        raise AssertionError(self.name)

    def publish(self) -> None:
        """It has its name."""

    def discard(self) -> None:
        """See `Writer`."""
        self._delete(self.name)


class Store(abc.ABC):
    """One directory of files, wherever it lies. What is not there is looked for in vain, and never made by looking.

    :param shown: what users know it by, a path or URL without any secret
    :raises StorageFault: from every method, and from the files that it opens, also in the middle of a read
    """

    shown: str
    at_once: ClassVar[int] = 1
    """Calls that gain by being made at once, because each waits for a network."""

    def each(self, function: Callable[[_One], _Result], items: Sequence[_One]) -> list[_Result]:
        """What a function gives for each item, in their order; it may be called by several threads at once."""
        if self.at_once == 1 or len(items) < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(min(self.at_once, len(items)), thread_name_prefix="store") as pool:
            return list(pool.map(function, items))

    @abc.abstractmethod
    def below(self, name: str) -> Store:
        """The directory of that name in here, whether it is there or not."""

    @abc.abstractmethod
    def exists(self) -> bool:
        """Whether the directory is there.

        :raises NotFound: when it leads out of the backup root
        """

    @abc.abstractmethod
    def make(self) -> None:
        """Make the directory where there is none, and the backup root above it."""

    @abc.abstractmethod
    def entries(self) -> list[Entry]:
        """The files that lie here now, in no order; none where the directory is not there."""

    @abc.abstractmethod
    def directories(self) -> list[str]:
        """Names of the directories in here."""

    @abc.abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can be sought in, and a break in the middle is mended where that is possible.

        :raises NotFound: when it is not there
        :raises IntegrityFault: when it is no regular file
        """

    @abc.abstractmethod
    def put(self, name: str, content: bytes) -> None:
        """Write a small file whole or not at all; an earlier one of that name is replaced."""

    @abc.abstractmethod
    def writer(self, name: str, *, expected: int | None = None) -> Writer:
        """Begin a file of any size; see `Claim.stage`."""

    @abc.abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file; one that is not there counts as removed."""

    def require_lock(self) -> None:
        """Refuse a store that cannot hold files against removal.

        :raises InvalidParams: with the remedy
        """
        raise InvalidParams(
            f"object_lock: {self.shown} is in no bucket of S3, so nothing there can be held; name an S3 bucket with "
            "Object Lock as the root, or leave the setting empty"
        )

    def held(self, name: str) -> Hold | None:
        """By what a file is held now; None: by nothing."""
        return None

    def hold(self, name: str, hold: Hold) -> None:
        """Have a file held at least so long and so strictly.

        :raises StorageFault: when it is not held so afterwards
        """
        self.require_lock()

    @abc.abstractmethod
    def require_space(self, needed: int) -> None:
        """Refuse to begin what cannot end.

        :param needed: bytes
        :raises StorageFault: naming both figures
        """

    @abc.abstractmethod
    def free_bytes(self) -> int | None:
        """Bytes that can still be stored; None where nobody can say."""

    @abc.abstractmethod
    def require_writable(self) -> None:
        """Refuse a place in which nothing could be stored, or which does not answer; nothing is made or written.

        :raises StorageFault: naming what is in the way
        """

    @abc.abstractmethod
    def leases(self) -> Leases:
        """What runs agree on in this directory."""


class Leases(abc.ABC):
    """What several runs have to agree on in one directory: who makes a set, who reads it, who may remove it."""

    @abc.abstractmethod
    def attempt(self, backup_id: str, *, again: bool = False) -> Claim | None:
        """Reserve the id of a new set; None when it is taken.

        :param again: take over the claim of a run that died, and whatever files of that id lie here, except a set
        :raises Conflict: where the store can tell no two runs apart and another one is at work
        """

    @abc.abstractmethod
    def sweep(self) -> list[str]:
        """Remove what killed runs have left here.

        :return: the names removed
        """

    @abc.abstractmethod
    def shared(self, manifest: str) -> AbstractContextManager[None]:
        """Keep a set from being removed while it is read.

        :raises Conflict: while it is being removed
        """

    @abc.abstractmethod
    def exclusive(self, manifest: str) -> AbstractContextManager[None]:
        """Have a set to oneself, to remove it.

        :raises Conflict: while somebody reads it
        """

    @abc.abstractmethod
    def retire(self, manifest: str) -> str:
        """Make a set stop being one, while one has it to oneself; what a crash then leaves, a sweep removes.

        :return: the claim that takes the manifest's place, to be removed after everything else of the set
        """

    @abc.abstractmethod
    def let_go(self, claim: str) -> None:
        """Give up the claim that `retire` gave, for whoever takes it over."""

    @abc.abstractmethod
    def append(self, name: str, section: bytes) -> None:
        """Add to the end of a small file; what others add at the same time stays whole."""
