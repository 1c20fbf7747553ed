"""Small files beside a set that say what became of it: who pinned it and why, which tables were emptied on its word.

Anybody who may write to the backup root may have written them, so they are read within bounds, and one that cannot be
read holds its set rather than let it go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from typing import Any, Final

from pgvector_backup.engine.base.errors import BackupError, InvalidParams, NotFound
from pgvector_backup.engine.contract.request_keys import REASON_LENGTH
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import emptied_name, pin_name

_LONGEST: Final = 1 << 16
"""Bytes of such a file; a longer one is not read."""

_FIRST_YEAR, _LAST_YEAR = 1970, 9000
"""What can be shown in any zone."""

_UNREADABLE: Final = "nobody knows: its file cannot be read"


@dataclass(frozen=True)
class Pin:
    """Who holds a set, until when (None: until it is lifted), and why.

    :param at: when it was pinned
    """

    by: str
    reason: str
    until: datetime | None = None
    at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it has not ended yet."""
        return self.until is None or self.until > now

    def describe(self, zone: tzinfo) -> str:
        """The pin in words."""
        until = "" if self.until is None else f" until {self.until.astimezone(zone):%Y-%m-%d}"
        return f"pinned{until} by {self.by}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """The pin as its file and answers have it."""
        return {
            "by": self.by,
            "reason": self.reason,
            "until": None if self.until is None else self.until.isoformat(timespec="seconds"),
            "at": None if self.at is None else self.at.isoformat(timespec="seconds"),
        }


UNREADABLE_PIN: Final = Pin(by="somebody", reason=_UNREADABLE)
"""What stands for a pin of which nobody can say who made it: it holds."""


def parse_until(text: str | None, zone: tzinfo) -> datetime | None:
    """The end of a pin: a day, up to whose end it holds, or a moment; both as ISO 8601 writes them.

    :raises InvalidParams: for anything else
    """
    if text is None or not text.strip():
        return None
    try:
        when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise InvalidParams(f"until: {text!r} is no date; write it as 2027-03-01") from None
    if not _FIRST_YEAR <= when.year <= _LAST_YEAR:
        raise InvalidParams(f"until: {text!r} is no date that will come; leave it out for a pin without an end")
    if len(text.strip()) == len("2027-03-01"):
        when = when.replace(hour=23, minute=59, second=59)
    return when if when.tzinfo else when.replace(tzinfo=zone)


def write_pin(location: Location, backup_id: str, pin: Pin) -> None:
    """Pin a set, in place of an earlier pin.

    :raises InvalidParams: without a reason, or with one that is too long
    """
    if not pin.reason.strip():
        raise InvalidParams("reason: say why the set is to stay")
    if len(pin.reason) > REASON_LENGTH:
        raise InvalidParams(f"reason: longer than {REASON_LENGTH:,} characters")
    location.write(pin_name(backup_id), json.dumps(pin.to_json(), ensure_ascii=False, indent=2).encode())


def read_pin(location: Location, backup_id: str) -> Pin | None:
    """A set's pin; None where it has none. One that cannot be read holds without an end."""
    body = _read(location, pin_name(backup_id))
    if body is None:
        return None
    try:
        return Pin(_line(body["by"]), _line(body["reason"]), _moment(body.get("until")), _moment(body.get("at")))
    except (KeyError, ValueError, TypeError):
        return UNREADABLE_PIN


def lift_pin(location: Location, backup_id: str) -> Pin:
    """Take a set's pin away.

    :return: the pin that it had
    :raises NotFound: when it has none
    """
    pin = read_pin(location, backup_id)
    if pin is None:
        raise NotFound(f"set {backup_id} in {location.relative_path} is not pinned")
    location.remove(pin_name(backup_id))
    return pin


def write_emptied(location: Location, backup_id: str, rows: Mapping[str, int], at: datetime) -> None:
    """Note that tables are emptied on the word of a set, which may then be the only copy of their rows."""
    body = {"at": at.isoformat(timespec="seconds"), "tables": dict(rows)}
    location.write(emptied_name(backup_id), json.dumps(body, ensure_ascii=False, indent=2).encode())


def read_emptied(location: Location, backup_id: str, tables: tuple[str, ...]) -> tuple[str, ...]:
    """The tables that were emptied on the word of a set.

    :param tables: of the set; what cannot be read tells of all of them
    """
    body = _read(location, emptied_name(backup_id))
    if body is None:
        return ()
    named = body.get("tables")
    if not isinstance(named, dict):
        return tables
    return tuple(label for label in tables if label in named)


def _read(location: Location, name: str) -> dict[str, Any] | None:
    """A small file's JSON object; None where there is no such file, empty where it is anything else."""
    try:
        with location.open(name) as file:
            content = file.read(_LONGEST + 1)
    except NotFound:
        return None
    except BackupError as fault:
        if fault.can_retry:
            raise
        return {}
    try:
        body = json.loads(content) if len(content) <= _LONGEST else None
    except (ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else {}


def _line(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    when = datetime.fromisoformat(str(value))
    if not _FIRST_YEAR <= when.year <= _LAST_YEAR:
        raise ValueError(value)
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
