"""What stays and what goes, and why: the plan as a pure function."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.beside import Pin
from pgvector_backup.engine.sets.policy import Policy, parse_within, policy_of, policy_of_copies
from pgvector_backup.engine.sets.retention import Candidate, Plan, plan

UTC = timezone.utc
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def at(when: datetime, **more: object) -> Candidate:
    given = {"location": "vector_bak", "source": "db", "rows": {"t": 10}, "bytes": 100, **more}
    return Candidate(timestamp=f"{when:%Y%m%d_%H%M%S}", created_at=when, **given)  # type: ignore[arg-type]


def nightly(nights: int, **more: object) -> list[Candidate]:
    """One set each night at 02:00, the newest first."""
    last = datetime(2026, 11, 26, 2, tzinfo=UTC)
    return [at(last - timedelta(days=night), **more) for night in range(nights)]


def kept(made: Plan) -> list[str]:
    return [one.set.timestamp for one in made.kept]


def reasons(made: Plan, one: Candidate) -> str:
    (found,) = [decision for decision in made.decisions if decision.set == one]
    return "; ".join(found.reasons)


def test_without_a_policy_nothing_is_removed() -> None:
    sets = [*nightly(400), at(NOW, fault="damaged")]
    assert not plan(sets, Policy(), NOW, UTC).removed


def test_a_year_of_nightly_sets_by_days_weeks_and_months() -> None:
    made = plan(nightly(365), Policy(daily=7, weekly=4, monthly=12), NOW, UTC)
    assert kept(made) == [
        f"{day}_020000"
        for day in (
            "20261126", "20261125", "20261124", "20261123", "20261122", "20261121", "20261120",
            "20261115", "20261108", "20261031", "20260930", "20260831", "20260731", "20260630", "20260531",
            "20260430", "20260331", "20260228", "20260131", "20251231",
        )
    ]  # fmt: skip
    assert made.decisions[0].reasons == (
        "daily of 2026-11-26",
        "weekly of 2026-W48",
        "monthly of 2026-11",
        "the newest good one",
    )
    assert {one.reasons for one in made.removed} == {("no rule keeps it",)}


def test_days_without_a_set_do_not_count() -> None:
    sets = [one for number, one in enumerate(nightly(60)) if number % 10 == 0]
    assert len(plan(sets, Policy(daily=5), NOW, UTC).kept) == 5


def test_many_sets_of_one_hour_leave_the_days_their_due() -> None:
    busy = [at(NOW - timedelta(minutes=minute)) for minute in range(300)]
    made = plan([*busy, *nightly(10)[1:]], Policy(hourly=3, daily=7), NOW, UTC)
    assert [one.set.created_at.date() for one in made.kept][-6:] == [
        (NOW - timedelta(days=day)).date() for day in range(1, 7)
    ]


def test_what_could_not_be_restored_does_not_count() -> None:
    good, *rest = nightly(5)[2:]
    broken = [replace(one, fault="damaged: t.csv is missing") for one in nightly(2)]
    made = plan([*broken, good, *rest], Policy(last=1), NOW, UTC)
    assert kept(made) == [*(one.timestamp for one in broken), good.timestamp]
    assert reasons(made, broken[0]) == "damaged: t.csv is missing, and no newer good set is there"


def test_a_damaged_set_goes_once_a_newer_good_one_is_there() -> None:
    newest, broken = nightly(1)[0], replace(nightly(2)[1], fault="partial: t failed")
    made = plan([newest, broken], Policy(last=5), NOW, UTC)
    assert [one.set for one in made.removed] == [broken]
    assert reasons(made, broken) == "partial: t failed, and a newer good set is there"


def test_an_empty_set_does_not_push_out_what_a_truncate_relied_on() -> None:
    relied = replace(nightly(31)[30], relied_on=("t",))
    empty = [replace(one, rows={"t": 0}) for one in nightly(30)]
    made = plan([*empty, relied], Policy(last=3), NOW, UTC)
    assert relied.timestamp in kept(made)
    assert reasons(made, relied) == "the only copy of what was emptied: t"


def test_what_a_truncate_relied_on_may_go_once_a_later_set_that_stays_holds_rows() -> None:
    relied = replace(nightly(31)[30], relied_on=("t",))
    made = plan([*nightly(30), relied], Policy(last=3), NOW, UTC)
    assert relied.timestamp not in kept(made)


def test_the_newest_proven_set_stays() -> None:
    sets = nightly(30)
    proven = [replace(sets[20], proven=NOW), replace(sets[25], proven=NOW)]
    made = plan(
        [one for one in sets if one.timestamp not in {p.timestamp for p in proven}] + proven, Policy(last=2), NOW, UTC
    )
    assert kept(made) == [sets[0].timestamp, sets[1].timestamp, sets[20].timestamp]
    assert reasons(made, proven[0]) == "the newest proven one"


def test_a_pinned_set_stays_until_its_day_and_stops_nobody_else() -> None:
    sets = nightly(10)
    until = datetime(2027, 3, 1, tzinfo=UTC)
    sets[5] = replace(sets[5], pin=Pin("admin", "audit", until))
    assert kept(plan(sets, Policy(last=1), NOW, UTC)) == [sets[0].timestamp, sets[5].timestamp]
    assert reasons(plan(sets, Policy(last=1), NOW, UTC), sets[5]) == "pinned until 2027-03-01 by admin: audit"
    assert kept(plan(sets, Policy(last=1), until, UTC)) == [sets[0].timestamp]


def test_a_pin_without_an_end_never_ends() -> None:
    sets = nightly(3)
    sets[2] = replace(sets[2], pin=Pin("admin", "for good"))
    assert kept(plan(sets, Policy(last=1), NOW + timedelta(days=90_000), UTC)) == [sets[0].timestamp, sets[2].timestamp]


def test_bases_of_what_stays_stay_and_what_stands_on_another_goes_first() -> None:
    full, first, second = reversed(nightly(3))
    first, second = replace(first, base=full.timestamp), replace(second, base=first.timestamp)
    made = plan([second, first, full], Policy(last=1), NOW, UTC)
    assert not made.removed
    assert reasons(made, full) == f"base of {first.timestamp}"
    later = [at(NOW - timedelta(minutes=1))]
    assert [one.set for one in plan([*later, second, first, full], Policy(last=1), NOW, UTC).removed] == [
        second, first, full,
    ]  # fmt: skip


@pytest.mark.parametrize(("base", "fault"), [("gone", "its base gone is missing"), (None, "damaged")])
def test_an_increment_is_as_good_as_its_base(base: str | None, fault: str) -> None:
    increment, full = nightly(2)
    full = replace(full, fault="damaged")
    increment = replace(increment, base=base or full.timestamp)
    made = plan([increment, full], Policy(last=1), NOW, UTC)
    assert reasons(made, increment).startswith(fault)


def test_bases_in_a_circle_are_no_good_and_end() -> None:
    one, other = nightly(2)
    made = plan([replace(one, base=other.timestamp), replace(other, base=one.timestamp)], Policy(last=1), NOW, UTC)
    assert len(made.kept) == 2


def test_what_is_in_use_stays() -> None:
    sets = nightly(3)
    sets[2] = replace(sets[2], in_use="a restore reads it")
    assert reasons(plan(sets, Policy(last=1), NOW, UTC), sets[2]) == "in use: a restore reads it"


def test_databases_and_locations_are_told_apart_and_names_are_not_looked_at() -> None:
    sets = [*nightly(3), *nightly(3, source="other"), *nightly(3, location="t/vector_bak")]
    assert len(plan(sets, Policy(last=1), NOW, UTC).kept) == 3


def test_half_of_a_location_is_not_drastic_and_more_is() -> None:
    assert plan(nightly(4), Policy(last=2), NOW, UTC).drastic() == []
    assert plan(nightly(5), Policy(last=2), NOW, UTC).drastic() == ["vector_bak"]


def test_a_clock_set_back_removes_nothing_made_later_than_now() -> None:
    sets = nightly(5)
    early = sets[3].created_at - timedelta(hours=1)
    made = plan(sets, Policy(last=1), early, UTC)
    assert all("the clock was set back" in reasons(made, one) for one in sets[:4])


def test_the_hour_that_the_end_of_summer_time_repeats_is_two_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30+02:00
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30+01:00
    made = plan([at(first), at(second)], Policy(hourly=2), NOW, berlin)
    assert [one.reasons[0] for one in made.kept] == [
        "hourly of 2026-10-25 02:00+0100",
        "hourly of 2026-10-25 02:00+0200",
    ]


def test_the_day_that_begins_with_summer_time_is_one_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    hours = [at(datetime(2026, 3, 28, 23, 0, tzinfo=UTC) + timedelta(hours=hour)) for hour in range(23)]
    made = plan(hours, Policy(daily=5), NOW, berlin)
    assert [one.reasons[0] for one in made.kept] == ["daily of 2026-03-29"]


def test_days_begin_where_the_zone_says() -> None:
    shanghai = ZoneInfo("Asia/Shanghai")
    sets = [at(datetime(2026, 11, 25, hour, tzinfo=UTC)) for hour in (15, 16)]
    assert len(plan(sets, Policy(daily=2), NOW, UTC).kept) == 1
    assert len(plan(sets, Policy(daily=2), NOW, shanghai).kept) == 2


def test_a_leap_day_is_a_day_of_its_own() -> None:
    sets = [at(datetime(2028, 2, 28, 2, tzinfo=UTC) + timedelta(days=day)) for day in range(3)]
    made = plan(sets, Policy(daily=3, yearly=1), datetime(2028, 3, 2, tzinfo=UTC), UTC)
    assert [one.reasons[0] for one in made.kept] == [
        "daily of 2028-03-01",
        "daily of 2028-02-29",
        "daily of 2028-02-28",
    ]


def test_the_last_days_of_december_belong_to_the_week_that_most_of_them_are_in() -> None:
    sets = [at(datetime(2026, 12, 31, tzinfo=UTC)), at(datetime(2027, 1, 2, tzinfo=UTC))]
    made = plan(sets, Policy(weekly=2), datetime(2027, 1, 3, tzinfo=UTC), UTC)
    assert [one.reasons[0] for one in made.kept] == ["weekly of 2026-W53"]


def test_two_sets_of_one_second_are_told_apart() -> None:
    one = at(NOW - timedelta(hours=1))
    twin = replace(one, timestamp=one.timestamp + "_2")
    made = plan([one, twin], Policy(last=1), NOW, UTC)
    assert kept(made) == [twin.timestamp]


def test_a_pause_does_not_empty_a_location() -> None:
    made = plan(nightly(10), Policy(within=timedelta(days=3)), NOW + timedelta(days=365), UTC)
    assert len(made.kept) == 4


@pytest.mark.parametrize(("text", "days"), [("14d", 14), ("6w", 42), ("3m", 93), ("1y", 366), (" 2d ", 2)])
def test_lengths_of_time(text: str, days: int) -> None:
    assert parse_within(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "0d", "d", "-1d", "1.5d", "14", "14 days", "1h", "99999d", "١٤d", "1d1w"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidParams, match=r"^keep_within: .* is no length of time; write it as 14d, 6w, 3m or 1y$"):
        parse_within(text)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"last": -1}, "keep_last: must not be less than 0, is -1"),
        ({"yearly": -3}, "keep_yearly: must not be less than 0, is -3"),
        ({"at_least": 0}, "keep_at_least: must be 1 or more, is 0"),
        ({"within": timedelta(0)}, "keep_within: must be longer than nothing, is 0:00:00"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParams, match=said):
        Policy(**bad)


def history(random: Random) -> list[Candidate]:
    """Up to 25 sets of two databases over two and a half years, with everything that can be said of a set."""
    sets: list[Candidate] = []
    for hours in sorted(random.sample(range(900 * 24), random.randint(0, 25)), reverse=True):
        base = random.choice(sets).timestamp if sets and random.random() < 0.4 else None
        sets.append(
            at(
                NOW - timedelta(hours=hours),
                source=random.choice(["db", "db", "other"]),
                fault=random.choice([None, None, None, "damaged"]),
                rows={"t": random.choice([0, 10])},
                proven=random.choice([None, None, NOW]),
                pin=random.choice([None, None, None, Pin("x", "y"), Pin("x", "y", NOW)]),
                in_use=random.choice(["", "", "", "read"]),
                relied_on=random.choice([(), (), ("t",)]),
                base=base,
            )
        )
    return sets


def policy(random: Random) -> Policy:
    return Policy(
        last=random.randint(0, 4),
        within=random.choice([None, None, timedelta(days=2), timedelta(days=40)]),
        hourly=random.choice([0, 0, 3]),
        daily=random.choice([0, random.randint(0, 8)]),
        weekly=random.choice([0, random.randint(0, 4)]),
        monthly=random.choice([0, random.randint(0, 12)]),
        yearly=random.choice([0, 0, 3]),
        at_least=random.randint(1, 3),
    )


ZONES = [UTC, *map(ZoneInfo, ("Europe/Berlin", "Asia/Shanghai", "America/St_Johns"))]


def lines_are_whole(one: Candidate, there: dict[tuple[object, str], Candidate]) -> bool:
    """Whether a set and all its bases are there and have no fault of their own."""
    seen = set()
    at: Candidate | None = one
    while at is not None:
        if at.fault is not None or at.timestamp in seen:
            return False
        seen.add(at.timestamp)
        if at.base is None:
            return True
        at = there.get((at.source, at.base))
    return False


def guards_hold(sets: Sequence[Candidate], policy: Policy, made: Plan) -> None:
    staying = {(one.set.source, one.set.timestamp): one.set for one in made.kept}
    there = {(one.source, one.timestamp): one for one in sets}
    for source in {one.source for one in sets}:
        mine = sorted((one for one in sets if one.source == source), key=lambda one: one.created_at, reverse=True)
        good = [one for one in mine if lines_are_whole(one, there)]
        for one in good[: policy.at_least]:
            assert lines_are_whole(one, staying)
        for one in [one for one in good if one.proven][:1]:
            assert lines_are_whole(one, staying)
        for number, one in enumerate(mine):
            key = (one.source, one.timestamp)
            if (one.pin and (one.pin.until is None or one.pin.until > NOW)) or one.in_use:
                assert key in staying
            if one.relied_on and key not in staying:
                later = [set_ for set_ in mine[:number] if (source, set_.timestamp) in staying]
                assert any(set_.rows["t"] > 0 and lines_are_whole(set_, there) for set_ in later)
            if not any(lines_are_whole(newer, there) for newer in mine[:number]):
                assert key in staying
    for one in staying.values():
        if one.base is not None and (one.source, one.base) in there:
            assert (one.source, one.base) in staying
    if not policy.removes_anything:
        assert not made.removed
    assert all(one.reasons for one in made.decisions)


def check_case(random: Random) -> None:
    sets, chosen, zone = history(random), policy(random), random.choice(ZONES)
    made = plan(sets, chosen, NOW, zone)
    guards_hold(sets, chosen, made)
    assert not plan([one.set for one in made.kept], chosen, NOW, zone).removed
    gone = [one.set.timestamp for one in made.removed]
    for one in made.removed:  # in this order no crash leaves a set without its base
        if one.set.base in gone:
            assert gone.index(one.set.base) > gone.index(one.set.timestamp)


HISTORIES = int(os.environ.get("PGVECTOR_BACKUP_HISTORIES", "400"))
"""Of all that can happen to sets; 10,000 take a minute or so."""


def test_in_many_histories_the_guards_hold_and_a_second_run_removes_nothing() -> None:
    removing = 0
    for seed in range(HISTORIES):
        try:
            check_case(Random(seed))
        except AssertionError as fault:
            raise AssertionError(f"with seed {seed}") from fault
        random = Random(seed)
        removing += bool(plan(history(random), policy(random), NOW, UTC).removed)
    assert removing > HISTORIES / 2


@settings(max_examples=max(100, HISTORIES // 4))
@given(random=st.randoms(use_true_random=False))
def test_the_guards_hold_for_what_hypothesis_thinks_of(random: Random) -> None:
    check_case(random)


def test_ten_thousand_sets_are_planned_without_a_look_at_each_for_each() -> None:
    """Each set is looked at a bounded number of times: four times the sets take about four times as long."""

    def seconds(count: int) -> float:
        sets = [at(NOW - timedelta(hours=hour)) for hour in range(count)]
        started = time.process_time()
        plan(sets, Policy(last=5, within=timedelta(days=30), hourly=24, daily=7, weekly=4, monthly=12), NOW, UTC)
        return time.process_time() - started

    few = min(seconds(2_500) for _ in range(3))
    many = min(seconds(10_000) for _ in range(3))
    assert many < 12 * few


def test_a_length_of_a_day_is_a_rule_too() -> None:
    policy = policy_of(Settings(backup_root=Path("/backups"), keep_within=" 1d "))
    assert (policy.within, policy.removes_anything) == (timedelta(days=1), True)


def test_copies_have_the_same_policy_unless_they_have_a_rule_of_their_own() -> None:
    here = Settings(backup_root=Path("/backups"), keep_last=3, keep_at_least=2, copy_keep_at_least=5)
    assert policy_of_copies(here) == policy_of(here) == Policy(last=3, at_least=2)
    for name, value in (("last", 7), ("hourly", 7), ("daily", 7), ("weekly", 7), ("monthly", 7), ("yearly", 7)):
        own = replace(here, **{f"copy_keep_{name}": value})
        assert policy_of_copies(own) == replace(Policy(at_least=5), **{name: value})
    assert policy_of_copies(replace(here, copy_keep_within="2w")) == Policy(within=timedelta(days=14), at_least=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"copy_keep_within": "soon"}, "copy_keep_within: 'soon' is no length of time"),
        ({"copy_keep_last": -1}, "copy_keep_last: must not be less than 0"),
        ({"copy_keep_last": 1, "copy_keep_at_least": 0}, "copy_keep_at_least: must be 1 or more"),
    ],
)
def test_a_bad_rule_for_copies_is_named_as_such(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParams, match=f"^{message}"):
        policy_of_copies(Settings(backup_root=Path("/backups"), **wrong))
