"""The route that Prometheus scrapes: for an Airflow user, or for the static token that opens nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Final

from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import HTTPBearer
from sqlalchemy import select

from pgvector_backup.engine.contract.exposition import CONTENT_TYPE, exposition
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.gauges import Family, gauges
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import DAG_IDS
from pgvector_backup.web import sets
from pgvector_backup.web.access import may
from pgvector_backup.web.durations import durations
from pgvector_backup.web.runs import rehearsed
from pgvector_backup.web.shapes import ErrorEnvelope
from pgvector_backup.web.threads import threaded

router = APIRouter(tags=["overview"])

_REHEARSALS_AT_MOST: Final = 50
"""Dry runs in a row behind which the last success is still found."""

_SHORTEST: Final = 16
"""Characters below which a token could be guessed, and is not taken."""


async def _allowed(request: Request, bearer: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> None:
    """401 for nobody, 403 for a user who may not read the DAG."""
    token = configuration.metrics_token()
    usable = bearer is not None and len(token) >= _SHORTEST
    if usable and secrets.compare_digest(bearer.credentials.encode(), token.encode()):
        return
    user = await get_user(request, None, bearer)
    if not may(user, "read", "backup"):
        raise HTTPException(403, "Forbidden")


@router.get(
    "/metrics",
    summary="Numbers about the sets, for Prometheus",
    operation_id="get_metrics",
    dependencies=[Depends(_allowed)],
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"},
        **{code: {"model": ErrorEnvelope, "description": "Error"} for code in (401, 403, 500, 503)},
    },
)
@threaded
def get_metrics() -> Response:
    """Computed at the scrape, from sets and runs; of sets that cannot be seen there is ``store_up 0`` alone."""
    return Response(exposition([*gauges(sets.catalog(), _durations), *_of_runs()]), media_type=CONTENT_TYPE)


def _durations(made: Sequence[FoundSet]) -> list[float | None]:
    durations.read(made)
    return [durations.of(one).whole for one in made]


def _of_runs() -> list[Family]:
    """When each kind of run last succeeded, and whether its DAG is paused."""
    kinds = {dag_id: kind for kind, dag_id in DAG_IDS.items()}
    succeeded = Family(
        "pgvector_backup_last_success_timestamp_seconds",
        "When a run of a kind last succeeded: backup, restore, verify, prune.",
    )
    paused = Family("pgvector_backup_dag_paused", "1 if the DAG of a kind is paused: it does not run by itself.")
    with create_session(scoped=False) as session:
        for dag_id, kind in kinds.items():
            ended = session.execute(
                select(DagRun.end_date, DagRun.conf)
                .where(DagRun.dag_id == dag_id, DagRun.state == DagRunState.SUCCESS, DagRun.end_date.is_not(None))
                .order_by(DagRun.end_date.desc())
                .limit(_REHEARSALS_AT_MOST)
            )
            newest = next((end for end, conf in ended if not rehearsed(conf)), None)
            if newest is not None:
                succeeded.samples.append(({"kind": kind}, newest.timestamp()))
        dags = session.execute(
            select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(kinds), ~DagModel.is_stale)
        )
        paused.samples += [({"kind": kinds[dag_id]}, float(is_paused)) for dag_id, is_paused in dags]
    return [one for one in (succeeded, paused) if one.samples]
