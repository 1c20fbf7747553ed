"""Routes about what sets hold of each other: what differs between two, in which ones a row lies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from pgvector_backup.engine.diff import diff
from pgvector_backup.engine.find_key import find_key
from pgvector_backup.engine.store.naming import TASK_ID_LENGTH
from pgvector_backup.web import sets
from pgvector_backup.web.access import requires, requires_download
from pgvector_backup.web.envelope import answer
from pgvector_backup.web.set_shapes import Compared, Searched
from pgvector_backup.web.shapes import answers
from pgvector_backup.web.threads import threaded

router = APIRouter(tags=["sets"])

_Place = Annotated[
    str,
    Query(description="The sets' `relative_path`, as the list gives it", pattern="^[A-Za-z0-9_/-]+$", max_length=600),
]
_Set = Annotated[str, Query(description="A set's id", pattern="^[A-Za-z0-9_-]+$", max_length=TASK_ID_LENGTH)]


@router.get(
    "/diff",
    summary="Which rows came, changed and went between two sets",
    operation_id="diff_sets",
    dependencies=[requires("read", "backup"), Depends(requires_download)],
    responses=answers(Compared, 404, 409),
    response_class=JSONResponse,
)
@threaded
def diff_sets(request: Request, backup_path: _Place, a: _Set, b: _Set) -> JSONResponse:
    """By their keys, which sets of mode incremental have; counts, and the first hundred keys of each kind."""
    found = sets.at(backup_path)
    one, other = (sets.catalog().find(found.location, name) for name in (a, b))
    return answer(request, diff(found.location, one, other).to_json())


@router.get(
    "/find",
    summary="In which sets a row lies, since when, until when",
    operation_id="find_row",
    dependencies=[requires("read", "backup"), Depends(requires_download)],
    responses=answers(Searched, 404),
    response_class=JSONResponse,
)
@threaded
def find_row(
    request: Request,
    backup_path: _Place,
    key: Annotated[
        list[str], Query(description="The row's key; of a key of several columns, each of them", max_length=32)
    ],
) -> JSONResponse:
    """By its key, in every set that has keys."""
    return answer(request, find_key(sets.at(backup_path), key).to_json())
