"""The route that tells which database a connection leads to, before anything is written into it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import NotFound
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import session as database_session
from pgvector_backup.engine.postgres.source import source_of
from pgvector_backup.installation import configuration
from pgvector_backup.installation.connections import connect_to, of_restores
from pgvector_backup.installation.temporary import is_temporary
from pgvector_backup.web.access import User, may, requires
from pgvector_backup.web.envelope import answer
from pgvector_backup.web.set_shapes import Target
from pgvector_backup.web.shapes import answers
from pgvector_backup.web.threads import threaded

_SECONDS: Final = 3


def router_of_target() -> APIRouter:
    """``GET /target``."""
    router = APIRouter(tags=["restore"])
    pattern = configuration.connection_rules().id_pattern

    @router.get(
        "/target",
        summary="Which database a run would be about",
        operation_id="get_target",
        dependencies=[requires("read", "backup")],
        responses=answers(Target, 404),
        response_class=JSONResponse,
    )
    @threaded
    def get_target(
        request: Request,
        user: User,
        kind: Annotated[Literal["backup", "restore"], Query(description="Of what kind of run")] = "restore",
        # No annotation can name the pattern, which is this installation's own.
        db_connection: str | None = Query(
            None, description="Airflow connection id; none: the one that such runs use", pattern=pattern, max_length=250
        ),
    ) -> JSONResponse:
        """For who may start such a run. Asked of the server itself, as this API server reaches it."""
        if not may(user, "run", kind):
            raise HTTPException(403, "Forbidden")
        rules = configuration.connection_rules()
        if db_connection is not None and is_temporary(db_connection):
            raise NotFound(f"connection {db_connection!r} is of one run alone")
        configured = of_restores() if kind == "restore" else None
        connect = connect_to(db_connection, configured, rules, seconds=_SECONDS)
        with translated(), database_session(connect, Cancel(), lock_timeout=1) as conn:
            source = source_of(conn)
        told: dict[str, Any] = {
            "connection": db_connection or configured or rules.default,
            "database": source.database,
            "server_version": source.server_version,
            "system_identifier": source.system_identifier,
            "standby": source.standby,
        }
        return answer(request, told)

    return router
