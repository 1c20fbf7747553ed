"""Where in a set's file that is which a server counts in a COPY: it knows only what it was sent."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final

_KEPT: Final = 1 << 16
"""The latest of them; a server that fails at one has not been sent many more since."""


class SentPlaces:
    """Lines or rows of a file, by the number that the server gives them."""

    def __init__(self) -> None:
        self._next = 1
        self._parts: deque[tuple[int, array[int]]] = deque()

    def begin(self) -> None:
        """Another COPY begins: the server has taken all that went before, and counts anew."""
        self._next = 1
        self._parts.clear()

    def sent(self, places: Iterable[int]) -> None:
        """Take note of what is sent next: where in the file each of it comes from."""
        part = array("q", places)
        self._parts.append((self._next, part))
        self._next += len(part)
        while len(self._parts) > 1 and self._next - self._parts[1][0] >= _KEPT:
            self._parts.popleft()

    def of(self, number: int) -> int | None:
        """Where in the file that is which the server counts so; None: it is no longer known."""
        for first, part in reversed(self._parts):
            if first <= number:
                return part[number - first] if number - first < len(part) else None
        return None
