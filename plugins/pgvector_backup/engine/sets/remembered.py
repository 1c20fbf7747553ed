"""What small files beside the data say, read once: it is kept for as long as a file's size and time stay the same."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Generic, TypeVar

from pgvector_backup.engine.store.store import Entry

T = TypeVar("T")


class Remembered(Generic[T]):
    """What files of one kind say; any thread may call it."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, Entry], T] = {}

    def get(self, directory: str, entry: Entry, read: Callable[[], T]) -> T:
        """What a file says; what ``read`` raises is not kept, and the next call tries again."""
        key = (directory, entry)
        try:
            return self._told[key]
        except KeyError:
            told = self._told[key] = read()
            return told

    def knows(self, directory: str, entry: Entry) -> bool:
        """Whether the file has been read as it is now."""
        return (directory, entry) in self._told

    def forget_all_but(self, files: Container[tuple[str, str | None]]) -> None:
        """Keep only what files of these directories and names say."""
        for key in [key for key in list(self._told) if (key[0], key[1].name) not in files]:
            self._told.pop(key, None)
