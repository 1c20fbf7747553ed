"""Every goal, of backups and of restores, in one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench import goals, restore_cases
from bench.cases import Outcome
from bench.dag_runs import DagRuns
from bench.goals import Goal


def all_goals(outcomes: Mapping[str, Outcome], dag_runs: DagRuns | None) -> Iterator[Goal]:
    """Every goal whose group was run."""
    yield from goals.goals(outcomes, dag_runs)
    yield from restore_cases.goals(outcomes)
