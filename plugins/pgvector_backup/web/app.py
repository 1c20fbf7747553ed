"""The app that Airflow's API server mounts under `PREFIX`."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from pgvector_backup import __version__
from pgvector_backup.web import (
    routes_chains,
    routes_copies,
    routes_metrics,
    routes_overview,
    routes_retention,
    routes_sets,
)
from pgvector_backup.web.access import requires, requires_same_origin
from pgvector_backup.web.faults import put_in_envelopes
from pgvector_backup.web.routes_runs import OFFERS, router_of
from pgvector_backup.web.routes_target import router_of_target
from pgvector_backup.web.temporary_connection import sweeper

PREFIX: Final = "/api/v0/data_pipeline/vector"


def create_app() -> FastAPI:
    """Every route asks for a user; so does the OpenAPI document. Pages that show it would load from other hosts."""
    app = FastAPI(
        title="pgvector backup",
        version=__version__,
        description="Backups of pgvector tables: made, listed, verified, restored, pruned.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=sweeper.lifespan,
        redirect_slashes=False,
        dependencies=[Depends(requires_same_origin)],
    )
    put_in_envelopes(app)
    app.include_router(routes_retention.router)  # its paths end in more than those of the sets
    app.include_router(routes_sets.router)
    app.include_router(routes_chains.router)
    app.include_router(routes_copies.router)
    app.include_router(router_of_target())
    app.include_router(routes_overview.router)
    app.include_router(routes_metrics.router)
    for kind in OFFERS:
        app.include_router(router_of(kind))

    @app.get("/openapi.json", include_in_schema=False, dependencies=[requires("read", "backup")])
    def openapi(request: Request) -> JSONResponse:
        return JSONResponse(_document(app, request.scope["root_path"]))

    return app


def _document(app: FastAPI, root_path: str) -> dict[str, Any]:
    """The document without FastAPI's own 422, which no route ever answers with."""
    document = {**app.openapi(), "servers": [{"url": root_path}]}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document
