"""What a catalog has found of a set: whether it can be relied on, and its figures."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from pgvector_backup.engine.sets.found import FoundKeys, FoundSet, FoundTable

WHOLE = FoundSet(
    task_id=None,
    relative_path="vector_bak",
    directory="/backups/vector_bak",
    backup_id="20260102_030405",
    created_at="2026-01-02T03:04:05+00:00",
    tables=(FoundTable("a", "a.csv", 10, rows=3), FoundTable("b", "b.csv", 20, rows=4, keys=FoundKeys("b.keys", 5))),
    manifest_file="manifest_20260102_030405.json",
    identity=("7", 5, "db", "a", "b"),
)
DAMAGE = {"ok": False, "damaged": True, "errors": ["a.csv: altered", "b.csv: missing"]}


def test_of_a_whole_set_nothing_is_wrong() -> None:
    assert (WHOLE.fault, WHOLE.found_damaged, WHOLE.good, WHOLE.whole) == (None, None, True, True)
    with pytest.raises(FrozenInstanceError):
        WHOLE.damaged = "altered"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "fault", "whole"),
    [
        ({"damaged": "a.csv is missing"}, "a.csv is missing", False),
        ({"verification": DAMAGE}, "its last verification found damage: a.csv: altered", True),
        ({"verification": {"ok": False}}, "its last verification found damage", True),
        ({"verification": {"ok": False, "errors": [7]}}, "its last verification found damage", True),
        ({"failed_tables": {"c": "no right", "d": "gone"}}, "not all tables are in it: c, d", False),
    ],
)
def test_whatever_is_wrong_keeps_it_from_being_good(wrong: dict[str, Any], fault: str, whole: bool) -> None:
    one = replace(WHOLE, **wrong)
    assert (one.fault, one.good, one.whole) == (fault, False, whole)


@pytest.mark.parametrize("told", [{"ok": True}, {"ok": False, "damaged": False}, {"ok": True, "errors": ["x"]}])
def test_a_verification_that_found_no_damage_says_nothing_against_it(told: dict[str, Any]) -> None:
    assert replace(WHOLE, verification=told).good


def test_another_tools_files_are_never_good() -> None:
    assert not replace(WHOLE, manifest_file=None).good


def test_figures() -> None:
    assert (WHOLE.rows, WHOLE.bytes, WHOLE.moment) == (7, 35, 1767323045.0)
    assert (WHOLE.mode, WHOLE.chain_length, WHOLE.base_backup_id) == ("full", 1, None)
    increment = replace(WHOLE, chain=("one", "two"))
    assert (increment.mode, increment.chain_length, increment.base_backup_id) == ("incremental", 3, "two")
    unknown = replace(WHOLE, identity=None)
    assert (unknown.mode, unknown.chain_length) == (None, None)
    assert replace(WHOLE, tables=(*WHOLE.tables, FoundTable("c", "c.csv", 1))).rows is None
    assert replace(WHOLE, tables=()).rows is None
    assert replace(WHOLE, created_at="2026-01-02T03:04:05").moment == WHOLE.moment
