"""Connections that read in processes of their own give the same files, and take nothing down with them."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.conninfo import make_conninfo

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled, DatabaseFault, StorageFault
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.compression import Compression
from pgvector_backup.engine.dump import reader_process
from pgvector_backup.engine.dump.reader_messages import Begin
from pgvector_backup.engine.dump.reader_process import ReaderProcess
from pgvector_backup.engine.postgres import snapshot
from pgvector_backup.engine.postgres.session import parameters_of
from pgvector_backup.engine.store.disk_file import DiskFile
from tests.helpers import killed_backup
from tests.helpers.apart import at_block_of_process, processes, read_apart
from tests.helpers.hooks import WIDE, activity, terminate
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets
from tests.helpers.python import environment

pytestmark = pytest.mark.apart

LARGE_ROWS = (
    "CREATE TABLE large_rows (id int PRIMARY KEY, embedding vector(3), document text, noise bytea);"
    "INSERT INTO large_rows SELECT n, '[1,2,3]', repeat('x', n * 200000),"
    # Bytes that no compression makes smaller.
    " (SELECT string_agg(sha256((n || '-' || k)::bytea), ''::bytea) FROM generate_series(1, n * 3000) AS k)"
    " FROM generate_series(1, 15) AS n"
)


@pytest.fixture
def large(house: House) -> House:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "16000"))
    house.configure(
        tables="langchain_pg_collection,wide,langchain_pg_embedding",
        truncate_tables=house.settings.truncate_tables,
        jobs=2,
    )
    return house


def copy(query: str) -> sql.Composed:
    """A query as readers are given them."""
    return sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(sql.SQL(query))


@contextmanager
def joined(conn: psycopg.Connection[Any]) -> Iterator[ReaderProcess]:
    """A process that has joined the snapshot of a connection."""
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    row = conn.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    begin = Begin(parameters_of(conn), conn.info.user, row[0], 2, "csv", Compression(), fingerprint.best().name)
    with closing(ReaderProcess(begin)) as process:
        process.wait_until_ready()
        yield process


def assert_nothing_is_left(house: House) -> None:
    assert house.files() == []
    assert processes() == []
    deadline = time.monotonic() + 10
    while activity(house.database):
        assert time.monotonic() < deadline, activity(house.database)
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("file_format", "compression"), list(itertools.product(("csv", "binary"), ("none", "zstd", "gzip")))
)
def test_the_same_rows_as_ever(
    large: House, monkeypatch: pytest.MonkeyPatch, file_format: str, compression: str
) -> None:
    large.database.run(LARGE_ROWS)
    large.configure(tables="langchain_pg_collection,large_rows,wide,langchain_pg_embedding", jobs=1)
    alone = large.backup(file_format=file_format, compression=compression)
    for jobs in (2, 4):
        large.configure(jobs=jobs)
        with monkeypatch.context() as patch:
            reached = at_block_of_process(patch, 3, lambda _: None)
            result = large.backup(file_format=file_format, compression=compression)

        assert reached.is_set()
        assert processes() == []
        assert {label: table.rows for label, table in result.tables.items()} == {
            label: table.rows for label, table in alone.tables.items()
        }
        verified = large.verify(backup_path="vector_bak", timestamp=result.backup_id, depth="rows")
        assert verified.failure is None
        fingerprints = [
            {table["table"]: table["fingerprint"] for table in json.loads(manifest)["tables"]}
            for manifest in ((large.directory / str(one.manifest_file)).read_text() for one in (alone, result))
        ]
        assert fingerprints[0] == fingerprints[1]


def test_a_killed_reader_fails_its_table_and_no_other(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = at_block_of_process(monkeypatch, 3, lambda process: process.kill())
    result = large.backup()

    assert reached.is_set()
    failure = result.tables["wide"].failure
    assert isinstance(failure, DatabaseFault)
    assert failure.can_retry
    assert "ended with exit code -9" in failure.message
    others = {label: table.rows for label, table in result.tables.items() if label != "wide"}
    assert others == {"langchain_pg_collection": 4, "langchain_pg_embedding": 58}
    assert whole_sets(large.directory) == [result.backup_id]
    assert leftovers(large.directory) == []
    assert processes() == []


def test_a_reader_whose_backend_is_ended_fails_its_table_and_no_other(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While its local companion waits before its first block, the one that is active is the process's.
    reached = at_block_of_process(
        monkeypatch, 3, lambda _: terminate(large.database, "query LIKE 'COPY %' AND state = 'active'")
    )
    result = large.backup()

    assert reached.is_set()
    failure = result.tables["wide"].failure
    assert isinstance(failure, DatabaseFault)
    assert failure.can_retry
    assert result.tables["langchain_pg_embedding"].rows == 58
    assert leftovers(large.directory) == []
    assert processes() == []


def test_a_cancel_reaches_its_query(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Cancel()
    at_block_of_process(monkeypatch, 3, lambda _: cancel.ask())
    with pytest.raises(Cancelled):
        large.backup(cancel=cancel)
    assert_nothing_is_left(large)


def test_a_cancel_reaches_a_query_that_sends_nothing(large: House) -> None:
    """Where no block comes, nobody looks whether to go on."""
    cancel = Cancel()

    def ask_once_it_sleeps() -> None:
        while not large.database.run("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            time.sleep(0.01)
        cancel.ask()

    with large.database.connect() as conn, joined(conn) as process, cancel.watching(process):
        blocks = process.blocks(copy("SELECT pg_sleep(60)"))
        watcher = threading.Thread(target=ask_once_it_sleeps)
        watcher.start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            next(blocks)
        watcher.join()
    assert time.monotonic() - started < 30
    assert processes() == []


def test_a_killed_backup_takes_its_readers_along(large: House, tmp_path: Path) -> None:
    backup = subprocess.Popen(
        [sys.executable, killed_backup.__file__, large.database.uri(), str(large.root)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert backup.stdout is not None
    with backup, backup.stdout:
        reader = psutil.Process(int(backup.stdout.readline()))
        assert reader.is_running()
        backup.send_signal(signal.SIGKILL)
        reader.wait(10)
    assert [name for name in large.files() if not name.endswith(".tmp")] == []
    deadline = time.monotonic() + 10
    while activity(large.database):
        assert time.monotonic() < deadline, activity(large.database)
        time.sleep(0.01)
    large.backup()
    assert leftovers(large.directory) == []


def test_a_full_disk_ends_the_readers(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write = DiskFile.write
    full = threading.Event()

    def writing(self: DiskFile, data: Buffer) -> None:
        view = memoryview(data)  # as the method itself has one, which outlives the error
        if full.is_set() and len(view) > 500_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    monkeypatch.setattr(DiskFile, "write", writing)
    reached = at_block_of_process(monkeypatch, 3, lambda _: full.set())
    result = large.backup()
    assert reached.is_set()
    assert isinstance(result.tables["wide"].failure, StorageFault)
    assert result.tables["langchain_pg_embedding"].rows == 58
    assert leftovers(large.directory) == []
    assert processes() == []


def test_without_another_process_threads_read(
    large: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_apart(monkeypatch)
    monkeypatch.setattr(reader_process.sys, "executable", "/nowhere/python")
    assert large.backup().tables["wide"].rows == 16_000
    assert "one connection reads without a process of its own" in caplog.text


def test_a_process_that_may_not_connect_is_done_without(
    large: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_apart(monkeypatch)
    monkeypatch.setattr(snapshot, "parameters_of", lambda _: {"host": "127.0.0.1", "port": "1", "password": "sekret!"})
    assert large.backup().tables["wide"].rows == 16_000
    assert "one connection reads without a process of its own" in caplog.text
    assert "sekret!" not in caplog.text
    assert processes() == []


def test_a_process_that_never_answers_is_done_without(
    large: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_apart(monkeypatch)
    monkeypatch.setattr(reader_process, "COMMAND", "import time; main = lambda *reader_main: time.sleep(600)")
    monkeypatch.setattr(reader_process, "_START_SECONDS", 1)
    monkeypatch.setattr(reader_process, "_END_SECONDS", 1)
    assert large.backup().tables["wide"].rows == 16_000
    assert "does not answer" in caplog.text
    assert processes() == []


def test_another_role_is_done_without(
    large: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is set on a connection after it was opened does not reach another process."""
    role = f"role_{large.database.name}"
    large.database.run(f"CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")

    def connect() -> psycopg.Connection[Any]:
        conn = large.database.connect()
        conn.execute(f"SET ROLE {role}".encode())
        conn.commit()
        return conn

    large.connect = connect
    read_apart(monkeypatch)
    try:
        assert large.backup().tables["wide"].rows == 16_000
    finally:
        large.database.run(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert "is another role to the server" in caplog.text


def test_modules_of_the_working_directory_are_not_taken(
    large: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("json", "mmap", "queue", "psycopg"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [Path("/of no use"), *sys.path])
    reached = at_block_of_process(monkeypatch, 1, lambda _: None)
    assert large.backup().tables["wide"].rows == 16_000
    assert reached.is_set()


def test_a_password_is_no_argument(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    uri = make_conninfo(large.database.uri(), password="sekret! 'quoted'")
    large.connect = lambda: psycopg.connect(uri)
    at_block_of_process(
        monkeypatch, 1, lambda process: commands.append(" ".join(process.cmdline()) + repr(process.environ()))
    )
    assert large.backup().failure is None
    assert len(commands) == 1
    assert "sekret" not in commands[0]


def test_parameters_lead_to_the_server_that_was_reached(large: House) -> None:
    with psycopg.connect(large.database.uri()) as conn:
        directory, port = conn.info.host, conn.info.port
        name, user = conn.info.dbname, conn.info.user
    several = make_conninfo(
        host=f"/nowhere,{directory}", port=f"1,{port}", dbname=name, user=user, password="p", application_name="mine"
    )
    with psycopg.connect(several) as conn:
        given = parameters_of(conn)
    assert {key: given[key] for key in ("host", "port", "dbname", "user", "password", "application_name")} == {
        "host": directory,
        "port": str(port),
        "dbname": name,
        "user": user,
        "password": "p",
        "application_name": "mine",
    }
    with psycopg.connect(make_conninfo("", **given)) as conn:
        assert conn.info.host == directory


def test_a_servers_error_is_told_as_it_came(large: House) -> None:
    with large.database.connect() as conn, joined(conn) as process:
        blocks = process.blocks(copy("SELECT 1 / 0"))
        with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero") as caught:
            next(blocks)
    assert caught.value.diag.sqlstate == "22012"
    assert processes() == []


def test_killed_while_it_sends_a_large_row(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Connection.recv_bytes
    with large.database.connect() as conn, joined(conn) as process:

        def killing(self: Connection[Any, Any]) -> bytes:
            monkeypatch.undo()
            psutil.Process(process.pid).kill()
            return receive(self)

        blocks = process.blocks(copy("SELECT repeat('x', 50000000)"))
        monkeypatch.setattr(Connection, "recv_bytes", killing)
        with pytest.raises(DatabaseFault, match="ended with exit code -9"):
            next(blocks)
    assert processes() == []


def test_many_queries_one_after_the_other(large: House) -> None:
    """Also those without a row, which must not use memory up."""
    with large.database.connect() as conn, joined(conn) as process:
        for rows in (0, 1, 0, 0, 0, 5, 100_000, 0, 100_000):
            blocks = process.blocks(copy(f"SELECT n FROM generate_series(1, {rows}) AS n"))
            assert sum(block.rows for block in blocks) == rows
    assert processes() == []


def test_left_in_the_middle_it_ends_at_once(large: House) -> None:
    started = time.monotonic()
    with large.database.connect() as conn, joined(conn) as process:
        blocks = process.blocks(copy("SELECT generate_series(1, 100000000)"))
        next(blocks)
        blocks.close()
    assert time.monotonic() - started < 20
    assert processes() == []
