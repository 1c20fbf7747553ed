"""Each test that is said to hold a guard is still there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
GUARDS = json.loads((CHECKOUT / "mutants" / "guards.json").read_text())


@pytest.mark.parametrize("test", sorted(set(GUARDS.values())))
def test_what_notices_a_guards_loss_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    text = (CHECKOUT / "tests" / file).read_text()
    assert any(f"{kind} {name}{mark}" in text for kind in ("def", "class") for mark in "(:"), test
