"""prune, pin and unpin as their users have them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.helpers.command import Command
from tests.helpers.house import House


@pytest.fixture
def nights(house: House) -> list[str]:
    """Three sets of three nights, the newest first."""
    house.langchain(5)
    now = datetime.now(timezone.utc)
    made = [house.backup(now=now - timedelta(days=day)).backup_id for day in (2, 1, 0)]
    return [str(one) for one in reversed(made)]


def test_a_prune_shows_its_plan_and_asks(house: House, command: Command, nights: list[str]) -> None:
    planned = command("prune", "--dry-run", "--keep-last", "2")
    assert planned.code == 0
    assert f"{nights[2]}  would go" in planned.out
    assert "no rule keeps it" in planned.out
    refused = command("prune", "--keep-last", "2", stdin="no\n")
    assert refused.code == 2
    assert len(command("list", "--json").json["sets"]) == 3
    done = command("prune", "--keep-last", "2", "--yes", "--json")
    assert done.code == 0
    assert [gone["timestamp"] for gone in done.json["locations"][0]["removed"]] == [nights[2]]


def test_a_prune_without_a_policy_says_so(house: House, command: Command, nights: list[str]) -> None:
    done = command("prune", "--yes")
    assert done.code == 0
    assert "no policy is set" in done.out


def test_the_policy_comes_from_the_settings(house: House, command: Command, nights: list[str]) -> None:
    done = command("prune", "--yes", "--force", "--json", AIRFLOW__PGVECTOR_BACKUP__KEEP_DAILY="1")
    assert len(done.json["locations"][0]["removed"]) == 2


def test_a_pinned_set_cannot_be_removed_until_it_is_unpinned(house: House, command: Command, nights: list[str]) -> None:
    pinned = command("pin", "--timestamp", nights[2], "--reason", "audit", "--until", "2099-03-01", "--json")
    assert pinned.code == 0
    assert pinned.json["pin"]["reason"] == "audit"
    command("prune", "--yes", "--force", "--keep-last", "1")
    refused = command("remove", "--timestamp", nights[2], "--yes")
    assert refused.code == 4
    assert "pinned until 2099-03-01 by" in refused.err
    assert command("unpin", "--timestamp", nights[2]).code == 0
    assert command("unpin", "--timestamp", nights[2]).code == 3
    assert command("remove", "--timestamp", nights[2], "--yes").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pin", "--reason", "x"), 2, "name the set itself"),
        (("pin", "--timestamp", "latest", "--reason", "x"), 2, "name the set itself"),
        (("pin", "--timestamp", "20200101_000000", "--reason", "x"), 3, "no set 20200101_000000"),
        (("prune", "--keep-last", "-1"), 2, "keep_last"),
        (("prune", "--keep-within", "soon"), 2, "keep_within: 'soon' is no length of time"),
        (("prune", "--keep-at-least", "0", "--keep-last", "1"), 2, "keep_at_least"),
    ],
)
def test_what_makes_no_sense_is_refused(
    house: House, command: Command, nights: list[str], words: tuple[str, ...], code: int, said: str
) -> None:
    done = command(*words)
    assert done.code == code
    assert said in done.err


@pytest.mark.parametrize("until", ["2001-01-01", "someday"])
def test_a_pin_ends_in_the_future_or_never(house: House, command: Command, nights: list[str], until: str) -> None:
    done = command("pin", "--timestamp", nights[0], "--reason", "x", "--until", until)
    assert done.code == 2
    assert "until" in done.err
