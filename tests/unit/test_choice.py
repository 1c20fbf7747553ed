"""Which set is the newest: of all, of the good ones, of those whose rows were read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import NotFound
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets.choice import (
    in_place_of,
    latest,
    newest,
    newest_good,
    newest_proven,
    several_databases,
)
from pgvector_backup.engine.sets.found import FoundSet


def found(day: int, **more: Any) -> FoundSet:
    return replace(
        FoundSet(
            task_id=None,
            relative_path="vector_bak",
            directory="/backups/vector_bak",
            backup_id=f"202601{day:02}_030000",
            created_at=f"2026-01-{day:02}T03:00:00+08:00",
            tables=(),
            manifest_file=f"manifest_202601{day:02}_030000.json",
        ),
        **more,
    )


def passed(depth: str, *, ok: Any = True, at: Any = "2026-02-01T00:00:00+00:00") -> Mapping[str, Any]:
    return {"ok": ok is True, "depth": depth, "verified_at": at, "last": {depth: {"verified_at": at, "ok": ok}}}


@pytest.mark.parametrize("depth", ["rows", "drill"])
def test_the_newest_proven_set_is_the_newest_made_not_the_last_compared(depth: str) -> None:
    sets = [
        found(1, verification=passed(depth, at="2026-03-01T00:00:00+00:00")),
        found(2, verification=passed(depth)),
        found(3),
    ]
    assert newest_proven(sets) == sets[1]
    assert newest_proven(reversed(sets)) == sets[1]


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"last": "rows"},
        {"last": {"rows": "yes"}},
        {"last": {"rows": {"ok": True}}},
        {"ok": True, "depth": "rows"},
        passed("files"),
        passed("rows", ok=False),
        passed("rows", ok="true"),
        passed("rows", at="yesterday"),
        passed("rows", at=7),
    ],
)
def test_what_was_not_read_back_is_not_proven(told: Mapping[str, Any] | None) -> None:
    one = found(1, verification=told)
    assert one.proven is None
    assert newest_proven([one]) is None


def test_of_two_of_one_moment_the_later_id_is_the_newer() -> None:
    one, other = (found(1, backup_id=name, verification=passed("rows")) for name in ("b", "a"))
    for sets in ([one, other], [other, one]):
        assert newest(sets) == newest_good(sets) == newest_proven(sets) == one


def test_the_newest_good_set_is_neither_damaged_nor_partial_nor_another_tools() -> None:
    good = found(1)
    others = [
        found(2, damaged="a file is missing"),
        found(3, failed_tables={"t": "no right"}),
        found(4, manifest_file=None),
        found(5, verification={"ok": False, "damaged": True, "depth": "rows", "errors": ["t.csv: altered"]}),
    ]
    assert newest_good([*others, good]) == good
    assert newest_good(others) is None


def test_the_newest_of_all_may_be_damaged_and_is_partial_only_where_none_is_whole() -> None:
    foreign, partial, damaged = found(9, manifest_file=None), found(8, failed_tables={"t": "no right"}), found(7)
    damaged = replace(damaged, damaged="a file is missing")
    assert newest([found(1), damaged, partial, foreign]) == damaged
    assert newest([foreign, partial]) == partial
    assert newest([foreign]) == foreign
    assert newest([]) is None


def of(database: str, server: str | None = "7") -> Source:
    return Source("16.4", 160004, "0.8.0", database, 5, server, 1)


def test_several_databases_are_those_of_sets_that_can_be_relied_on() -> None:
    one = found(1, source=of("a"))
    assert several_databases([one, found(2, source=of("b"))])
    assert several_databases([one, found(2), found(3, source=of("a", "8"))])
    assert not several_databases([one, found(2, source=of("a", None)), found(3)])
    assert not several_databases([one, found(2, source=of("b"), damaged="a file is missing")])
    assert not several_databases([])


def test_the_latest_of_a_database_is_its_own_if_it_has_one() -> None:
    own, other, foreign = found(1, source=of("a")), found(2, source=of("b")), found(3, manifest_file=None)
    assert latest([foreign, other, own], "vector_bak", of=of("a")) == own
    assert latest([foreign, other, own], "vector_bak", of=of("c")) == other
    assert latest([foreign, other, own], "vector_bak") == other
    assert latest([found(2, manifest_file=None), foreign], "vector_bak", of=of("a")) == foreign


@pytest.mark.parametrize(
    ("sets", "why"),
    [([], "it holds no set"), ([found(1, failed_tables={"t": "no right"})], "none of its sets is whole")],
)
def test_where_there_is_no_latest_it_says_why(sets: list[FoundSet], why: str) -> None:
    with pytest.raises(NotFound, match=f"^task_1/vector_bak: {why}; make a backup"):
        latest(sets, "task_1/vector_bak")


def test_in_the_place_of_a_damaged_set_an_older_one_is_taken_and_a_newer_one_where_there_is_none() -> None:
    sets = [found(day, source=of("a")) for day in (1, 2, 3)]
    assert f"{sets[0].backup_id} of {sets[0].created_at}" in in_place_of(sets, sets[1])
    assert sets[1].backup_id in in_place_of(sets, sets[2])
    assert sets[2].backup_id in in_place_of(sets, sets[0])
    at_once = found(2, source=of("a"), backup_id="20260102_030000b")
    assert at_once.backup_id in in_place_of([*sets, at_once], sets[1])
    other = found(4, source=of("b"))
    assert in_place_of([other, sets[0]], other) == "no set of vector_bak that is known to be whole could take its place"
