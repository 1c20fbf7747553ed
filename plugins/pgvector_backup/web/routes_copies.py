"""Where sets lie besides."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pgvector_backup.engine.sets.copies_of_place import copies_of_place
from pgvector_backup.installation import configuration
from pgvector_backup.web import sets
from pgvector_backup.web.access import requires
from pgvector_backup.web.envelope import answer
from pgvector_backup.web.set_shapes import Copies
from pgvector_backup.web.shapes import answers
from pgvector_backup.web.threads import threaded

router = APIRouter(tags=["sets"])


@router.get(
    "/copies",
    summary="How each set of a location stands at each of the other roots",
    operation_id="list_copies",
    dependencies=[requires("read", "backup")],
    responses=answers(Copies, 404),
    response_class=JSONResponse,
)
@threaded
def list_copies(
    request: Request,
    backup_path: Annotated[
        str,
        Query(
            description="The sets' `relative_path`, as the list gives it",
            pattern="^[A-Za-z0-9_/-]+$",
            max_length=600,
        ),
    ],
) -> JSONResponse:
    """By names and sizes, one list of each root; one that is silent for three seconds is unknown."""
    settings = configuration.settings()
    told = copies_of_place(settings, sets.at(backup_path))
    return answer(
        request,
        {
            "backup_path": backup_path,
            "roots": [str(root) for root in settings.copy_roots],
            "sets": {backup_id: [asdict(one) for one in each] for backup_id, each in told.items()},
        },
    )
