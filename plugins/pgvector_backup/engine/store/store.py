"""A store: bytes under bare names in one directory, on a disk or in a bucket; and what several runs agree on there."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import BinaryIO, ClassVar, NamedTuple, TypeVar

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.writer import Writer

_One = TypeVar("_One")
_Result = TypeVar("_Result")


class Entry(NamedTuple):
    """A file that lies in a store; ``modified`` in seconds since 1970."""

    name: str
    bytes: int
    modified: float


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
