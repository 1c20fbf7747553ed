"""Which runs make sense for a DAG that acts on what is there now."""

from __future__ import annotations

from typing import Final

from airflow.sdk.api.datamodels._generated import DagRunType

ANY_BUT_BACKFILL: Final = frozenset(one for one in DagRunType if one.value != "backfill")
"""A backup, a restore, a verify of the past cannot be made up for: Airflow's UI then offers no backfill."""
