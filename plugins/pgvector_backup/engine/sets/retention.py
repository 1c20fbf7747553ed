"""Which sets stay and which may go: a pure function of the sets, a policy, the time and a zone.

Nothing is read or removed here. Every set comes out with *keep* or *remove* and with each reason in words, so that the
plan that is shown is the plan that is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from pgvector_backup.engine.sets.beside import Pin
from pgvector_backup.engine.sets.choice import newest_proven
from pgvector_backup.engine.sets.policy import Policy
from pgvector_backup.engine.sets.reasons import Reason, reason


@dataclass(frozen=True)
class Candidate:
    """What a plan has to know of one set.

    :param location: where it lies, e.g. ``task_1/vector_bak``
    :param timestamp: its id there
    :param source: what it is of: the database's identity and the tables, in any form that compares equal for the same
    :param created_at: with a time zone
    :param bytes: of all its files
    :param fault: why it could not be restored (damaged, partial, failed); None: it could
    :param rows: rows by table
    :param proven: when rows were last compared with the manifest, by a verify or a drill
    :param base: timestamp of the set that it is an increment on
    :param relied_on: names of the tables that a truncate emptied on the word of this set
    :param unread: what of it could not be read just now: it stays, and makes up for no other; empty: all was read
    :param in_use: by whom it is read, copied or made now; empty: by nobody
    """

    location: str
    timestamp: str
    source: object
    created_at: datetime
    bytes: int = 0
    fault: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    proven: datetime | None = None
    pin: Pin | None = None
    base: str | None = None
    relied_on: tuple[str, ...] = ()
    unread: str = ""
    in_use: str = ""

    @property
    def age(self) -> tuple[float, str]:
        """What sets are sorted by: when it was made; where two are of the same moment, the id."""
        return self.created_at.timestamp(), self.timestamp


@dataclass(frozen=True)
class Decision:
    """One set's fate and each reason for it, in words.

    :param only_as_base: whether it stays for nothing but the sake of sets that stand on it
    """

    set: Candidate
    keep: bool
    reasons: tuple[Reason, ...]
    only_as_base: bool = False


@dataclass(frozen=True)
class Plan:
    """A decision for every set, newest first within each location."""

    decisions: tuple[Decision, ...]

    @property
    def kept(self) -> tuple[Decision, ...]:
        """Those that stay."""
        return tuple(one for one in self.decisions if one.keep)

    @property
    def removed(self) -> tuple[Decision, ...]:
        """Those that go, in the order in which they may: what stands on another set goes before it."""
        return tuple(one for one in self.decisions if not one.keep)

    def drastic(self) -> list[str]:
        """Locations that would lose more than half of their sets."""
        here: dict[str, list[bool]] = {}
        for one in self.decisions:
            here.setdefault(one.set.location, []).append(one.keep)
        return [location for location, fates in here.items() if fates.count(False) * 2 > len(fates)]


def plan(sets: Iterable[Candidate], policy: Policy, now: datetime, zone: tzinfo) -> Plan:
    """Decide on every set.

    Sets are grouped by what they are of and where they lie. Rules count good sets alone: those that could be restored,
    their bases too. What is not good goes once a newer good set is there.

    :param now: with a time zone
    :param zone: in which days, weeks and so on begin
    """
    groups: dict[tuple[str, object], list[Candidate]] = {}
    for one in sets:
        groups.setdefault((one.location, one.source), []).append(one)
    decisions: list[Decision] = []
    for group in groups.values():
        group.sort(key=lambda one: one.age, reverse=True)
        decisions += _Group(group, policy, now, zone).decide()
    decisions.sort(key=lambda one: one.set.age, reverse=True)
    decisions.sort(key=lambda one: one.set.location)
    return Plan(tuple(decisions))


class _Group:
    """The sets of one database in one location, newest first."""

    def __init__(self, sets: Sequence[Candidate], policy: Policy, now: datetime, zone: tzinfo) -> None:
        self._sets = sets
        self._policy = policy
        self._now = now
        self._zone = zone
        self._by_timestamp = {one.timestamp: one for one in sets}
        self._faults: dict[str, str | None] = {}
        self._good = [one for one in sets if self._fault(one) is None]
        self._keep: dict[str, list[Reason]] = {}

    def decide(self) -> list[Decision]:
        if self._policy.removes_anything:
            self._by_rules()
        else:
            for one in self._sets:
                self._hold(one, reason("no_policy"))
        self._by_guards()
        self._by_truncates()
        for_itself = set(self._keep)
        self._by_bases()
        return [
            Decision(one, True, tuple(self._keep[one.timestamp]), one.timestamp not in for_itself)
            if one.timestamp in self._keep
            else Decision(one, False, (self._why_removed(one),))
            for one in self._sets
        ]

    def _hold(self, one: Candidate, why: Reason) -> None:
        self._keep.setdefault(one.timestamp, []).append(why)

    def _fault(self, one: Candidate) -> str | None:
        """Why a set could not be restored: its own fault, or one in the line of its bases."""
        line: list[str] = []
        found: str | None = None
        at: Candidate | None = one
        while at is not None:
            if at.timestamp in self._faults:
                found = self._faults[at.timestamp]
                break
            if at.fault is not None:
                found = at.fault
                self._faults[at.timestamp] = found
                break
            if at.timestamp in line:
                found = "its bases run in a circle"
                break
            line.append(at.timestamp)
            if at.base is None:
                break
            base = self._by_timestamp.get(at.base)
            if base is None:
                found = f"its base {at.base} is missing"
                break
            at = base
        for timestamp in line:
            self._faults[timestamp] = found
        return found

    def _by_rules(self) -> None:
        policy = self._policy
        for number, one in enumerate(self._good[: policy.last], 1):
            self._hold(one, reason("last", count=policy.last, number=number))
        if policy.within is not None and self._good:
            # From the newest good set on, or from now where a clock ran ahead: a pause must not empty a location.
            since = min(self._now, self._good[0].created_at) - policy.within
            for one in self._good:
                if one.created_at < since:
                    break
                self._hold(one, reason("within", days=policy.within.days))
        local = [one.created_at.astimezone(self._zone) for one in self._good]
        for name, count, period in (
            ("hourly", policy.hourly, _hour),
            ("daily", policy.daily, _day),
            ("weekly", policy.weekly, _week),
            ("monthly", policy.monthly, _month),
            ("yearly", policy.yearly, _year),
        ):
            if count:
                self._newest_of_each(name, count, period, local)

    def _newest_of_each(
        self, name: str, count: int, period: Callable[[datetime], str], local: Sequence[datetime]
    ) -> None:
        seen: set[str] = set()
        for one, when in zip(self._good, local, strict=True):
            this = period(when)
            if this not in seen:
                if len(seen) == count:
                    return
                seen.add(this)
                self._hold(one, reason(name, period=this))

    def _by_guards(self) -> None:
        if self._good:
            alone = len(self._good) == 1
            self._hold(self._good[0], reason("only_good" if alone else "newest_good"))
            at_least = self._policy.at_least
            for one in self._good[1:at_least]:
                self._hold(one, reason("at_least", count=at_least))
        if (proven := newest_proven(self._good)) is not None:
            self._hold(proven, reason("newest_proven"))
        newest_good = self._good[0] if self._good else None
        for one in self._sets:
            if one.pin is not None and one.pin.holds(self._now):
                self._hold(one, _pinned(one.pin, self._zone))
            if one.unread:
                self._hold(one, reason("unread", fault=one.unread))
            if one.in_use:
                self._hold(one, reason("in_use", whom=one.in_use))
            if one.created_at > self._now:
                self._hold(one, reason("from_the_future"))
            if self._fault(one) is not None and (newest_good is None or one.age > newest_good.age):
                self._hold(one, reason("nothing_newer", fault=self._fault(one)))

    def _by_truncates(self) -> None:
        """A set that a truncate relied on may hold the only copy of what was emptied."""
        held_again: set[str] = set()
        for one in self._sets:  # newest first: what is collected is of later sets that stay
            if missing := [table for table in one.relied_on if table not in held_again]:
                self._hold(one, reason("only_copy", tables=", ".join(missing)))
            if self._fault(one) is None and one.timestamp in self._keep:
                held_again.update(table for table, rows in one.rows.items() if rows > 0)

    def _by_bases(self) -> None:
        waiting = [one for one in self._sets if one.timestamp in self._keep]
        for one in waiting:  # grows: a base that stays for another's sake may stand on one itself
            base = None if one.base is None else self._by_timestamp.get(one.base)
            if base is not None:
                if base.timestamp not in self._keep:
                    waiting.append(base)
                self._hold(base, reason("base", timestamp=one.timestamp))

    def _why_removed(self, one: Candidate) -> Reason:
        fault = self._fault(one)
        return reason("no_rule") if fault is None else reason("superseded", fault=fault)


def _pinned(pin: Pin, zone: tzinfo) -> Reason:
    if pin.until is None:
        return reason("pinned", by=pin.by, why=pin.reason)
    return reason("pinned_until", by=pin.by, why=pin.reason, day=f"{pin.until.astimezone(zone):%Y-%m-%d}")


def _hour(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:00%z}"  # with the offset: the hour that the end of summer time repeats is two hours


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"


def _week(when: datetime) -> str:
    year, week, _ = when.isocalendar()
    return f"{year}-W{week:02}"


def _month(when: datetime) -> str:
    return f"{when:%Y-%m}"


def _year(when: datetime) -> str:
    return f"{when:%Y}"
