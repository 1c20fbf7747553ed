"""A complete Airflow on this machine: one directory, one port, ended without a trace of a process."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil

from demo.ports import pick_free, require_free
from demo.rest import AirflowClient, RestError
from pgvector_backup.embedded.keeper import end_kept, start_kept
from pgvector_backup.embedded.locks import lock_directory

if TYPE_CHECKING:
    from typing_extensions import Self

CHECKOUT = Path(__file__).resolve().parent.parent

# In the environment of every process of an Airflow, so that the next run finds what a killed one left.
_MARKER = "PGVECTOR_BACKUP_LOCAL_AIRFLOW"

_COMPONENTS = ("scheduler", "dag_processor", "triggerer")


class AirflowError(Exception):
    """Airflow could not be started; the message says why and shows the end of its log."""


class StandaloneAirflow:
    """``airflow standalone`` with SQLite and LocalExecutor.

        with StandaloneAirflow(home, port=0, users={"admin": "admin", "eve": "viewer"}) as airflow:
            run_id = airflow.client("admin").trigger("pgvector_backup", {"task_id": "t1"})

    The surrounding environment's own Airflow settings (everything that starts with ``AIRFLOW``) are left out:
    they belong to another Airflow.

    :param home: AIRFLOW_HOME; made when missing, used again when there
    :param dags_folder: where the DAG files are
    :param plugins_folder: where the plugins are
    :param port: of the UI and the REST API, on 127.0.0.1; 0 takes a free one
    :param users: role (``admin``, ``op``, ``user``, ``viewer``) by user name; each gets a new password
    :param environment: further environment variables for every Airflow process
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        *,
        dags_folder: str | os.PathLike[str] = CHECKOUT / "dags",
        plugins_folder: str | os.PathLike[str] = CHECKOUT / "plugins",
        port: int = 8080,
        users: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = Path(home).absolute()
        self.dags_folder = Path(dags_folder).absolute()
        self.plugins_folder = Path(plugins_folder).absolute()
        self.port = port
        self.users = dict(users or {"admin": "admin"})
        self.passwords = {name: secrets.token_urlsafe(12) for name in self.users}
        self.environment = dict(environment or {})
        self._keeper: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._started_at = ""

    @property
    def url(self) -> str:
        """The base URL of the UI and of the REST API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What all components print, since the last start; the tasks' logs are in ``home/logs``."""
        return self.home / "airflow.log"

    def client(self, user: str | None = None) -> AirflowClient:
        """A REST client logged in as this user, by default the first."""
        name = next(iter(self.users)) if user is None else user
        return AirflowClient.login(self.url, name, self.passwords[name])

    def wait_for_dag(self, dag_id: str, *, timeout: float = 120) -> None:
        """Wait until the DAG's file, as it is now, has been read.

        :raises TimeoutError: it was not, or with errors; they are in the message
        """
        self.client().wait_for_dag(dag_id, parsed_after=self._started_at, timeout=timeout)

    def fail_interrupted_runs(self, dag_id: str) -> None:
        """End the runs that an earlier, killed Airflow left unfinished.

        Airflow itself would take minutes to notice, and a DAG with one run at a time waits as long.
        """
        client = self.client()
        for run in client.unfinished_runs(dag_id):
            if (run["queued_at"] or "")[:19] < self._started_at[:19]:
                client.set_run_state(dag_id, run["dag_run_id"], "failed")

    @property
    def running(self) -> bool:
        """Whether Airflow was started and has not ended by itself."""
        return self._keeper is not None and self._keeper.poll() is None

    def claim(self) -> Self:
        """Make sure of the home and the port, before anything is started.

        :raises DirectoryInUseError: another process uses the home
        :raises PortTakenError: somebody listens on the port
        """
        if self._lock is None:
            self.home.mkdir(parents=True, exist_ok=True)
            self._lock = lock_directory(self.home, seconds=60)
            try:
                self._stop_leftovers()
                if self.port != 0:
                    require_free(self.port)
            except BaseException:
                self.stop()
                raise
        return self

    def start(self, timeout: float = 300) -> Self:
        """Start all components and wait until every one is healthy.

        :raises AirflowError: that took longer than ``timeout`` seconds, or a component gave up
        """
        if self._keeper is not None:
            return self
        self.claim()
        try:
            self._start(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every process that was started; nothing happens when there is none."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            end_kept(keeper)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # --- the steps of a start ---

    def _stop_leftovers(self) -> None:
        """End what still runs for this home; we hold the lock, so it has no owner any more.

        There is something only if the keeper itself was killed. The session's number tells its processes, and
        the environment those that left the session; some of Airflow's overwrite theirs.
        """
        session = None
        with contextlib.suppress(OSError, ValueError):
            # Numbers start anew when the machine does.
            if self._session_file.stat().st_mtime > psutil.boot_time():
                session = int(self._session_file.read_text())
        leftovers = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                in_session = os.getsid(process.pid) == session and "airflow" in " ".join(process.cmdline())
                if in_session or process.environ().get(_MARKER) == str(self.home):
                    process.kill()
                    leftovers.append(process)
        psutil.wait_procs(leftovers, timeout=10)

    def _start(self, timeout: float) -> None:
        self._forget_unfinished_database()
        ports = pick_free(3)
        if self.port == 0:
            self.port = ports[2]
        self._write_passwords()
        self._started_at = _now()
        with self.log.open("wb") as output:
            self._keeper = start_kept(
                [sys.executable, "-m", "airflow", "standalone"],
                environment=self._environment(worker_log_port=ports[0], trigger_log_port=ports[1]),
                output=output,
                # An interrupt is what standalone takes as the request to end its components.
                options=["--signal=INT", "--grace=6"],
                hold=self._lock,
                directory=self.home,
            )
        self._session_file.write_text(str(self._keeper.pid))
        self._wait_until_healthy(timeout)
        self._database_mark.touch()

    @property
    def _database_mark(self) -> Path:
        return self.home / "airflow.db.complete"

    def _forget_unfinished_database(self) -> None:
        """Remove a metadata database whose making was interrupted; it never held anything."""
        if not self._database_mark.exists():
            for file in self.home.glob("airflow.db*"):
                file.unlink()

    @property
    def _session_file(self) -> Path:
        return self.home / "session"

    @property
    def _passwords_file(self) -> Path:
        return self.home / "passwords.json"

    def _write_passwords(self) -> None:
        self._passwords_file.unlink(missing_ok=True)
        descriptor = os.open(self._passwords_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(self.passwords, file)

    def _environment(self, *, worker_log_port: int, trigger_log_port: int) -> dict[str, str]:
        """What the Airflow processes see.

        Every setting with a path is here: the file ``airflow.cfg``, which Airflow writes, holds absolute
        paths that are wrong once the checkout has moved.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.lstrip("_").startswith("AIRFLOW") and name not in ("PYTHONPATH", "PYTHONHOME")
        }
        scripts = str(Path(sys.executable).parent)
        local_hosts = "127.0.0.1,localhost"
        settings = {
            ("core", "dags_folder"): self.dags_folder,
            ("core", "plugins_folder"): self.plugins_folder,
            ("core", "load_examples"): False,
            ("core", "executor"): "LocalExecutor",
            ("core", "parallelism"): 4,
            # The default asks the name service, which can take seconds where there is none.
            ("core", "hostname_callable"): "socket.gethostname",
            ("core", "auth_manager"): (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            ("core", "simple_auth_manager_users"): ",".join(f"{name}:{role}" for name, role in self.users.items()),
            ("core", "simple_auth_manager_passwords_file"): self._passwords_file,
            ("core", "execution_api_server_url"): f"{self.url}/execution/",
            ("database", "sql_alchemy_conn"): f"sqlite:///{self.home}/airflow.db",
            ("database", "load_default_connections"): False,
            ("logging", "base_log_folder"): self.home / "logs",
            ("logging", "dag_processor_child_process_log_directory"): self.home / "logs" / "dag_processor",
            ("logging", "worker_log_server_port"): worker_log_port,
            ("logging", "trigger_log_server_port"): trigger_log_port,
            ("api", "host"): "127.0.0.1",
            ("api", "port"): self.port,
            ("api", "base_url"): self.url,
            ("api", "workers"): 1,
            ("usage_data_collection", "enabled"): False,
        }
        return {
            **inherited,
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{s}__{k}".upper(): str(value) for (s, k), value in settings.items()},
            # Components find each other on this machine, whatever proxy there is for the world outside.
            "NO_PROXY": f"{os.environ.get('NO_PROXY', os.environ.get('no_proxy', ''))},{local_hosts}".strip(","),
            "no_proxy": f"{os.environ.get('no_proxy', os.environ.get('NO_PROXY', ''))},{local_hosts}".strip(","),
            # standalone starts the components as "airflow".
            "PATH": scripts + os.pathsep + os.environ.get("PATH", os.defpath),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            _MARKER: str(self.home),
            **self.environment,
        }

    def _wait_until_healthy(self, timeout: float) -> None:
        assert self._keeper is not None
        deadline = time.monotonic() + timeout
        missing = "the REST API does not answer"
        while True:
            with contextlib.suppress(OSError, RestError, ValueError):
                health = AirflowClient(self.url).request("GET", "/api/v2/monitor/health", timeout=10)
                unhealthy = [name for name in _COMPONENTS if not self._is_healthy(name, health)]
                if not unhealthy:
                    return
                missing = f"not healthy: {', '.join(unhealthy)}"
            if self._keeper.poll() is not None:
                raise AirflowError(f"Airflow ended by itself (code {self._keeper.returncode}).{self._end_of_log()}")
            if time.monotonic() > deadline:
                raise AirflowError(f"Airflow is not up after {timeout:.0f} s: {missing}.{self._end_of_log()}")
            time.sleep(0.5)

    def _is_healthy(self, component: str, health: dict[str, Any]) -> bool:
        """Whether the component has reported since our start: the database remembers earlier ones too."""
        state = health.get(component) or {}
        heartbeat = state.get(f"latest_{component}_heartbeat") or ""
        return state.get("status") == "healthy" and heartbeat[:19] >= self._started_at[:19]

    def _end_of_log(self, lines: int = 30) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return f" The end of {self.log}:\n" + "\n".join(text.splitlines()[-lines:])


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()
