"""How long the runs took that made the sets: from the results that Airflow keeps of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.installation.runs import DAG_IDS, REPORT

_AT_ONCE: Final = 500
"""Run ids in one query; SQLite takes no more than 999 values."""

_SETTLED_SECONDS: Final = 3600
"""What Airflow does not know of a set this old it has forgotten, and is not asked for again."""


@dataclass(frozen=True)
class Took:
    """Seconds, None where Airflow does not know any more; ``tables`` by label."""

    whole: float | None = None
    tables: Mapping[str, float] = field(default_factory=dict)


_UNKNOWN: Final = Took()


class Durations:
    """Remembers what it has once read; keep it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Took] = {}

    @property
    def extent(self) -> int:
        """How many are known; while it stays the same, so does what `of` tells."""
        return len(self._known)

    def of(self, one: FoundSet) -> Took:
        """Of a set, as far as `read` has read it."""
        return self._known.get((one.run_id or "", one.backup_id), _UNKNOWN)

    def read(self, sets: Iterable[FoundSet]) -> None:
        """Read what is not known yet, in one query for many."""
        asked = {(one.run_id, one.backup_id): one for one in sets if one.run_id}
        wanted = [key for key in asked if key not in self._known]
        if not wanted:
            return
        results = self._results({run_id for run_id, _ in wanted})
        for run_id, backup_id in wanted:
            result = results.get(run_id, {})
            if result.get("backup_id") == backup_id:
                self._known[run_id, backup_id] = _took(result)
            elif time.time() - asked[run_id, backup_id].moment > _SETTLED_SECONDS:
                self._known[run_id, backup_id] = _UNKNOWN

    @staticmethod
    def _results(run_ids: set[str]) -> dict[str, Mapping[str, Any]]:
        every, found = sorted(run_ids), {}
        with create_session(scoped=False) as session:
            for first in range(0, len(every), _AT_ONCE):
                rows = session.scalars(
                    select(XComModel).where(
                        XComModel.dag_id == DAG_IDS["backup"],
                        XComModel.task_id == REPORT,
                        XComModel.key == "return_value",
                        XComModel.run_id.in_(every[first : first + _AT_ONCE]),
                    )
                )
                for row in rows:
                    if isinstance(value := XComModel.deserialize_value(row), Mapping):
                        found[row.run_id] = value
        return found


def _took(result: Mapping[str, Any]) -> Took:
    tables = result.get("tables_backed_up") or {}
    return Took(
        whole=result.get("duration"),
        tables={label: table["duration"] for label, table in tables.items() if "duration" in table},
    )


durations: Final = Durations()
