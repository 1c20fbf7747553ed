"""What a whole DAG run of the demo's size takes beyond what Airflow takes for three tasks that do nothing."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.network import reach
from bench.places import CHECKOUT, DIRECTORY
from demo.airflow import StandaloneAirflow
from demo.rest import AirflowClient
from demo.sample import load_sample

_BACKUP: Final = "pgvector_backup"
_NOTHING: Final = "bench_nothing"
_PAIRS: Final = 20
"""More than elsewhere: the scheduler's own rhythm adds up to a second to any run."""

_NOTHING_DAG: Final = '''
"""Three tasks that do nothing."""

from datetime import datetime, timezone

from airflow.sdk import DAG, BaseOperator


class NothingOperator(BaseOperator):
    """Do nothing."""

    def execute(self, context):
        """Return something small."""
        return {"nothing": True}


with DAG(dag_id="bench_nothing", schedule=None, start_date=datetime(2025, 1, 1, tzinfo=timezone.utc)) as dag:
    first, second, third = (NothingOperator(task_id=name) for name in ("first", "second", "third"))
    first >> second >> third
    dag.add_result(third.output)
'''

_SETTINGS: Final = {
    "AIRFLOW__PGVECTOR_BACKUP__SCHEDULE": "none",
    "AIRFLOW__PGVECTOR_BACKUP__VERIFY_SCHEDULE": "none",
    "AIRFLOW__PGVECTOR_BACKUP__VERIFY_AFTER": "none",
    # Between two looks for work the scheduler sleeps; the default of 1 s would hide what is measured here.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
}


@dataclass(frozen=True)
class DagRuns:
    """Seconds from trigger to result, pair by pair."""

    documents: int
    backup: list[float]
    nothing: list[float]

    @property
    def beyond(self) -> list[float]:
        """What the backup took longer."""
        return [one - other for one, other in zip(self.backup, self.nothing, strict=True)]

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> DagRuns:
        """Read what ``dataclasses.asdict`` made."""
        return cls(**raw)


def run(pairs: int | None = None) -> DagRuns:
    """Start Airflow on the demo's sample data and let both DAGs run in turns."""
    print("airflow: whole DAG runs", flush=True)
    dags = DIRECTORY / "dags"
    shutil.rmtree(dags, ignore_errors=True)
    shutil.copytree(CHECKOUT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    (dags / "bench_nothing.py").write_text(_NOTHING_DAG)
    root = DIRECTORY / "dag_runs"
    shutil.rmtree(root, ignore_errors=True)
    with reach(18, "socket") as reached:
        with psycopg.connect(reached.server.dsn, autocommit=True) as conn:
            conn.execute("DROP DATABASE IF EXISTS bench_sample WITH (FORCE)")
            conn.execute("CREATE DATABASE bench_sample")
        documents = load_sample(reached.server.uri("bench_sample", scheme="postgresql+psycopg"))
        settings = {
            **_SETTINGS,
            "AIRFLOW_CONN_PGVECTOR_DEFAULT": reached.server.uri("bench_sample"),
            "AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT": str(root),
        }
        with StandaloneAirflow(DIRECTORY / "airflow", dags_folder=dags, port=0, environment=settings) as airflow:
            client = airflow.client()
            for dag_id in (_BACKUP, _NOTHING):
                airflow.wait_for_dag(dag_id)
                airflow.fail_interrupted_runs(dag_id)
                client.request("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
                _seconds(client, dag_id)  # warm-up
            backup, nothing = [], []
            for number in range(pairs or _PAIRS):
                backup.append(_seconds(client, _BACKUP))
                nothing.append(_seconds(client, _NOTHING))
                print(f"  {number + 1} {backup[-1]:8.3f} s  backup {nothing[-1]:8.3f} s  nothing", flush=True)
    shutil.rmtree(root, ignore_errors=True)
    return DagRuns(documents, backup, nothing)


def _seconds(client: AirflowClient, dag_id: str) -> float:
    started = time.monotonic()
    run_id = client.trigger(dag_id)
    outcome = client.wait(dag_id, run_id, interval=0.05)
    took = time.monotonic() - started
    if outcome.state != "success" or not outcome.results:
        raise RuntimeError(f"{dag_id}: the run {run_id} ended as {outcome.state}")
    return took
