"""Runs of our DAGs: triggered, looked at, waited for and cancelled with Airflow's own functions, in process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import pendulum
from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
from airflow.api_fastapi.common.dagbag import create_dag_bag
from airflow.exceptions import ParamValidationError
from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from sqlalchemy.orm import Session

from pgvector_backup.engine.base.errors import BackupError, Cancelled, Conflict, InvalidParams, NotFound
from pgvector_backup.installation import configuration
from pgvector_backup.installation.announced import announced_sets
from pgvector_backup.installation.runs import DAG_IDS, ERROR, ERROR_IN_ENGLISH, PROGRESS_KEY, REPORT, TELLS, Kind
from pgvector_backup.installation.temporary import is_temporary
from pgvector_backup.web import temporary_connection
from pgvector_backup.web.audit import note
from pgvector_backup.web.threads import in_thread
from pgvector_backup.web.xcoms import value_of

_ASKED: Final = (
    *("db_connection", "task_id", "backup_path", "timestamp", "tables", "collections", "schema", "depth"),
    "from_copy",
    *("truncate_vector_tables", "truncate_before_restore", "backup_before_restore", "into_other_database"),
    *("dry_run", "force", "consolidate", "all"),
)
"""Keys of a conf that tell what a run is about."""

_RETURN_VALUE: Final = "return_value"

_KINDS: Final[dict[str, Kind]] = {dag_id: kind for kind, dag_id in DAG_IDS.items()}

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two looks at a run that is waited for."""


def trigger(kind: Kind, conf: Mapping[str, Any], *, user: str, uri: str | None = None, from_page: bool = False) -> str:
    """Create a run.

    :param conf: checked already
    :param user: on whose behalf
    :param uri: of the database, in place of ``db_connection``: kept as a connection for as long as the run lasts
    :return: the run's id
    :raises NotFound: when the DAG is not there
    :raises Conflict: when it would not run: it is paused, or its file is broken
    :raises InvalidParams: when the DAG's own params do not admit the conf
    """
    dag_id = DAG_IDS[kind]
    with create_session(scoped=False) as session:
        model = session.scalar(select(DagModel).where(DagModel.dag_id == dag_id, ~DagModel.is_stale))
        dag = None if model is None else _dag_bag().get_latest_version_of_dag(dag_id, session=session)
        if model is None or dag is None:
            raise NotFound(f"DAG {dag_id} is not there; put its file into the DAGs folder")
        if model.has_import_errors:
            raise Conflict(f"the file of DAG {dag_id} cannot be read; Airflow's list of import errors tells why")
        if model.is_paused:
            raise Conflict(f"DAG {dag_id} is paused, so the run would not begin; unpause it")
        run_after = pendulum.now("UTC")
        # With its random end; the timetable's way to name runs gives two of one microsecond the same id.
        run_id = DagRun.generate_run_id(run_type=DagRunType.MANUAL, run_after=run_after)
        conf = dict(conf)
        if uri is not None:
            conf["db_connection"] = temporary_connection.store(
                uri, dag_id=dag_id, run_id=run_id, user=user, session=session
            )
        try:
            dag.create_dagrun(
                run_id=run_id,
                run_after=run_after,
                conf=conf,
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.UI if from_page else DagRunTriggeredByType.REST_API,
                triggering_user_name=user,
                state=DagRunState.QUEUED,
                session=session,
            )
        except (ParamValidationError, ValueError) as fault:
            raise InvalidParams(str(fault)) from None
        note(session, "trigger_dag_run", user=user, kind=kind, run_id=run_id)
    return run_id


def look(kind: Kind, run_id: str) -> dict[str, Any]:
    """A run as it is now, as JSON.

    :raises NotFound: when there is none
    """
    with create_session(scoped=False) as session:
        return told(_find(kind, run_id, session), session)


def told(run: DagRun, session: Session) -> dict[str, Any]:
    """A run as JSON; ``result`` and ``error`` once it has ended."""
    tasks = _tasks(run, session)
    ended = run.state in State.finished_dr_states
    error = _error(run, tasks, session) if ended else None
    return {
        "run_id": run.run_id,
        "dag_id": run.dag_id,
        "kind": _KINDS[run.dag_id],
        "state": str(run.state),
        "cancelled": error is not None and error.get("error_type") == Cancelled.error_type,
        "cancelling": not ended and _is_being_cancelled(run, session),
        "task_id": (run.conf or {}).get("task_id"),
        "asked": _asked(run),
        "triggered_by": run.triggering_user_name,
        "run_type": str(run.run_type),
        "queued_at": iso(run.queued_at),
        "start_date": iso(run.start_date),
        "end_date": iso(run.end_date),
        "duration": (run.end_date - run.start_date).total_seconds() if run.start_date and run.end_date else None,
        "steps": {task.task_id: None if task.state is None else str(task.state) for task in tasks},
        "progress": None if ended else _progress(tasks, session),
        "result": _result(run, session) if ended else None,
        "error": error,
        "url": run_url(run.dag_id, run.run_id),
    }


def _asked(run: DagRun) -> dict[str, Any]:
    """What a run is about, as far as its conf says so; a URI's connection says nothing."""
    conf = run.conf if isinstance(run.conf, Mapping) else {}
    told = {key: conf[key] for key in _ASKED if conf.get(key) is not None}
    if len(followed := followed_sets(run)) == 1:
        told |= dict(zip(("backup_path", "timestamp"), followed[0], strict=True))
    connection = told.get("db_connection")
    if isinstance(connection, str) and ("://" in connection or is_temporary(connection)):
        told["db_connection"] = "URI"
    return told


def followed_sets(run: DagRun) -> list[tuple[str, str]]:
    """Path and id of each set whose backup has called for a verification; none for any other run."""
    if run.dag_id != DAG_IDS["verify"] or run.run_type != DagRunType.ASSET_TRIGGERED:
        return []
    own = configuration.settings().backup_directory
    sets = announced_sets(event.extra for event in run.consumed_asset_events)
    return [(own if one.task_id is None else f"{one.task_id}/{own}", one.backup_id) for one in sets]


def _is_being_cancelled(run: DagRun, session: Session) -> bool:
    left = _xcoms(run, ERROR, session).values()
    return any(isinstance(error, Mapping) and error.get("error_type") == Cancelled.error_type for error in left)


def rehearsed(conf: object) -> bool:
    """Whether a run of that conf was only to tell what would be done."""
    return isinstance(conf, Mapping) and conf.get("dry_run") is True


def latest(dag_ids: list[str], session: Session, *, ended: bool, limit: int) -> list[DagRun]:
    """The newest runs of some DAGs that have ended, or that have not."""
    states = State.finished_dr_states if ended else State.unfinished_dr_states
    found = session.scalars(
        select(DagRun)
        .where(DagRun.dag_id.in_(dag_ids), DagRun.state.in_(states))
        .order_by(DagRun.run_after.desc(), DagRun.id.desc())
        .limit(limit)
    )
    return list(found)


async def wait(
    kind: Kind, run_id: str, seconds: float, gone: Callable[[], Awaitable[bool]] | None = None
) -> dict[str, Any]:
    """Wait for a run's end, holding neither the event loop nor a database session.

    :param seconds: at most; 0: one look
    :param gone: whether nobody waits for the answer any more
    :return: see `look`
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        seen = await in_thread(look, kind, run_id)
        left = deadline - time.monotonic()
        if seen["state"] in State.finished_dr_states or left <= 0 or (gone is not None and await gone()):
            return seen
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def cancel(kind: Kind, run_id: str, *, user: str) -> None:
    """Stop a run: the tasks at work are marked failed, whereupon Airflow ends their processes; the report follows.

    :raises NotFound: when there is none
    :raises Conflict: when it has ended, or only its report is left
    """
    with create_session(scoped=False) as session:
        run = _find(kind, run_id, session)
        if run.state in State.finished_dr_states:
            raise Conflict(f"run {run_id} has ended already, as {run.state}")
        tasks = _tasks(run, session)
        unfinished = [task for task in tasks if task.task_id != REPORT and task.state not in State.finished]
        if not unfinished:
            raise Conflict(f"run {run_id} is at its end; nothing of it can be cancelled any more")
        dag = _dag_bag().get_dag_for_run(run, session=session)
        if dag is None:
            raise NotFound(f"DAG {run.dag_id} is not there any more")
        at_work = [task for task in unfinished if task.state is not None]
        for task in at_work or unfinished[:1]:
            # Said here, because the task's own last word may come too late, or never.
            reason = Cancelled(f"cancelled by {user}; nothing half-made of it is left")
            XComModel.set(
                key=ERROR,
                value=dict(reason.report()),
                dag_id=run.dag_id,
                task_id=task.task_id,
                run_id=run_id,
                serialize=False,
                session=session,
            )
        for task in at_work:
            dag.set_task_instance_state(
                task_id=task.task_id, run_id=run_id, state=TaskInstanceState.FAILED, session=session
            )
        note(session, "pgvector_cancel_run", user=user, kind=kind, run_id=run_id)
        if not at_work:
            # Airflow 3.2 writes the tasks' states by sessions of its own, which would wait for this one.
            session.commit()
            set_dag_run_state_to_failed(dag=dag, run_id=run_id, commit=True, session=session)


def run_url(dag_id: str, run_id: str) -> str:
    """Where Airflow's own page of a run is, relative to the server's root."""
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 with an offset."""
    return None if moment is None else moment.isoformat(timespec="seconds")


@cache
def _dag_bag() -> DBDagBag:
    return create_dag_bag()


def _find(kind: Kind, run_id: str, session: Session) -> DagRun:
    run = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_IDS[kind], DagRun.run_id == run_id))
    if run is None:
        raise NotFound(f"DAG {DAG_IDS[kind]} has no run {run_id!r}")
    return run


def _tasks(run: DagRun, session: Session) -> list[TaskInstance]:
    found = session.scalars(
        select(TaskInstance).where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
    )
    return sorted(
        found, key=lambda task: (task.task_id == REPORT, task.start_date is None, task.start_date, task.task_id)
    )


def _xcoms(run: DagRun, key: str, session: Session) -> dict[str, Any]:
    """What the run's tasks have left under a key, by task id."""
    rows = session.scalars(select(XComModel).where(XComModel.dag_run_id == run.id, XComModel.key == key))
    return {row.task_id: value_of(row) for row in rows}


def _result(run: DagRun, session: Session) -> dict[str, Any] | None:
    result = _xcoms(run, _RETURN_VALUE, session).get(TELLS[_KINDS[run.dag_id]])
    return {**result, "run_id": run.run_id} if isinstance(result, Mapping) else None


def _error(run: DagRun, tasks: list[TaskInstance], session: Session) -> dict[str, Any] | None:
    if run.state == "success":
        return None
    left, translated = _xcoms(run, ERROR, session), _xcoms(run, ERROR_IN_ENGLISH, session)
    for task_id in (REPORT, *(task.task_id for task in tasks)):
        if isinstance(error := left.get(task_id), Mapping):
            beside = translated.get(task_id)
            return {**error, "response_en": beside} if isinstance(beside, str) else dict(error)
    states = ", ".join(f"{task.task_id} {task.state}" for task in tasks)
    return dict(BackupError(f"the run failed and gave no reason ({states}); the logs of its tasks tell").report())


def _progress(tasks: list[TaskInstance], session: Session) -> dict[str, Any] | None:
    """The last report of the task at work; None before its first, and on an Airflow that keeps none (before 3.3)."""
    with suppress(ImportError):
        from airflow._shared.state import TaskScope  # noqa: PLC0415
        from airflow.state import get_state_backend  # noqa: PLC0415

        for task in tasks:
            if task.state != TaskInstanceState.RUNNING or task.task_id == REPORT:
                continue
            scope = TaskScope(dag_id=task.dag_id, run_id=task.run_id, task_id=task.task_id, map_index=task.map_index)
            kept = get_state_backend().get(scope, PROGRESS_KEY, session=session)
            report = None if kept is None else json.loads(kept)
            if isinstance(report, dict) and "share" in report:
                return report
    return None
