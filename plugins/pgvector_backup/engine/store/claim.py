"""A set in the making, whatever store it is to lie in: an id that nobody else has, and the files under it."""

from __future__ import annotations

import abc

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.naming import data_file_name
from pgvector_backup.engine.store.writer import Writer


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
