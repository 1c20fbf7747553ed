"""A retention policy: what is to stay, as an installation has set it, for sets here and for their copies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.settings import Settings

_DAYS: Final = {"d": 1, "w": 7, "m": 31, "y": 366}
"""Days of a unit, the longest that a calendar knows: rather a day too long than one too short."""


@dataclass(frozen=True)
class Policy:
    """What is to stay; with nothing set but ``at_least``, everything does.

    :param last: the newest so many good sets
    :param within: good sets younger than this, counted back from the newest good one
    :param hourly: the newest good set of each of so many hours that have one; likewise the others
    :param at_least: good sets that stay whatever else is said
    """

    last: int = 0
    within: timedelta | None = None
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    at_least: int = 1

    def __post_init__(self) -> None:
        for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly"):
            if getattr(self, name) < 0:
                raise InvalidParams(f"keep_{name}: must not be less than 0, is {getattr(self, name)}")
        if self.at_least < 1:
            raise InvalidParams(
                f"keep_at_least: must be 1 or more, is {self.at_least}: the only good set is never removed"
            )
        if self.within is not None and self.within <= timedelta(0):
            raise InvalidParams(f"keep_within: must be longer than nothing, is {self.within}")

    @property
    def removes_anything(self) -> bool:
        """Whether any rule was set: without one, nothing is ever removed."""
        return self.within is not None or any(
            (self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        )


def policy_of(settings: Settings) -> Policy:
    """The policy that an installation has set.

    :raises InvalidParams: naming the key whose value cannot be used
    """
    return Policy(
        last=settings.keep_last,
        within=parse_within(settings.keep_within) if settings.keep_within.strip() else None,
        hourly=settings.keep_hourly,
        daily=settings.keep_daily,
        weekly=settings.keep_weekly,
        monthly=settings.keep_monthly,
        yearly=settings.keep_yearly,
        at_least=settings.keep_at_least,
    )


_RULES: Final = ("last", "within", "hourly", "daily", "weekly", "monthly", "yearly")


def policy_of_copies(settings: Settings) -> Policy:
    """The policy for sets at other roots: ``copy_keep_*`` where any rule of it is set, else the same as here.

    :raises InvalidParams: naming the key whose value cannot be used
    """
    own = {name: getattr(settings, f"copy_keep_{name}") for name in _RULES}
    if not any(own.values()):
        return policy_of(settings)
    within = str(own.pop("within")).strip()
    try:
        return Policy(
            within=parse_within(within, "copy_keep_within") if within else None,
            at_least=settings.copy_keep_at_least,
            **own,
        )
    except InvalidParams as fault:
        raise InvalidParams(fault.message if "copy_" in fault.message else f"copy_{fault.english}") from None


def parse_within(text: str, key: str = "keep_within") -> timedelta:
    """A length of time such as ``14d``, ``6w``, ``3m`` or ``1y``; months and years at their longest.

    :raises InvalidParams: for anything else
    """
    match = re.fullmatch(r"([0-9]{1,4})([dwmy])", text.strip())
    if match is None or int(match[1]) == 0:
        raise InvalidParams(f"{key}: {text!r} is no length of time; write it as 14d, 6w, 3m or 1y")
    return timedelta(days=int(match[1]) * _DAYS[match[2]])
