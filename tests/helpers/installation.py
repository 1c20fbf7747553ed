"""A running Airflow, the whole of it, as its users meet it over HTTP, and the databases that it backs up."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from demo.airflow import CHECKOUT, StandaloneAirflow
from demo.ports import pick_free
from demo.rest import AirflowClient, RunOutcome
from demo.sample import load_sample
from pgvector_backup.embedded.server import EmbeddedPostgres
from tests.helpers import langchain

DAG_ID = "pgvector_backup"
URI_DAG_ID = "pgvector_backup_uri"
RESTORE_DAG_ID = "pgvector_restore"
VERIFY_DAG_ID = "pgvector_verify"
TASKS = ("backup", "truncate", "report")

# Characters that a URI has to encode, so that a password has more than one spelling.
PASSWORD = "s3cret/päss:w@rd?#&=100%"
WRONG_PASSWORD = "wr0ng/päss:w@rd?#&=100%"

# The shipped DAG, in an installation that lets conf hold a URI: the file's own process sets that.
URI_DAG = """
import os
os.environ["AIRFLOW__PGVECTOR_BACKUP__ALLOW_CONNECTION_URI"] = "True"
os.environ["AIRFLOW__PGVECTOR_BACKUP__SCHEDULE"] = "none"
"""

# A view whose last rows wait until the test lets go of an advisory lock: a backup that stands still in its middle.
GATE = f"""{langchain.COLLECTION}
CREATE TABLE documents (id int PRIMARY KEY, embedding vector(3), document text);
INSERT INTO documents SELECT n, '[1,2,3]', repeat('x', 10000) FROM generate_series(1, 500) AS n;
CREATE FUNCTION pass_gate() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN true; END $$;
CREATE VIEW langchain_pg_embedding AS
    SELECT id, embedding, document, CASE WHEN id > 450 THEN pass_gate() END AS passed FROM documents;
"""

# LangChain's table, with 130 MB as CSV.
LARGE_ROWS = 8_000
LARGE = f"""{langchain.schema(1536)}
INSERT INTO langchain_pg_embedding (id, embedding, document)
    SELECT 'id-' || n, v, 'document ' || n FROM generate_series(1, {LARGE_ROWS}) AS n,
    (SELECT array_agg(sin(d))::vector AS v FROM generate_series(1, 1536) AS d) AS vectors;
"""

# Small on disk, 600 MB as CSV: enough to be read by several processes, and ten seconds at the rate that the
# installation is limited to.
LONG_ROWS = 6_000
LONG = f"""{langchain.schema(3)}
INSERT INTO langchain_pg_embedding (id, embedding, document)
    SELECT 'id-' || n, '[1,2,3]', repeat('x', 100000)
    FROM generate_series(1, {LONG_ROWS}) AS n;
"""

# For whoever wants to empty or to change it.
SMALL = f"""{langchain.schema(3)}
INSERT INTO langchain_pg_embedding (id, embedding, document)
    SELECT 'id-' || n, '[1,2,3]', 'document' FROM generate_series(1, 9) AS n;
"""


@dataclass(frozen=True)
class Installation:
    """A running Airflow, its server and where its backups go."""

    airflow: StandaloneAirflow
    server: EmbeddedPostgres
    root: Path
    client: AirflowClient

    @property
    def directory(self) -> Path:
        """Where sets without a task id go."""
        return self.root / "vector_bak"

    def run(self, conf: dict[str, Any] | None = None, *, dag_id: str = DAG_ID) -> tuple[str, RunOutcome]:
        """Trigger over HTTP and wait over HTTP; the run's id and how it ended."""
        run_id = self.client.trigger(dag_id, conf)
        return run_id, self.wait(run_id, dag_id=dag_id)

    def wait(self, run_id: str, *, dag_id: str = DAG_ID) -> RunOutcome:
        """Wait for a run's end over HTTP."""
        return self.client.wait(dag_id, run_id, timeout=120)

    def states(self, run_id: str, *, dag_id: str = DAG_ID) -> dict[str, str | None]:
        """State by task id."""
        return {task["task_id"]: task["state"] for task in self.client.task_instances(dag_id, run_id)}

    def task(self, run_id: str, task_id: str, *, dag_id: str = DAG_ID) -> dict[str, Any]:
        """A task instance as the API shows it."""
        (task,) = (task for task in self.client.task_instances(dag_id, run_id) if task["task_id"] == task_id)
        return task

    def logs(self, run_id: str, *, dag_id: str = DAG_ID) -> str:
        """What all attempts of all tasks of a run have logged, over HTTP."""
        return "\n".join(
            self.client.task_log(dag_id, run_id, task["task_id"], number)
            for task in self.client.task_instances(dag_id, run_id)
            for number in range(1, task["try_number"] + 1)
        )

    def make_task_directory(self, name: str) -> Path:
        """A directory as the pipeline makes them; where its sets go is returned."""
        (self.root / name).mkdir(parents=True)
        return self.root / name / "vector_bak"

    def query(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Ask the server, as its superuser."""
        with psycopg.connect(self.server.uri(database), autocommit=True) as conn:
            cursor = conn.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connections(self) -> int:
        """How many connections of ours the server has now."""
        (row,) = self.query(
            "postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvector_backup'"
        )
        return int(row[0])


def until(condition: Callable[[], Any], what: str, *, seconds: float = 120, every: float = 0.1) -> Any:
    """Wait for the condition to hold; its value is returned."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return value


def manifest_of(outcome: RunOutcome) -> dict[str, Any]:
    """The manifest that a result tells of."""
    result = outcome.results["report"]
    content = json.loads((Path(result["backup_directory"]) / result["manifest_file"]).read_bytes())
    assert isinstance(content, dict)
    return content


def _make_databases(server: EmbeddedPostgres) -> None:
    def run(database: str, *statements: str) -> None:
        with psycopg.connect(server.uri(database), autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    run(
        "postgres",
        *(f"CREATE DATABASE {name}" for name in ("library", "gate", "large", "long", "small", "changing", "spare")),
    )
    load_sample(server.uri("library", scheme="postgresql+psycopg"))
    run("gate", GATE)
    load_sample(server.uri("spare", scheme="postgresql+psycopg"))
    run("large", LARGE)
    run("long", LONG)
    run("small", SMALL)
    run("changing", SMALL)
    literal = PASSWORD.replace("'", "''")
    run(
        "library",
        f"CREATE ROLE keeper LOGIN PASSWORD '{literal}'",
        "GRANT SELECT, TRUNCATE ON langchain_pg_collection, langchain_pg_embedding TO keeper",
    )
    hba = server.pgdata / "pg_hba.conf"
    rules = hba.read_text(encoding="utf-8")
    with hba.open("r+", encoding="utf-8") as file:
        file.write(f"local all keeper scram-sha-256\n{rules}")
    run("postgres", "SELECT pg_reload_conf()")


def keeper_uri(server: EmbeddedPostgres, password: str) -> str:
    """The sample's database, as the role that needs a password."""
    return server.uri("library", user="keeper").replace("@", f":{quote(password, safe='')}@", 1)


@contextmanager
def installed(server: EmbeddedPostgres, directory: Path) -> Iterator[Installation]:
    """Start Airflow on databases of its own; everything ends with the block."""
    _make_databases(server)
    root, dags = directory / "training_data", directory / "dags"
    root.mkdir()
    dags.mkdir()
    shipped = CHECKOUT / "dags" / "pgvector_backup_dag.py"
    shutil.copy(shipped, dags)
    for name in ("restore", "verify"):
        shutil.copy(CHECKOUT / "dags" / f"pgvector_{name}_dag.py", dags)
    text = shipped.read_text(encoding="utf-8").replace("from __future__ import annotations", "")
    text = text.replace('dag_id="pgvector_backup"', f'dag_id="{URI_DAG_ID}"')
    (dags / "uri_dag.py").write_text(URI_DAG + text, encoding="utf-8")
    (closed,) = pick_free(1)
    secret = quote(PASSWORD, safe="")
    airflow = StandaloneAirflow(
        directory / "airflow",
        dags_folder=dags,
        port=0,
        users={"admin": "admin", "eve": "viewer", "uma": "user"},
        environment={
            "AIRFLOW_CONN_PGVECTOR_DEFAULT": keeper_uri(server, PASSWORD),
            "AIRFLOW_CONN_PGVECTOR_WRONG_PASSWORD": keeper_uri(server, WRONG_PASSWORD),
            "AIRFLOW_CONN_PGVECTOR_UNREACHABLE": f"postgresql://keeper:{secret}@127.0.0.1:{closed}/library",
            "AIRFLOW_CONN_PGVECTOR_BAD_OPTION": f"postgresql://keeper:{secret}@127.0.0.1/library?nosuchoption=1",
            "AIRFLOW_CONN_PGVECTOR_GATE": server.uri("gate"),
            "AIRFLOW_CONN_PGVECTOR_LARGE": server.uri("large"),
            "AIRFLOW_CONN_PGVECTOR_LONG": server.uri("long"),
            "AIRFLOW_CONN_PGVECTOR_SMALL": server.uri("small"),
            "AIRFLOW_CONN_PGVECTOR_CHANGING": server.uri("changing"),
            "AIRFLOW_CONN_WAREHOUSE": server.uri("library"),
            "AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT": str(root),
            # Any host, and the one socket that the embedded server has.
            "AIRFLOW__PGVECTOR_BACKUP__ALLOWED_URI_HOSTS": f"*,{server.socket_directory}",
            # Due once, as soon as Airflow is up, and then not while the tests last.
            # The gate, at which a backup can be held up, is a view.
            "AIRFLOW__PGVECTOR_BACKUP__BACK_UP_VIEWS": "True",
            "AIRFLOW__PGVECTOR_BACKUP__SCHEDULE": "@yearly",
            "AIRFLOW__PGVECTOR_BACKUP__VERIFY_SCHEDULE": "none",
            "AIRFLOW__PGVECTOR_BACKUP__VERIFY_AFTER": "none",
            "AIRFLOW__PGVECTOR_BACKUP__RETRIES": "1",
            "AIRFLOW__PGVECTOR_BACKUP__RETRY_DELAY": "0",
            # So that a backup of the large table takes two seconds on any machine.
            "AIRFLOW__PGVECTOR_BACKUP__MAX_MB_PER_SECOND": "60",
            # The gate is a lock too.
            "AIRFLOW__PGVECTOR_BACKUP__LOCK_TIMEOUT": "100",
            "AIRFLOW__CORE__DEFAULT_TIMEZONE": "Asia/Shanghai",
            # Less waiting than in production, where nobody looks on.
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "600",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        },
    )
    with airflow:
        for dag_id in (DAG_ID, URI_DAG_ID, RESTORE_DAG_ID, VERIFY_DAG_ID):
            airflow.wait_for_dag(dag_id)
        yield Installation(airflow, server, root, airflow.client("admin"))
