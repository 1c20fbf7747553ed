"""Airflow's own metrics of our tasks: how often each kind of step succeeds and fails, and how long it takes."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final, Literal

_log: Final = logging.getLogger(__name__)

Outcome = Literal["success", "failed"]


def count(step: str, outcome: Outcome, seconds: float) -> None:
    """Tell ``pgvector_backup.{step}.{outcome}`` and, in milliseconds, ``pgvector_backup.{step}.duration``.

    :param step: e.g. ``backup``
    """
    try:
        # The class is in 3.2 and 3.3 alike; the functions beside it are not.
        from airflow.sdk.observability.stats import Stats  # noqa: PLC0415 (not there in every Airflow)

        Stats.incr(f"pgvector_backup.{step}.{outcome}")
        Stats.timing(f"pgvector_backup.{step}.duration", timedelta(seconds=seconds))
    except Exception as fault:  # what only counts must not fail what it counts
        _log.debug("step %s was not counted: %r", step, fault)


def step_of(task: object, base: type) -> str:
    """What kind of step a task is: of `PgVectorBackupOperator`, and of whatever somebody derives from it, ``backup``.

    :param base: the class that all of our operators come from
    """
    ours = [one for one in type(task).__mro__ if issubclass(one, base) and one.__module__.startswith(__package__)]
    return ours[0].__name__.removeprefix("PgVector").removesuffix("Operator").lower()
