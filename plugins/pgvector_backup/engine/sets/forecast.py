"""When each set would go, if backups went on as they do: a policy carried out on the days to come."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Final

from pgvector_backup.engine.sets.policy import Policy
from pgvector_backup.engine.sets.retention import Candidate, plan

_DAY: Final = timedelta(days=1)
_CLOSE: Final = 100
"""Backups that are foreseen one by one; after them the last of each day, which is what decides on days and longer."""

HORIZON: Final = timedelta(days=800)
"""Nothing is foreseen after that."""

_WORK: Final = 60_000
"""Sets looked at, all plans together, after which nothing more is foreseen."""

_STOPPED: Final = 3
"""Intervals without a good set after which no further ones of a database are foreseen."""


def forecast(
    sets: Iterable[Candidate],
    policy: Policy,
    now: datetime,
    zone: tzinfo,
    every: timedelta,
    *,
    only: Collection[str] | None = None,
) -> dict[str, datetime]:
    """When each set of one location would go; those that stay for as long as can be foreseen are left out.

    A good set of each database that is backed up now is taken to follow after every interval, and a prune after it.

    :param now: with a time zone
    :param every: between two backups
    :param only: ids of the sets that are asked about; None: all of them
    """
    left = {one.set.timestamp: one.set for one in plan(sets, policy, now, zone).kept}
    waiting = {timestamp for timestamp in left if only is None or timestamp in only}
    newest: dict[object, Candidate] = {}
    for one in left.values():
        if one.fault is None and (one.source not in newest or one.created_at > newest[one.source].created_at):
            newest[one.source] = one
    going_on = [one for one in newest.values() if now - one.created_at <= _STOPPED * max(every, _DAY)]
    goes: dict[str, datetime] = {}
    moment, work, number = now, 0, 0
    while waiting and work < _WORK and moment - now < HORIZON:
        number += 1
        moment += every if number <= _CLOSE else max(every, _DAY)
        for source, one in enumerate(going_on):
            made = replace(one, timestamp=f"+{number}.{source}", created_at=moment, pin=None, proven=None, base=None)
            left[made.timestamp] = replace(made, relied_on=(), in_use="")
        work += len(left)
        for gone in plan(left.values(), policy, moment, zone).removed:
            left.pop(gone.set.timestamp)
            if gone.set.timestamp in waiting:
                waiting.remove(gone.set.timestamp)
                goes[gone.set.timestamp] = moment
    return goes
