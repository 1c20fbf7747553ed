"""What a store itself lets nobody remove, and for how long."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple


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
