"""Airflow's own metrics of our tasks: how often each kind of step succeeds and fails, and how long it takes."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Literal

Outcome = Literal["success", "failed"]


def count(step: str, outcome: Outcome, seconds: float) -> None:
    """Tell ``pgvector_backup.{step}.{outcome}`` and, in milliseconds, ``pgvector_backup.{step}.duration``.

    :param step: e.g. ``backup``
    """
    # Airflow 3.2 has no such module, and its older one sends nothing from a task.
    with suppress(ImportError):
        from airflow.sdk.observability import stats  # noqa: PLC0415 (not there before Airflow 3.3)

        stats.incr(f"pgvector_backup.{step}.{outcome}")
        stats.timing(f"pgvector_backup.{step}.duration", timedelta(seconds=seconds))


def step_of(task: object, base: type) -> str:
    """What kind of step a task is: of `PgVectorBackupOperator`, and of whatever somebody derives from it, ``backup``.

    :param base: the class that all of our operators come from
    """
    ours = [one for one in type(task).__mro__ if issubclass(one, base) and one.__module__.startswith(__package__)]
    return ours[0].__name__.removeprefix("PgVector").removesuffix("Operator").lower()
