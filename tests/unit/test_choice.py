"""Which set is the newest: of all, of the good ones, of those whose rows were read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pgvector_backup.engine.sets.choice import newest, newest_good, newest_proven
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
