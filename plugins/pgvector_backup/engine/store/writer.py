"""A file in the making, whatever store it is to lie in."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.abc import Buffer


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
