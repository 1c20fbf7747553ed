"""The route that Prometheus scrapes: for an Airflow user, or for the static token that opens nothing else."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

from airflow.api_fastapi.core_api.security import get_user
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import HTTPBearer

from pgvector_backup.engine.contract.exposition import CONTENT_TYPE, exposition
from pgvector_backup.engine.sets.gauges import gauges
from pgvector_backup.installation import configuration
from pgvector_backup.web import sets
from pgvector_backup.web.access import may
from pgvector_backup.web.shapes import ErrorEnvelope

router = APIRouter(tags=["overview"])

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
def get_metrics() -> Response:
    """Computed from the sets at the scrape; without a look at the store there is ``store_up 0`` and nothing else."""
    return Response(exposition(gauges(sets.catalog())), media_type=CONTENT_TYPE)
