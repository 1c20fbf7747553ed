"""Routes that trigger a run, look at it, and cancel it; the same for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse

from pgvector_backup.engine.base import errors
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, COPY_KEYS, PRUNE_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.engine.contract.requests import (
    BackupRequest,
    CopyRequest,
    PruneRequest,
    RestoreRequest,
    VerifyRequest,
)
from pgvector_backup.engine.sets.copies import at_copy
from pgvector_backup.installation import configuration
from pgvector_backup.installation.connections import check_admitted
from pgvector_backup.installation.runs import DAG_IDS, Kind
from pgvector_backup.web import runs, sets
from pgvector_backup.web.access import User, may_create_connections, requires
from pgvector_backup.web.body import json_object, schema_of
from pgvector_backup.web.envelope import answer
from pgvector_backup.web.run_shapes import Accepted, RunResult, WholeRun
from pgvector_backup.web.shapes import Envelope, answers
from pgvector_backup.web.temporary_connection import sweeper
from pgvector_backup.web.threads import in_thread, threaded

_LONGEST_WAIT: Final = 3600

_STATUS: Final = {
    kind.error_type: kind.code
    for kind in (
        errors.InvalidParams,
        errors.MissingParams,
        errors.NotFound,
        errors.Conflict,
        errors.IntegrityFault,
        errors.StorageFault,
        errors.DatabaseFault,
        errors.Cancelled,
    )
}

RunId = Annotated[str, Path(description="As the trigger answered it", min_length=1, max_length=250)]


@dataclass(frozen=True)
class _Offer:
    """What a kind of run accepts, and how that is checked."""

    keys: tuple[Key, ...]
    request: type[BackupRequest | RestoreRequest | VerifyRequest | PruneRequest | CopyRequest]
    summary: str
    example: Mapping[str, Any]


_A_SET: Final = {"backup_path": "vector_bak", "timestamp": "20250721_234914"}

OFFERS: Final[dict[Kind, _Offer]] = {
    "backup": _Offer(BACKUP_KEYS, BackupRequest, "Back up", {"task_id": "task_20250721_213627"}),
    "restore": _Offer(RESTORE_KEYS, RestoreRequest, "Restore a set", _A_SET | {"truncate_before_restore": True}),
    "verify": _Offer(VERIFY_KEYS, VerifyRequest, "Verify sets", _A_SET | {"depth": "drill"}),
    "copy": _Offer(COPY_KEYS, CopyRequest, "Copy sets to other roots, or back from one", _A_SET),
    "prune": _Offer(PRUNE_KEYS, PruneRequest, "Remove what the policy lets go", {"dry_run": True}),
}


def router_of(kind: Kind) -> APIRouter:
    """``POST /{kind}``, ``GET`` and ``DELETE /{kind}/{run_id}``."""
    router, offer = APIRouter(tags=[kind]), OFFERS[kind]
    pattern = rf"{configuration.connection_rules().id_pattern}|^postgres(?:ql)?://\S+$"

    @router.post(
        f"/{kind}",
        summary=f"{offer.summary}: trigger the DAG {DAG_IDS[kind]} and wait for its result",
        operation_id=f"trigger_{kind}",
        dependencies=[requires("run", kind)],
        responses={
            **answers(RunResult, 404, 409),
            202: {"model": Envelope[Accepted], "description": "The run goes on; its state is at `status_url`"},
        },
        openapi_extra=schema_of(offer.keys, db_connection=pattern, example=offer.example),
        response_class=JSONResponse,
    )
    async def trigger(
        request: Request,
        user: User,
        wait: Annotated[
            int, Query(description="Seconds to wait for the result; 0: not at all", ge=0, le=_LONGEST_WAIT)
        ] = 600,
    ) -> JSONResponse:
        conf = await json_object(request)
        uri = await in_thread(_checked, kind, conf, user)
        if uri is not None:
            conf.pop("db_connection")
        from_page = request.headers.get("sec-fetch-site") == "same-origin"
        run_id = await in_thread(runs.trigger, kind, conf, user=user.get_name(), uri=uri, from_page=from_page)
        if uri is not None:
            sweeper.start()
        run = await runs.wait(kind, run_id, wait, request.is_disconnected)
        return _outcome(request, run)

    @router.get(
        f"/{kind}/{{run_id}}",
        summary="State, progress, and the result or the error once there is one",
        operation_id=f"get_{kind}",
        dependencies=[requires("read", kind)],
        responses=answers(WholeRun, 404),
        response_class=JSONResponse,
    )
    @threaded
    def look(request: Request, run_id: RunId) -> JSONResponse:
        return answer(request, runs.look(kind, run_id))

    @router.delete(
        f"/{kind}/{{run_id}}",
        summary="Cancel a run: its queries are cancelled, nothing half done is left",
        operation_id=f"cancel_{kind}",
        dependencies=[requires("edit", kind)],
        responses={
            **answers(WholeRun, 404, 409),
            202: {"model": Envelope[WholeRun], "description": "Cancelled; the run has not ended yet"},
        },
        response_class=JSONResponse,
    )
    async def cancel(
        request: Request,
        user: User,
        run_id: RunId,
        wait: Annotated[int, Query(description="Seconds to wait for the run's end", ge=0, le=_LONGEST_WAIT)] = 30,
    ) -> JSONResponse:
        await in_thread(runs.cancel, kind, run_id, user=user.get_name())
        run = await runs.wait(kind, run_id, wait, request.is_disconnected)
        return answer(request, run, code=200 if _ended(run) else 202)

    return router


def _checked(kind: Kind, conf: Mapping[str, Any], user: User) -> str | None:
    """Refuse at once what would fail for certain.

    :return: the URI, if the request gives one in place of a connection's id
    """
    asked = OFFERS[kind].request.from_mapping(conf)
    if isinstance(asked, PruneRequest):
        if asked.backup_path is not None or asked.task_id is not None:
            sets.catalog().place(asked.backup_path, asked.task_id)
        return None
    if isinstance(asked, CopyRequest):
        _check_copy(asked)
        return None
    uri = asked.db_connection if asked.db_connection is not None and "://" in asked.db_connection else None
    if uri is not None:
        if not may_create_connections(user):
            raise HTTPException(403, "db_connection: a URI needs the permission to create connections")
    elif asked.db_connection is not None:
        check_admitted(asked.db_connection, configuration.connection_rules())
    if isinstance(asked, BackupRequest):
        sets.require_task_directory(asked.task_id)
    elif asked.from_copy is not None:
        at_copy(configuration.settings(), asked.from_copy)  # what lies there, the run will see
    elif isinstance(asked, RestoreRequest) or asked.backup_path is not None or asked.task_id is not None:
        here = sets.catalog()
        here.find(here.place(asked.backup_path, asked.task_id), asked.timestamp)
    return uri


def _check_copy(asked: CopyRequest) -> None:
    settings = configuration.settings()
    if not settings.copy_roots:
        raise InvalidParams("copy_roots: no other root is named, so there is nowhere to copy to")
    at_copy(settings, asked.from_copy)
    if asked.from_copy is not None:
        return  # what lies there, the run will see
    here = sets.catalog()
    if not asked.all:
        here.find(here.place(asked.backup_path, asked.task_id), asked.timestamp)
    elif asked.backup_path is not None or asked.task_id is not None:
        here.place(asked.backup_path, asked.task_id)


def _outcome(request: Request, run: Mapping[str, Any]) -> JSONResponse:
    """What the run has come to: its result, its error as an error, or that it goes on."""
    if not _ended(run):
        status_url = f"{request.scope['root_path']}/{run['kind']}/{quote(run['run_id'], safe='')}"
        going_on = {name: run[name] for name in ("run_id", "dag_id", "state")} | {"status_url": status_url}
        return answer(request, going_on, code=202, headers={"Location": status_url})
    if run["error"] is not None:
        more = {"run_id": run["run_id"], "result": run["result"]}
        return answer(request, {**run["error"], **more}, code=_STATUS.get(run["error"].get("error_type"), 500))
    return answer(request, run["result"] or {"response": "", "run_id": run["run_id"]})


def _ended(run: Mapping[str, Any]) -> bool:
    return run["state"] in ("success", "failed")
