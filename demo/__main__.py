"""``python -m demo``: one backup from beginning to end. ``python -m demo serve``: the same, and Airflow stays up.

Everything lives in ``.demo`` below the checkout and is used again by the next run. ``PORT`` in the environment
is the port of Airflow's UI and REST API; with ``STORE=s3`` the backup goes to a bucket of an object store that is
started beside the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import psycopg

from demo.airflow import CHECKOUT, AirflowError, StandaloneAirflow
from demo.embedded import OpenedPostgres
from demo.ports import PortTakenError
from demo.rest import AirflowClient, RestError
from demo.sample import load_sample
from demo.seaweed import SeaweedFS
from pgvector_backup.embedded.locks import DirectoryInUseError
from pgvector_backup.embedded.programs import EmbeddedPostgresError
from pgvector_backup.engine.store.root import store_at

DAG_ID = "pgvector_backup"
CONNECTION = "AIRFLOW_CONN_PGVECTOR_DEFAULT"
BACKUP_ROOT = "AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT"
STORAGE_CONNECTION = "AIRFLOW__PGVECTOR_BACKUP__STORAGE_CONNECTION"
BUCKET = "backups"
BY_ITSELF = tuple(f"AIRFLOW__PGVECTOR_BACKUP__{key}" for key in ("SCHEDULE", "VERIFY_SCHEDULE", "VERIFY_AFTER"))
DIRECTORY = CHECKOUT / ".demo"


class DemoError(Exception):
    """The demo came to no good end; the message says how."""


class Interrupted(BaseException):
    """Somebody asked the demo to end: Ctrl-C, or a signal that means the same."""

    def __init__(self, number: int) -> None:
        self.number = number


def say(text: str) -> None:
    """Tell the user, at once."""
    print(text, flush=True)


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "serve"], default="run")
    serve = parser.parse_args().command == "serve"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with _running_airflow(serve=serve) as (airflow, connection):
            client = airflow.client()
            airflow.wait_for_dag(DAG_ID)
            airflow.fail_interrupted_runs(DAG_ID)
            client.request("PATCH", f"/api/v2/dags/{DAG_ID}", {"is_paused": False})
            if connection is not None:
                _back_up(airflow, client)
            if serve:
                _stay_up(airflow, connection)
            else:
                say("stopping …")
        say("stopped")
    except Interrupted as interrupted:
        say("stopped")
        return 128 + interrupted.number
    except PortTakenError as error:
        say(f"error: {error}; another one can be given: PORT={error.port + 1} make {'serve' if serve else 'demo'}")
        return 1
    except (DemoError, AirflowError, EmbeddedPostgresError, DirectoryInUseError) as error:
        say(f"error: {error}")
        return 1
    except (RestError, OSError, psycopg.Error) as error:
        say(f"error: {error}")
        say(f"logs: {DIRECTORY / 'airflow' / 'airflow.log'}, {DIRECTORY / 'postgres' / 'server.log'}")
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Once is enough: what follows is the orderly end, which a second Ctrl-C shall not disturb.
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    # Not print: it may be what was interrupted.
    os.write(1, "\nstopping …\n".encode())
    raise Interrupted(number)


@contextlib.contextmanager
def _running_airflow(*, serve: bool) -> Iterator[tuple[StandaloneAirflow, str | None]]:
    """Airflow on the embedded server with the sample in it, or on the database the user named for ``serve``.

    Gives Airflow, with the embedded server's URI or None.
    """
    # The demo shows one backup: the one that it triggers.
    environment = _users_settings() if serve else dict.fromkeys(BY_ITSELF, "none")
    airflow = StandaloneAirflow(DIRECTORY / "airflow", port=_port(), environment=environment)
    with contextlib.ExitStack() as stack:
        stack.callback(airflow.stop)
        # The port first: better to fail before anything is started.
        airflow.claim()
        uri = None
        if environment.get(CONNECTION):
            say(f"using the database of {CONNECTION}")
        else:
            say("starting PostgreSQL with pgvector …")
            # Here the data shall outlive a power cut: the next run builds on it.
            safe = {"fsync": "on", "full_page_writes": "on"}
            server = stack.enter_context(OpenedPostgres(DIRECTORY / "postgres", settings=safe))
            uri = airflow.environment[CONNECTION] = server.uri()
            count = load_sample(server.uri(scheme="postgresql+psycopg"))
            say(f"loaded the sample: {count} documents")
        if store := os.environ.get("STORE"):
            _start_store(store, stack, airflow)
        say(f"starting Airflow … (its log: {airflow.log})")
        airflow.start()
        yield airflow, uri


def _start_store(kind: str, stack: contextlib.ExitStack, airflow: StandaloneAirflow) -> None:
    """An object store, and what tells this Airflow of it: a URL as the root and a connection with the credentials."""
    if kind != "s3":
        raise DemoError(f"STORE may be s3, not {kind!r}")
    say("starting SeaweedFS, a store that speaks S3 …")
    store = stack.enter_context(SeaweedFS(DIRECTORY / "seaweed"))
    store.make_bucket(BUCKET)
    os.environ.update(store.environment)  # to show the files in the end
    extra = {"endpoint_url": store.endpoint, "region_name": store.region}
    connection = {"conn_type": "aws", "login": store.access_key, "password": store.secret_key, "extra": extra}
    airflow.environment |= {
        BACKUP_ROOT: f"s3://{BUCKET}/sets",
        STORAGE_CONNECTION: "demo_store",
        "AIRFLOW_CONN_DEMO_STORE": json.dumps(connection),
    }


def _users_settings() -> dict[str, str]:
    """What of the user's environment is meant for this Airflow: connections, variables, what the plugin reads."""
    prefixes = ("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__PGVECTOR_BACKUP__", "AIRFLOW__CORE__DEFAULT_TIMEZONE")
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def _port() -> int:
    text = os.environ.get("PORT") or "8080"
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise DemoError(f"PORT must be a number from 1 to 65535, or 0 for a free one, not {text!r}")
    return int(text)


def _back_up(airflow: StandaloneAirflow, client: AirflowClient) -> None:
    """Trigger one backup over the REST API, wait for it, show the result and the files."""
    conf: dict[str, Any] = {"truncate_vector_tables": False}
    if BACKUP_ROOT not in airflow.environment:
        # The directory of a task that wants its vectors kept: the backup goes there.
        conf["task_id"] = f"task_{datetime.datetime.now():%Y%m%d_%H%M%S}"
        (airflow.home / "data_pipeline" / "training_data" / conf["task_id"]).mkdir(parents=True)
    say(f"POST {airflow.url}/api/v2/dags/{DAG_ID}/dagRuns  conf = {json.dumps(conf)}")
    run_id = client.trigger(DAG_ID, conf)
    outcome = client.wait(DAG_ID, run_id)
    for result in outcome.results.values():
        say(json.dumps(result, ensure_ascii=False, indent=2))
    if outcome.state != "success":
        _show_failure(client, run_id)
        raise DemoError(f"the backup {outcome.state}; the tasks' logs are in {airflow.home / 'logs'}")
    if not outcome.results:
        raise DemoError(f"the run {run_id} ended without a result")
    for result in outcome.results.values():
        _show_files(result["backup_directory"])


def _show_failure(client: AirflowClient, run_id: str) -> None:
    for task in client.task_instances(DAG_ID, run_id):
        say(f"task {task['task_id']}: {task['state']}")
        if task["state"] == "failed":
            with contextlib.suppress(RestError):
                log = client.task_log(DAG_ID, run_id, task["task_id"], task["try_number"])
                events = re.split(r"\n(?=\d{4}-\d\d-\d\dT)", log)
                say("\n".join(event for event in events if " error " in event[:40]))


def _show_files(directory: str) -> None:
    say(f"files in {directory}:")
    for file in sorted(store_at(directory).entries()):
        say(f"{file.bytes:>12,} bytes  {file.name}")


def _stay_up(airflow: StandaloneAirflow, uri: str | None) -> None:
    """Show the way in, then wait for Ctrl-C, which is the regular end here."""
    say(f"\nAirflow is up:  {airflow.url}")
    for name, password in airflow.passwords.items():
        say(f"  login:        {name}\n  password:     {password}")
    if uri is not None:
        say(f"  database:     {uri}")
    say("Ctrl-C stops everything.")
    with contextlib.suppress(Interrupted):
        while True:
            time.sleep(1)
            if not airflow.running:
                raise DemoError("Airflow ended by itself")


if __name__ == "__main__":
    sys.exit(main())
