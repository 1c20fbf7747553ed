"""What keeps failing, of each database and place: since its last success, whatever else succeeded meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState, State
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from pgvector_backup.installation.runs import DAG_IDS, Kind
from pgvector_backup.installation.temporary import is_temporary
from pgvector_backup.web import runs

_LOOKED_AT: Final = 300
"""Ended runs of a kind that are looked at; what has not run since counts as over."""


@dataclass(frozen=True)
class Failing:
    """One thing whose last run has failed.

    :param what: what it is, in words: of backups the connection and the task, otherwise the place; empty: everything
    :param streak: runs in a row that have failed
    :param since: when the first of them ended
    :param told: the newest of them, as `runs.told` tells it
    :param among_others: whether runs of the kind are about more than this one thing
    """

    what: str
    streak: int
    since: datetime | None
    told: dict[str, Any]
    among_others: bool = False


def failing(kind: Kind, default: str, session: Session) -> list[Failing]:
    """What of a kind fails and has not succeeded since, the newest failure first.

    :param default: the connection of a run that names none
    """
    ended = session.scalars(
        select(DagRun)
        .where(DagRun.dag_id == DAG_IDS[kind], DagRun.state.in_(State.finished_dr_states))
        .order_by(DagRun.run_after.desc(), DagRun.id.desc())
        .limit(_LOOKED_AT)
        .options(selectinload(DagRun.consumed_asset_events))
    )
    by_thing: dict[tuple[str, str], list[DagRun]] = {}
    for run in ended:
        if runs.rehearsed(run.conf):  # neither a failure nor a success of the thing itself
            continue
        for thing in _things(run, default):
            by_thing.setdefault(thing, []).append(run)
    found = (_failing(_words(kind, *thing), of_it, session) for thing, of_it in by_thing.items())
    return [replace(one, among_others=len(by_thing) > 1) for one in found if one is not None]


def _words(kind: Kind, connection: str, place: str) -> str:
    if kind != "backup":  # which asks no database of its own
        return place
    return connection if place == "" else f"{connection} ({place})"


def _failing(what: str, ended: Iterable[DagRun], session: Session) -> Failing | None:
    streak, since, newest = 0, None, None
    for run in ended:
        if run.state != DagRunState.FAILED:
            break
        if newest is None:
            told = runs.told(run, session)
            if told["cancelled"]:  # stopped by somebody: neither a failure nor a success
                continue
            newest = told
        streak, since = streak + 1, run.end_date or run.run_after
    if newest is None:
        return None
    return Failing(what, streak, since, newest)


def _things(run: DagRun, default: str) -> list[tuple[str, str]]:
    """What a run is about: its connection and its place; of a run that backups have called for, the places of each."""
    followed = runs.followed_sets(run)
    return list(dict.fromkeys((default, path) for path, _ in followed)) or [_thing(run, default)]


def _thing(run: DagRun, default: str) -> tuple[str, str]:
    """Of a URI nobody knows which database it named."""
    conf = run.conf if isinstance(run.conf, dict) else {}
    connection = str(conf.get("db_connection") or default)
    if "://" in connection or is_temporary(connection):
        connection = "URI"
    return connection, str(conf.get("backup_path") or conf.get("task_id") or "")
