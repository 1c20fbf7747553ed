"""How long the store is to hold each object of a set: until the plan would let the set go.

That day is foreseen, for whether a set becomes the last one of its month is not known when it is made: sets are taken
to follow at the distance of the last ones, and the hold ends when a prune would remove the set. It is never longer than
the longest rule. Pins, proofs and guards hold a set in other ways, which can be lifted again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Final

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.candidates import candidates
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.forecast import HORIZON, forecast
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.listing import identity_of
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.policy import Policy, policy_of, policy_of_copies
from pgvector_backup.engine.sets.retention import Candidate
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import of_table, script_name

_DAY: Final = timedelta(days=1)
_SHORTEST: Final = timedelta(hours=1)
"""Between two sets that follow by themselves; those made by hand in a row say nothing."""

_GAPS: Final = 7
_ENOUGH: Final = 3
"""Gaps between sets by which their distance is told; with fewer of them it is a day."""

_NEAR: Final = 0.9
"""Of the time that is left: a hold of so much of it is not made longer."""


@dataclass(frozen=True)
class Holding:
    """How the sets of one location are held.

    :param mode: ``governance`` or ``compliance``
    :param policy: which says how long
    """

    mode: str
    policy: Policy

    @classmethod
    def of(cls, settings: Settings, location: Location, *, copies: bool = False) -> Holding | None:
        """What the settings ask for in a location; None: nothing is held.

        :param copies: whether copies lie there
        :raises InvalidParams: where nothing can be held, or no rule says how long
        """
        key, mode = ("copy_object_lock", settings.copy_object_lock) if copies else ("object_lock", settings.object_lock)
        if not mode:
            return None
        policy = (policy_of_copies if copies else policy_of)(settings)
        if not policy.removes_anything:
            raise InvalidParams(
                f"{key}: no rule says how long sets stay, so nobody knows how long to hold them; set one of "
                f"{'copy_' if copies else ''}keep_*, e.g. keep_daily, or leave {key} empty"
            )
        location.require_lock()
        return cls(mode, policy)

    def begin(self, claim: Claim, place: FoundLocation, manifest: Manifest, now: datetime) -> None:
        """Have a set held from the moment on at which it exists, and what it stands on for as long at least.

        :param manifest: of the set, which is about to be committed
        :param now: with the time zone in which days, weeks and so on begin
        """
        new = Candidate(
            location=place.location.relative_path,
            timestamp=manifest.backup_id,
            source=identity_of(manifest),
            created_at=datetime.fromisoformat(manifest.created_at),
            rows={table.name: table.row_count for table in manifest.tables},
            base=manifest.chain[-1].backup_id if manifest.chain else None,
        )
        bases = [link.backup_id for link in manifest.chain]
        others = [one for one in candidates(place) if one.timestamp != new.timestamp]
        ends = self._ends([*others, new], now, {*bases, new.timestamp})
        own = ends[new.timestamp]
        by_id = {one.backup_id: one for one in place.sets}
        for base in bases:
            if base in by_id:
                until = max(own, ends.get(base, own))
                place.location.hold(held_names(place.location, by_id[base]), Hold(self.mode, until))
        if own > now:  # a copy of an old set may be past its time
            claim.hold(Hold(self.mode, own))

    def extend(self, place: FoundLocation, kept: Sequence[Candidate], now: datetime) -> None:
        """Hold sets that stay for as long as they will, where that is much longer than they are held now.

        :raises StorageFault: where one cannot be held; the others are
        """
        ends = self._ends(kept, now, {one.timestamp for one in kept})
        found = [one for one in place.sets if one.manifest_file is not None and ends.get(one.backup_id, now) > now]

        def short(one: FoundSet) -> bool:
            held = place.location.held([str(one.manifest_file)])
            return held is None or (held.until is not None and held.until - now < _NEAR * (ends[one.backup_id] - now))

        for one, is_short in zip(found, place.location.store.each(short, found), strict=True):
            if is_short:
                place.location.hold(held_names(place.location, one), Hold(self.mode, ends[one.backup_id]))

    def _ends(self, sets: Sequence[Candidate], now: datetime, only: Collection[str]) -> Mapping[str, datetime]:
        """When the hold of each set is to end."""
        ends: dict[str, datetime] = {}
        for source in {one.source for one in sets if one.timestamp in only}:
            here = [
                replace(one, pin=None, proven=None, relied_on=(), in_use="") for one in sets if one.source == source
            ]
            every = _distance(here)
            goes = forecast(here, self.policy, now, now.tzinfo or timezone.utc, every, only=only)
            longest = _longest(self.policy, every)
            for one in here:
                if one.timestamp in only:
                    ends[one.timestamp] = min(goes.get(one.timestamp, now + HORIZON), one.created_at + longest)
        for one in sorted(sets, key=lambda one: one.created_at, reverse=True):
            if one.base in ends and one.timestamp in ends:  # what it stands on is of no less use than it is itself
                ends[one.base] = max(ends[one.base], ends[one.timestamp])
        return ends


def held_names(location: Location, found: FoundSet) -> list[str]:
    """The files of a set that are held: all but those that tell what became of it, which change."""
    names = [entry.name for entry in location.entries()]
    own = {script_name(found.backup_id)}
    for table in found.tables:
        own.update(of_table(table.file, found.backup_id, names))
    return [str(found.manifest_file), *(name for name in names if name in own and name != found.manifest_file)]


def _distance(sets: Sequence[Candidate]) -> timedelta:
    """Between one good set and the next, by the last ones."""
    moments = sorted((one.created_at for one in sets if one.fault is None), reverse=True)[: _GAPS + 1]
    gaps = [later - earlier for later, earlier in pairwise(moments)]
    return _DAY if len(gaps) < _ENOUGH else max(_SHORTEST, sorted(gaps)[len(gaps) // 2])


def _longest(policy: Policy, every: timedelta) -> timedelta:
    """For how long any rule would keep a set, while others follow at that distance."""
    periods = (
        (policy.hourly, timedelta(hours=1)),
        (policy.daily, _DAY),
        (policy.weekly, 7 * _DAY),
        (policy.monthly, 31 * _DAY),
        (policy.yearly, 366 * _DAY),
    )
    spans = [count * max(period, every) for count, period in periods if count]
    return max([*spans, max(policy.last, policy.at_least) * every, policy.within or timedelta(0)])


def place_of(settings: Settings, location: Location) -> FoundLocation:
    """What lies where a set is about to be made."""
    return Catalog(settings).at(location)
