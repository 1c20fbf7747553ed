"""Routes that tell how things stand: the page's overview, and health for whoever watches over the installation."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import session as database_session
from pgvector_backup.engine.sets.found import FoundLocation
from pgvector_backup.engine.store.root import foresee, require_writable
from pgvector_backup.installation import configuration
from pgvector_backup.installation.connections import connect_to
from pgvector_backup.installation.runs import DAG_IDS, Kind
from pgvector_backup.installation.temporary import is_temporary
from pgvector_backup.web import attention, runs, sets
from pgvector_backup.web.access import User, may, may_create_connections, may_download, requires
from pgvector_backup.web.attention import Concern
from pgvector_backup.web.durations import durations
from pgvector_backup.web.envelope import answer, refused
from pgvector_backup.web.language import preferred
from pgvector_backup.web.overview_shapes import Health, Overview
from pgvector_backup.web.routes_runs import OFFERS
from pgvector_backup.web.shapes import answers
from pgvector_backup.web.standing import Failing, failing
from pgvector_backup.web.threads import Shared, in_thread

_log: Final = logging.getLogger(__name__)

router = APIRouter(tags=["overview"])

_RUNNING_AT_MOST: Final = 20
_RECENT_AT_MOST: Final = 8
_REHEARSALS_AT_MOST: Final = 50
"""Dry runs in a row behind which the last backup is still found."""

_STANDING: Final[dict[Kind, str]] = {
    "backup": "LAST_FAILED",
    "verify": "VERIFY_RUN_FAILED",
    "prune": "PRUNE_FAILED",
}
"""Kinds whose failure stays until the same thing succeeds, and what it is called among the warnings."""

_POSTGRES: Final = ("postgres", "postgresql")


@router.get(
    "/overview",
    summary="What runs, what is good, what needs attention, and what this user may do",
    operation_id="get_overview",
    dependencies=[requires("read", "backup")],
    responses=answers(Overview),
    response_class=JSONResponse,
)
async def get_overview(request: Request, user: User) -> JSONResponse:
    """Cheap enough to be asked for every few seconds.

    Those who ask at once are answered from one look at the sets; who asks on and on, from one that may be ten times as
    old as it took, ten seconds at most.
    """
    settings, schedule = configuration.settings(), configuration.schedule()
    seen = await _seen.get((settings, schedule), partial(_places, schedule))
    return answer(request, await in_thread(_overview, request, user, *seen))


def _overview(
    request: Request,
    user: BaseUser,
    places: Sequence[FoundLocation],
    about_sets: Sequence[Concern],
    storage: tuple[str, int | None],
) -> dict[str, Any]:
    settings, schedule, concerns = configuration.settings(), configuration.schedule(), list(about_sets)
    root, free = storage
    newest = attention.newest_good(places)
    readable = [kind for kind in DAG_IDS if may(user, "read", kind)]
    with create_session(scoped=False) as session:
        dags = {model.dag_id: model for model in session.scalars(_DAGS)}
        running = runs.latest([DAG_IDS[kind] for kind in readable], session, ended=False, limit=_RUNNING_AT_MOST)
        told = [_brief(runs.told(run, session)) for run in running]
        last = next((runs.told(run, session) for run in _last_backup(session)), None)
        concerns += attention.about_copies(last and last["result"])
        recent = [_brief(runs.told(run, session)) for run in _recent(readable, session)]
        connection_id = configuration.connection_rules().default
        for kind, code in _STANDING.items():
            if kind in readable:
                concerns += [_standing(code, one, kind) for one in failing(kind, connection_id, session)]
        can_trigger = {kind: DAG_IDS[kind] in dags and may(user, "run", kind) for kind in DAG_IDS}
        connections = _connections(session, tell_all=any(can_trigger.values()))
    backup_dag = dags.get(DAG_IDS["backup"])
    if backup_dag is not None and backup_dag.is_paused:
        concerns.append(Concern("PAUSED", {}))
    language = preferred(request.headers.get("accept-language"))
    return {
        "running": told,
        "last": last,
        "recent": recent,
        "newest_good": None if newest is None else _newest_json(newest, places),
        "storage": {
            "backup_root": root,
            "bytes": sum(one.bytes for place in places for one in place.sets),
            "sets": sum(len(place.sets) for place in places),
            "free": free,
        },
        "databases": _databases(places),
        "schedule": schedule,
        "next_run": None if backup_dag is None else runs.iso(backup_dag.next_dagrun_create_after),
        "paused": backup_dag is not None and backup_dag.is_paused,
        "warnings": [concern.to_json(language) for concern in concerns],
        "can_trigger": can_trigger,
        "can_edit": may(user, "edit", "backup"),
        "can_use_uri": may_create_connections(user),
        "can_download": may_download(user),
        "connections": connections,
        "tables": [name.label for name in settings.tables],
        "truncate_tables": [name.label for name in settings.truncate_tables],
        "copy_roots": [str(root) for root in settings.copy_roots],
        **{f"{kind}_keys": _keys_json(kind) for kind in OFFERS},
        "server_time": configuration.now().isoformat(timespec="seconds"),
    }


@router.get(
    "/health",
    summary="Whether the database answers and backups can be stored",
    operation_id="get_health",
    dependencies=[requires("read", "backup")],
    responses=answers(Health),
    response_class=JSONResponse,
)
async def get_health(request: Request) -> JSONResponse:
    """Asked of the database of the configured connection, and of the backup root as this API server sees it.

    One look at a time for all who ask, kept for some seconds. What exactly failed is in the API server's log: whoever
    may look at the DAG is not told which hosts and ports there are.
    """
    rules, root = configuration.connection_rules(), configuration.settings().backup_root
    # The environment is where a connection changes without a word to anyone else.
    key = rules.default, os.fspath(root), os.environ.get(f"AIRFLOW_CONN_{rules.default.upper()}")
    checks = {"database": _NO_ANSWER, "storage": _NO_ANSWER}
    for (name, check), shared in zip(_CHECKS.items(), _checked, strict=True):
        with suppress(asyncio.TimeoutError):
            checks[name] = await shared.get(key, partial(_verdict, name, check))
    if all(verdict == "ok" for verdict in checks.values()):
        return answer(request, checks)
    wrong = "; ".join(f"{name}: {verdict}" for name, verdict in checks.items() if verdict != "ok")
    return refused(request, 503, "SERVICE_UNAVAILABLE", wrong, checks=checks)


_DAGS: Final = select(DagModel).where(DagModel.dag_id.in_(DAG_IDS.values()), ~DagModel.is_stale)


def _places(schedule: str | None) -> tuple[Sequence[FoundLocation], list[Concern], tuple[str, int | None]]:
    try:
        places = sets.catalog().locations()
    except BackupError as fault:
        return [], [Concern("ROOT_UNREADABLE", messages.beside("response", fault.message))], _storage()
    storage = _storage()
    concerns = attention.about_sets(places, schedule=schedule, now=datetime.now(timezone.utc))
    concerns += attention.about_space(attention.newest_good(places), storage[1])
    concerns += attention.about_policy(configuration.settings(), places, configuration.now())
    return places, concerns, storage


def _recent(kinds: Sequence[Kind], session: Session) -> list[Any]:
    return runs.latest([DAG_IDS[kind] for kind in kinds], session, ended=True, limit=_RECENT_AT_MOST)


def _standing(code: str, one: Failing, kind: Kind) -> Concern:
    error = one.told["error"] or {}
    since = None if one.since is None else one.since.astimezone(configuration.now().tzinfo)
    return Concern(
        code,
        {
            "run_id": one.told["run_id"],
            "kind": kind,
            **messages.beside("response", messages.heard({"response": "", **error})),
            "what": one.what,
            "streak": one.streak,
            "since": "" if since is None else since.isoformat(" ", "minutes"),
            **({"of": one.what} if one.among_others and one.what else {}),
        },
    )


def _databases(places: Sequence[FoundLocation]) -> list[dict[str, Any]]:
    """The databases that the sets are of, each once."""
    known: dict[tuple[str, str | None], dict[str, Any]] = {}
    for place in places:
        for one in place.sets:
            if one.source is not None:
                key = one.source.database, one.source.system_identifier
                told = {"database": key[0], "system_identifier": key[1], "sets": 0}
                known.setdefault(key, told)["sets"] += 1
    return list(known.values())


def _storage() -> tuple[str, int | None]:
    """The backup root as users know it, and the bytes that can still be stored there; None where nobody can say."""
    settings = configuration.settings()
    try:
        directory, free = foresee(settings.backup_root, None, settings.backup_directory)
    except BackupError:
        return "", None
    try:
        sets.catalog().require_root()
    except BackupError:
        free = None  # of whatever lies where it should be
    return directory.removesuffix(settings.backup_directory).rstrip("/"), free


def _newest_json(newest: Any, places: Sequence[FoundLocation]) -> dict[str, Any]:
    durations.read([newest])
    (place,) = [place for place in places if place.location.relative_path == newest.relative_path]
    return sets.set_json(newest, durations, has_log=place.has_log)


def _last_backup(session: Session) -> list[Any]:
    ended = runs.latest([DAG_IDS["backup"]], session, ended=True, limit=_REHEARSALS_AT_MOST)
    return [run for run in ended if not runs.rehearsed(run.conf)][:1]


def _brief(run: dict[str, Any]) -> dict[str, Any]:
    run.pop("result")
    return run


def _connections(session: Session, *, tell_all: bool) -> dict[str, Any]:
    rules = configuration.connection_rules()
    stored = session.scalars(select(Connection.conn_id).where(Connection.conn_type.in_(_POSTGRES))) if tell_all else ()
    known = {rules.default} | {one for one in stored if rules.admits(one) and not is_temporary(one)}
    return {"default": rules.default, "allowed": list(rules.allowed), "known": sorted(known)}


def _keys_json(kind: Kind) -> list[dict[str, Any]]:
    return [
        {
            "name": key.name,
            "title": key.title,
            "description": key.description,
            "default": key.default,
            "schema": key.schema,
        }
        for key in OFFERS[kind].keys
    ]


def _verdict(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except DatabaseFault as fault:
        _log.warning("health: %s: %s", name, fault.message)
        return messages.CONNECTION_FAILED if fault.message.startswith(messages.CONNECTION_FAILED) else _FAILED
    except BackupError as fault:
        return fault.message
    return "ok"


def _check_database() -> None:
    connect = connect_to(None, None, configuration.connection_rules(), seconds=_CONNECT_SECONDS)
    with translated(), database_session(connect, Cancel(), lock_timeout=1) as conn:
        conn.execute("SELECT 1")


def _check_storage() -> None:
    require_writable(configuration.settings().backup_root)  # which tells more closely what is in the way
    sets.catalog().require_root()


_CONNECT_SECONDS: Final = 2
_KEPT_SECONDS: Final = 5.0
_LOOKS_TIMES: Final = 10.0
"""Looking at all sets may take a tenth of the time, however hurried those who ask."""
_PATIENCE_SECONDS: Final = 4.0

_NO_ANSWER: Final = f"no answer within {_PATIENCE_SECONDS:.0f} seconds"
_FAILED: Final = "the database answered with an error; the API server's log tells which"

_CHECKS: Final[dict[str, Callable[[], None]]] = {"database": _check_database, "storage": _check_storage}
_checked: Final = tuple(Shared[str](seconds=_KEPT_SECONDS, patience=_PATIENCE_SECONDS) for _ in _CHECKS)
_seen: Final = Shared[tuple[Sequence[FoundLocation], list[Concern], tuple[str, int | None]]](times=_LOOKS_TIMES)
