"""The connection that a request's URI becomes: encrypted, of one run, removed when that run is over."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from airflow.models.connection import Connection
from airflow.models.crypto import get_fernet
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import State
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import DAG_IDS
from pgvector_backup.installation.temporary import is_temporary, temporary_id
from pgvector_backup.installation.uris import read_uri
from pgvector_backup.web.threads import in_thread

_log: Final = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 2.0
_ALIKE: Final = "pgvector\\_tmp\\_%"


def store(uri: str, *, dag_id: str, run_id: str, user: str, session: Session) -> str:
    """Add the connection to the session, which is to create the run as well: there is both or none.

    :param user: who triggers the run, and who alone may use the connection
    :return: its id, for the run's conf
    :raises InvalidParams: when it is no URI, names what it may not, or this Airflow encrypts nothing
    """
    given, password = read_uri(uri, configuration.connection_rules())
    if not get_fernet().is_encrypted:
        raise InvalidParams(
            "db_connection: a URI cannot be kept safely, this Airflow encrypts nothing; set [core] fernet_key, or "
            "name an Airflow connection"
        )
    connection_id = temporary_id(dag_id, run_id, user)
    # In extra, which is encrypted like the password; host, login and database have columns that are not.
    session.add(
        Connection(
            conn_id=connection_id,
            conn_type="postgres",
            description=f"of run {run_id} of {dag_id}, gone when it is over",
            password=password,
            extra=json.dumps(given),
        )
    )
    return connection_id


def sweep() -> int:
    """Remove the connections whose runs are over or gone.

    :return: how many are left
    """
    with create_session(scoped=False) as session:
        there = _there(session)
        if not there:
            return 0
        going_on = session.execute(
            select(DagRun.dag_id, DagRun.run_id, DagRun.triggering_user_name).where(
                DagRun.dag_id.in_(DAG_IDS.values()), DagRun.state.in_(State.unfinished_dr_states)
            )
        )
        needed = {temporary_id(dag_id, run_id, user) for dag_id, run_id, user in going_on}
        if over := [one for one in there if one not in needed]:
            session.execute(delete(Connection).where(Connection.conn_id.in_(over)))
            _log.info("removed %d connections of runs that are over", len(over))
        return len(there) - len(over)


def _there(session: Session) -> list[str]:
    found = session.scalars(select(Connection.conn_id).where(Connection.conn_id.like(_ALIKE, escape="\\")))
    return [one for one in found if is_temporary(one)]


class Sweeper:
    """Sweeps every two seconds, as long as there is something to sweep."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless it is at work; in the event loop."""
        if not self._is_at_work():
            self._task = asyncio.create_task(self._work())

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Of the app: what an API server that went down has left is swept when one comes up."""
        self.start()
        yield
        if self._task is not None and self._is_at_work():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _is_at_work(self) -> bool:
        """Whether it is, in this event loop: one process may have several API servers, one after the other."""
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def _work(self) -> None:
        while True:
            try:
                if not await in_thread(sweep):
                    return
            except Exception:
                _log.exception("temporary connections could not be swept; trying again")
            await asyncio.sleep(_EVERY_SECONDS)


sweeper: Final = Sweeper()
