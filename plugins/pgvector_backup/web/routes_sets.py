"""Routes about backup sets: list, detail, deletion, download."""

from __future__ import annotations

import time
from typing import Annotated, Any

from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.store.naming import LATEST, TASK_ID_LENGTH, TASK_ID_PATTERN
from pgvector_backup.web import archive, download, sets
from pgvector_backup.web.access import User, requires, requires_download
from pgvector_backup.web.audit import note
from pgvector_backup.web.durations import durations
from pgvector_backup.web.envelope import answer
from pgvector_backup.web.set_paths import Location, Timestamp
from pgvector_backup.web.set_shapes import BackupList, BackupSetDetail, Removed
from pgvector_backup.web.shapes import ErrorEnvelope, answers
from pgvector_backup.web.threads import threaded

router = APIRouter(tags=["sets"])


@router.get(
    "/restore/list",
    summary="The sets that can be restored, the newest first",
    operation_id="list_sets",
    dependencies=[requires("read", "backup")],
    responses=answers(BackupList, 404),
    response_class=JSONResponse,
)
@threaded
def list_sets(
    request: Request,
    global_only: Annotated[bool, Query(description="Only those of the root itself")] = False,
    task_id: Annotated[
        str | None, Query(description="Only those of this task", pattern=TASK_ID_PATTERN, max_length=TASK_ID_LENGTH)
    ] = None,
) -> JSONResponse:
    """Told from names, sizes and manifests; no data file is read. Both filters together leave nothing."""
    started = time.monotonic()
    found = sets.found_locations(global_only=global_only, task_id=task_id)
    durations.read(one for place in found for one in place.sets)
    locations = [sets.location_json(place, durations) for place in found]
    counts = {
        kind: sum(len(place["backups"]) for place in locations if place["type"] == kind) for kind in ("global", "task")
    }
    summary = {
        "total_locations": len(locations),
        "total_backup_sets": sum(counts.values()),
        "global_backups": counts["global"],
        "task_backups": counts["task"],
        "scan_time": round(time.monotonic() - started, 3),
    }
    return answer(request, {"backup_locations": locations, "summary": summary})


@router.get(
    "/sets/{location:path}/{timestamp}",
    summary="All that is known of a set",
    operation_id="get_set",
    dependencies=[requires("read", "backup")],
    responses=answers(BackupSetDetail, 404),
    response_class=JSONResponse,
)
@threaded
def get_set(request: Request, location: Location, timestamp: Timestamp) -> JSONResponse:
    """From its manifest, the log file and its last verification; ``latest`` is the newest that is whole."""
    found = sets.at(location)
    one = sets.catalog().find(found.location, timestamp)
    durations.read([one])
    return answer(request, sets.as_json(sets.detail_json(found.location, found, one, durations)))


@router.delete(
    "/sets/{location:path}/{timestamp}",
    summary="Delete a set",
    operation_id="delete_set",
    dependencies=[requires("edit", "backup")],
    responses=answers(Removed, 404, 409),
    response_class=JSONResponse,
)
@threaded
def delete_set(request: Request, user: User, location: Location, timestamp: Timestamp) -> JSONResponse:
    """For good; refused while a run or a download reads it. Airflow's audit log tells who did it."""
    found = sets.at(location)
    if timestamp == LATEST:
        raise InvalidParams("timestamp: which set is to be deleted has to be said, latest may be another by now")
    one = sets.catalog().find(found.location, timestamp)
    removed = remove(found.location, one)
    told: dict[str, Any] = {
        "relative_path": found.location.relative_path,
        "timestamp": one.backup_id,
        "removed": removed,
    }
    with create_session(scoped=False) as session:
        note(session, "pgvector_delete_set", user=user.get_name(), kind="backup", **told)
    return answer(request, told)


@router.api_route(
    "/download/{location:path}/{file}",
    methods=["GET"],
    summary="A file of a set",
    operation_id="download",
    dependencies=[Depends(requires_download)],
    responses={
        **{code: about for code, about in answers(BackupList, 404).items() if code != 200},
        200: {"content": {"*/*": {}}, "description": "The file; `ETag` is its SHA-256"},
        206: {"content": {"*/*": {}}, "description": "The range that was asked for"},
        304: {"description": "The copy with that `ETag` is current"},
        416: {"model": ErrorEnvelope, "description": "The range lies beyond the file's end"},
    },
    response_class=Response,
)
@router.api_route(
    "/download/{location:path}/{file}",
    methods=["HEAD"],
    include_in_schema=False,
    dependencies=[Depends(requires_download)],
    response_class=Response,
)
@threaded
def download_file(
    request: Request,
    location: Location,
    file: Annotated[
        str,
        Path(
            description="A bare file name",
            min_length=1,
            max_length=TASK_ID_LENGTH,
            examples=["langchain_pg_embedding_20250721_234914.csv"],
        ),
    ],
) -> Response:
    """Streamed, with ranges; the log of a location too. ``set_{timestamp}.tar`` is a whole set, manifest last."""
    if (backup_id := archive.id_in(file)) is not None:
        return archive.send(request, archive.find(sets.place(location), backup_id))
    return download.send(request, download.find(sets.place(location), file))
