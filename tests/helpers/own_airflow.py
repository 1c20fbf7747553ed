"""An Airflow of the tests' own inside this process: its home, its settings, and what a run of a DAG left behind.

To be imported before anything of Airflow.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CHECKOUT = Path(__file__).resolve().parents[2]
DAGS = CHECKOUT / "dags"
PLUGINS = CHECKOUT / "plugins"
DAG_ID = "pgvector_backup"

# Airflow reads its settings when it is imported, which the test modules do: so this comes first. Whatever Airflow
# the surrounding environment is about has no say here.
for _name in [name for name in os.environ if name.lstrip("_").startswith("AIRFLOW")]:
    del os.environ[_name]
HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # A busy machine may keep one writer for longer than SQLite is used to wait for it.
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db?timeout=60",
    "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}

from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.models.asset import AssetEvent  # noqa: E402
from airflow.models.renderedtifields import RenderedTaskInstanceFields  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.sdk import DAG  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402
from sqlalchemy import select  # noqa: E402


@dataclass(frozen=True)
class Outcome:
    """What a run left behind; ``states`` and ``tries`` by task id, ``xcoms`` by task id and key."""

    state: str
    run_id: str
    states: dict[str, str | None]
    tries: dict[str, int]
    xcoms: dict[tuple[str, str], Any]
    declared_results: set[str]
    rendered: dict[str, dict[str, Any]]
    asset_events: list[dict[str, Any]]

    @property
    def result(self) -> dict[str, Any]:
        """What `report` returned."""
        return dict(self.xcoms["report", "return_value"])

    @property
    def error(self) -> dict[str, Any]:
        """Why the run failed, as `report` pushed it."""
        return dict(self.xcoms["report", "error"])


class Configure(Protocol):
    def __call__(self, **settings: object) -> None: ...


class Run(Protocol):
    def __call__(
        self, conf: Mapping[str, Any] | None = None, *, dags: Path = DAGS, dag_id: str = DAG_ID
    ) -> Outcome: ...


def load(dags: Path = DAGS) -> DagBag:
    """Read the DAG files anew: a test run changes the Param values of the DAG object it is given."""
    return DagBag(dag_folder=dags)


def load_dag(dag_id: str = DAG_ID, dags: Path = DAGS) -> DAG:
    bag = load(dags)
    assert bag.import_errors == {}
    dag = bag.dags[dag_id]
    assert isinstance(dag, DAG)
    return dag


def outcome_of(dag_id: str, run_id: str, state: str) -> Outcome:
    """What that run left behind."""
    with create_session() as session:
        from airflow.models.taskinstance import TaskInstance

        tasks = session.scalars(
            select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        ).all()
        xcoms = session.scalars(select(XComModel).where(XComModel.dag_id == dag_id, XComModel.run_id == run_id)).all()
        rendered = session.scalars(
            select(RenderedTaskInstanceFields).where(
                RenderedTaskInstanceFields.dag_id == dag_id, RenderedTaskInstanceFields.run_id == run_id
            )
        ).all()
        events = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run_id)).all()
        return Outcome(
            state=state,
            run_id=run_id,
            states={task.task_id: None if task.state is None else str(task.state) for task in tasks},
            tries={task.task_id: task.try_number for task in tasks},
            xcoms={(xcom.task_id, xcom.key): XComModel.deserialize_value(xcom) for xcom in xcoms},
            declared_results={xcom.task_id for xcom in xcoms if getattr(xcom, "dag_result", False)},
            rendered={fields.task_id: dict(fields.rendered_fields) for fields in rendered},
            asset_events=[dict(event.extra) for event in events],
        )
