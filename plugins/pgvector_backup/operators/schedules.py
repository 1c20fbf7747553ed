"""When the DAG `pgvector_verify` runs: after each backup, at its own times, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.configuration import conf
from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable

from pgvector_backup.installation import configuration

if TYPE_CHECKING:
    from collections.abc import Collection

_BACKUPS: Final = "pgvector_backup"
"""The asset of which the shipped DAG's backups announce a new set each."""


def verify_schedule() -> Any:
    """What `DAG` takes as ``schedule``: an asset, a timetable or both; None for neither.

    :raises InvalidParams: naming the key whose value cannot be used
    """
    times, after = configuration.schedule("verify_schedule"), configuration.verify_after()
    assets: Collection[Asset] = [] if after == configuration.NEVER else [Asset(_BACKUPS)]
    if not assets or times is None:
        return assets or times
    if times in ("@once", "@continuous"):  # no cron expressions, and none of them makes sense beside an asset
        return times
    zone = conf.get("core", "default_timezone", fallback="utc")
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(times, timezone=zone), assets=assets)
