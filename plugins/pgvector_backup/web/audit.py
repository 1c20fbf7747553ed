"""Airflow's audit log: who made what happen."""

from __future__ import annotations

import json
from typing import Any, Literal

from airflow.models.log import Log
from sqlalchemy.orm import Session

from pgvector_backup.installation.runs import DAG_IDS, Kind

# The first as Airflow itself calls it.
Event = Literal[
    "trigger_dag_run", "pgvector_cancel_run", "pgvector_delete_set", "pgvector_pin_set", "pgvector_unpin_set"
]


def note(session: Session, event: Event, *, user: str, kind: Kind, run_id: str | None = None, **more: Any) -> None:
    """Add a line; it is there if what it tells of is committed with it.

    :param more: what else there is to tell; nothing of a request's connection
    """
    extra = json.dumps(more, ensure_ascii=False) if more else None
    session.add(Log(event=event, owner=user, owner_display_name=user, extra=extra, dag_id=DAG_IDS[kind], run_id=run_id))
