"""Drills of sets that somebody hostile wrote: what they define reaches nothing outside of its database."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import Connection

from pgvector_backup.embedded.server import EmbeddedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.check.limits import Limits
from pgvector_backup.engine.check.scratch import scratch_database
from pgvector_backup.engine.check.scratch_embedded import DIRECTORY_PREFIX
from tests.engine.test_drill import databases
from tests.helpers.database import Database
from tests.helpers.forging import reseal
from tests.helpers.house import House
from tests.helpers.installation import until

pytestmark = pytest.mark.apart

LIMITS = Limits.of(0, disk_mb=0, seconds=0, memory_mb=5120)


@pytest.fixture(params=["embedded", "remote"])
def drilled(request: pytest.FixtureRequest, database: Database) -> Iterator[Connection[Any]]:
    """A connection as the role that a drill is held as."""
    connect = None if request.param == "embedded" else database.connect
    with scratch_database(connect, LIMITS, Cancel(), lock_timeout=2) as scratch:
        conn = scratch()
        conn.autocommit = True
        yield conn
        conn.close()


REFUSED = {
    "large object from a file": "SELECT lo_import('/etc/passwd')",
    "large object into a file": "SELECT lo_export(1, '/tmp/pgvector_backup_attack')",
    "large object of bytes": "SELECT lo_from_bytea(0, 'x')",
    "large object, empty": "SELECT lo_creat(-1)",
    "large object, written": "SELECT lo_put(1, 0, 'x')",
    "program, output": "COPY (SELECT 1) TO PROGRAM 'id > /tmp/pgvector_backup_attack'",
    "program, input": "COPY pg_temp.t FROM PROGRAM 'id'",
    "file, output": "COPY (SELECT 1) TO '/tmp/pgvector_backup_attack'",
    "file, input": "COPY pg_temp.t FROM '/etc/passwd'",
    "file, read": "SELECT pg_read_file('/etc/passwd')",
    "file, read as bytes": "SELECT pg_read_binary_file('postgresql.conf')",
    "file, environment": "SELECT pg_read_file('/proc/self/environ')",
    "directory": "SELECT pg_ls_dir('/')",
    "file, about": "SELECT pg_stat_file('/etc/passwd')",
    "library, session": "SELECT set_config('session_preload_libraries', '/tmp/x.so', false)",
    "library, database": "ALTER DATABASE {database} SET session_preload_libraries = '/tmp/x.so'",
    "library, role": "ALTER ROLE CURRENT_USER SET session_preload_libraries = '/tmp/x.so'",
    "library, load": "LOAD '/tmp/x.so'",
    "function, native": "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/tmp/x.so', 'f'",
    "function, internal": "CREATE FUNCTION f(cstring) RETURNS int LANGUAGE internal AS 'int4in'",
    "function, sql": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "function, plpgsql": "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
    "block": "DO 'BEGIN END'",
    "server's settings": "ALTER SYSTEM SET shared_preload_libraries = 'x'",
    "server's settings, read again": "SELECT pg_reload_conf()",
    "server's settings, shown": "SELECT current_setting('data_directory')",
    "who may log in": "SELECT * FROM pg_hba_file_rules",
    "passwords": "SELECT rolpassword FROM pg_authid",
    "extension dblink": "CREATE EXTENSION dblink",
    "extension file_fdw": "CREATE EXTENSION file_fdw",
    "extension postgres_fdw": "CREATE EXTENSION postgres_fdw",
    "extension plpython3u": "CREATE EXTENSION plpython3u",
    "role, superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "role, taken up": "SET ROLE postgres",
    "role, authorization": "SET SESSION AUTHORIZATION postgres",
    "role, made": "CREATE ROLE another",
    "database, made": "CREATE DATABASE another",
    "sql as text, table": "SELECT query_to_xml('SELECT 1', true, true, '')",
    "sql as text, statistics": "SELECT * FROM ts_stat('SELECT to_tsvector(''a'')')",
    "waiting": "SELECT pg_sleep(1000)",
    "replication": "SELECT pg_create_physical_replication_slot('x')",
    "publication": "CREATE PUBLICATION p FOR ALL TABLES",
    "subscription": "CREATE SUBSCRIPTION s CONNECTION 'host=/tmp' PUBLICATION p",
    "event trigger": "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION pg_sleep()",
    "tablespace": "CREATE TABLESPACE t LOCATION '/tmp'",
    "cast": "CREATE CAST (int AS text) WITH INOUT",
    "other sessions": "SELECT pg_terminate_backend(1)",
    "temporary files without end": "SET temp_file_limit = -1",
    "other user's log": "SELECT pg_logical_emit_message(false, 'a', 'b')",
}


def test_the_role_of_a_drill_reaches_nothing_outside(drilled: Connection[Any]) -> None:
    drilled.execute("CREATE TEMP TABLE t (a text)")
    database = drilled.info.dbname
    passed = []
    for what, statement in REFUSED.items():
        try:
            drilled.execute(statement.replace("{database}", database).encode())
        except psycopg.errors.Error as fault:
            refused = (
                psycopg.errors.InsufficientPrivilege,
                psycopg.errors.FeatureNotSupported,
                psycopg.errors.UndefinedFile,
                psycopg.errors.InvalidParameterValue,
            )
            assert isinstance(fault, refused), f"{what}: {fault!r}"
        else:
            passed.append(what)
    assert passed == []
    assert not Path("/tmp/pgvector_backup_attack").exists()


def test_resetting_the_role_gives_nothing_back(drilled: Connection[Any]) -> None:
    me = drilled.info.user
    for statement in ("RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE", "DISCARD ALL"):
        drilled.execute(statement.encode())
        assert drilled.execute("SELECT current_user, session_user").fetchone() == (me, me)
        assert drilled.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)


def test_the_role_of_a_drill_owns_one_database_and_is_a_member_of_nothing(drilled: Connection[Any]) -> None:
    assert drilled.execute(
        "SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    ).fetchall() == [(drilled.info.dbname,)]
    assert (
        drilled.execute(
            "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            " WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
        ).fetchall()
        == []
    )
    assert drilled.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() == (1,)


def test_a_remote_drill_leaves_no_role_and_no_database(database: Database) -> None:
    with scratch_database(database.connect, LIMITS, Cancel(), lock_timeout=2) as scratch:
        with scratch() as conn:
            name = conn.info.user
        assert database.run("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
    assert not database.run("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
    assert not database.run("SELECT 1 FROM pg_database WHERE datname = %s", [name])


def test_an_ordinary_role_drills_as_itself(database: Database) -> None:
    database.run("CREATE ROLE maker LOGIN CREATEDB")
    try:
        with (
            scratch_database(lambda: database.connect("maker"), LIMITS, Cancel(), lock_timeout=2) as scratch,
            scratch() as conn,
        ):
            assert conn.info.user == "maker"
    finally:
        database.run("DROP ROLE maker")


@pytest.mark.parametrize("power", ["pg_read_server_files", "pg_execute_server_program", "pg_write_server_files"])
def test_a_powerful_role_that_can_make_no_other_holds_no_drill(database: Database, power: str) -> None:
    database.run("CREATE ROLE mighty LOGIN CREATEDB")
    database.run(f"GRANT {power} TO mighty")
    try:
        with (
            pytest.raises(DatabaseFault, match=power),
            scratch_database(lambda: database.connect("mighty"), LIMITS, Cancel(), lock_timeout=2),
        ):
            pass
    finally:
        database.run("DROP ROLE mighty")


# --- the embedded server itself ---


def servers() -> list[psutil.Process]:
    """The drill's server: the postgres below one of our own keepers whose directory is a drill's."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a backend that has just ended
            if process.name() == "postgres" and any(DIRECTORY_PREFIX in part for part in process.cmdline()):
                found.append(process)
    return found


def test_no_superuser_comes_into_the_drills_server(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[EmbeddedPostgres] = []
    start = EmbeddedPostgres.start

    def noted(self: EmbeddedPostgres) -> EmbeddedPostgres:
        seen.append(self)
        return start(self)

    monkeypatch.setattr(EmbeddedPostgres, "start", noted)
    with scratch_database(None, LIMITS, Cancel(), lock_timeout=2):
        (server,) = seen
        for user, name in (("postgres", "postgres"), ("postgres", "drill"), ("drill", "postgres"), ("drill", "drill")):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(server.uri(name, user=user))


def test_the_drills_server_knows_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    monkeypatch.setenv("PGPASSWORD", "a third")
    with scratch_database(None, LIMITS, Cancel(), lock_timeout=2):
        for process in servers():
            known = Path(f"/proc/{process.pid}/environ").read_bytes()
            assert b"a secret" not in known
            assert b"another" not in known
            assert b"a third" not in known
            assert b"AIRFLOW" not in known


def test_the_drills_server_has_no_capability_and_gets_none() -> None:
    with scratch_database(None, LIMITS, Cancel(), lock_timeout=2) as scratch, scratch() as conn:
        conn.execute("SELECT 1")
        found = [one for server in servers() for one in (server, *server.children(recursive=True))]
        assert len(found) > 3
        for process in found:
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
            assert int(status["NoNewPrivs"]) == 1
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(status[kind], 16) == 0, kind
            if os.geteuid() == 0:
                assert int(status["CapBnd"], 16) == 0
                assert status["Uid"].split()[0] != "0"
            assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"


def test_the_drills_server_has_a_directory_of_its_own_and_leaves_nothing() -> None:
    with scratch_database(None, LIMITS, Cancel(), lock_timeout=2):
        (directory,) = {
            part for one in servers() for part in one.cmdline() if DIRECTORY_PREFIX in part and "data" in part
        }
        place = Path(directory).parent
        assert place.parent == Path(tempfile.gettempdir())
        assert place.stat().st_mode & 0o077 == (0o011 if os.geteuid() == 0 else 0)
        assert Path(directory).stat().st_mode & 0o077 == 0
    assert not place.exists()
    assert servers() == []


def test_memory_without_end_is_refused() -> None:
    limits = Limits.of(0, disk_mb=0, seconds=0, memory_mb=1024)
    with scratch_database(None, limits, Cancel(), lock_timeout=2) as scratch, scratch() as conn:
        conn.autocommit = True
        with pytest.raises(psycopg.errors.OutOfMemory):
            conn.execute("SELECT repeat('x', 500000000) || repeat('y', 500000000) || repeat('z', 20000000)")
        assert conn.execute("SELECT 1").fetchone() == (1,)


# --- the sets ---


def with_check(house: House, expression: str) -> None:
    """A set of one table whose manifest has a check that was never in the database."""
    house.database.run(
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t SELECT n, n FROM generate_series(1, 200) n"
    )
    house.configure(tables="t")
    house.backup()

    def change(body: dict[str, Any]) -> None:
        body["tables"][0]["constraints"].append({"name": "bad", "type": "check", "definition": f"CHECK ({expression})"})

    reseal(house, change)


def with_generated(house: House, expression: str, *, columns: int) -> None:
    """A set of one table whose manifest has generated columns that were never in the database."""
    house.database.run(
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t SELECT n, n FROM generate_series(1, 2000) n"
    )
    house.configure(tables="t")
    house.backup()

    def change(body: dict[str, Any]) -> None:
        column = body["tables"][0]["columns"][1]
        for number in range(columns):
            body["tables"][0]["columns"].append(
                {**column, "name": f"g{number}", "default": expression, "generated": True, "not_null": False}
            )

    reseal(house, change)


ATTACKS = {
    "writes a file": "lo_export(lo_from_bytea(0, 'x'), '/tmp/pgvector_backup_attack') = 1",
    "reads a file": "lo_import('/etc/passwd') > 0",
    "reads the environment": "length(pg_read_file('/proc/self/environ')) > 0",
    "fills large objects": "lo_from_bytea(0, repeat('x', 1000000)::bytea) > 0",
    "runs sql": "query_to_xml('SELECT 1', true, true, '') IS NOT NULL",
    "loads a library": "set_config('session_preload_libraries', '/tmp/x.so', false) IS NOT NULL",
    "waits": "pg_sleep(100000) IS NOT NULL",
    "becomes the superuser": "set_config('session_authorization', 'postgres', false) = 'postgres'",
    "becomes a role": "set_config('role', 'postgres', false) = 'postgres'",
}


@pytest.mark.parametrize("where", ["embedded", "remote"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_check_that_attacks_gets_nowhere(house: House, attack: str, where: str) -> None:
    with_check(house, ATTACKS[attack])
    result = house.verify(depth="drill", connect=None if where == "embedded" else house.connect)
    assert result.failure is not None
    assert "constraint bad of the set" in str(result.errors), result.errors
    assert not Path("/tmp/pgvector_backup_attack").exists()
    assert databases(house) == []


def test_a_set_that_fills_the_disk_is_ended(house: House) -> None:
    # A few bytes of a row become 200 KB that no compression makes smaller.
    with_generated(house, " || ".join(f"md5(note || '{number}')" for number in range(100)), columns=60)
    house.configure(tables="t", drill_disk_mb=80)
    before = time.monotonic()
    result = house.verify(depth="drill", connect=None)
    assert isinstance(result.failure, DatabaseFault)
    assert "bytes of disk" in str(result.failure)
    assert result.failure.can_retry is False
    assert time.monotonic() - before < 120
    assert servers() == []


def test_a_set_that_never_ends_is_ended(house: House) -> None:
    # Each row costs seconds, and no rule of what a check may call forbids it.
    with_check(
        house,
        "md5(repeat(md5(note), 9000000)) <> ''",
    )
    house.configure(tables="t", drill_timeout=3)
    result = house.verify(depth="drill", connect=None)
    assert isinstance(result.failure, DatabaseFault)
    assert "drill_timeout" in str(result.failure)
    assert servers() == []


def test_a_remote_drill_that_never_ends_is_ended(house: House) -> None:
    with_check(house, "md5(repeat(md5(note), 9000000)) <> ''")
    house.configure(tables="t", drill_timeout=2)
    result = house.verify(depth="drill")
    assert isinstance(result.failure, DatabaseFault)
    assert "drill_timeout" in str(result.failure)
    assert databases(house) == []


def test_a_drill_that_is_cancelled_ends(house: House) -> None:
    cancel = Cancel()
    started = threading.Event()

    def body(scratch: Callable[[], Connection[Any]]) -> None:
        with scratch() as conn, cancel.watching(conn):
            started.set()
            conn.execute("SELECT count(*) FROM generate_series(1, 10000000000) AS n")

    def asker() -> None:
        started.wait()
        time.sleep(0.3)
        cancel.ask()

    thread = threading.Thread(target=asker)
    thread.start()
    with pytest.raises(psycopg.errors.QueryCanceled), scratch_database(None, LIMITS, cancel, lock_timeout=2) as scratch:
        body(scratch)
    thread.join()
    until(lambda: servers() == [], "the drill's server to end")
