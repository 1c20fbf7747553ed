"""A connection made ready: whatever role and database have set, what is there is what the engine reckons with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled, DatabaseFault
from pgvector_backup.engine.postgres.session import isolate, on_own_path, own_path, parameters_of, pinned, session
from tests.helpers.database import Database, fresh

# What a role or a database may have set, and what has to be there all the same.
SET = {
    "DateStyle": ("German, YMD", "ISO, YMD"),
    "IntervalStyle": ("iso_8601", "postgres"),
    "TimeZone": ("Asia/Kathmandu", "UTC"),
    "extra_float_digits": ("-15", "3"),
    "bytea_output": ("escape", "hex"),
    "lc_monetary": ("C.utf8", "C"),
    "array_nulls": ("off", "on"),
    "xmloption": ("document", "content"),
    "standard_conforming_strings": ("off", "on"),
    "backslash_quote": ("on", "safe_encoding"),
    "escape_string_warning": ("on", "off"),
    "quote_all_identifiers": ("on", "off"),
    "transform_null_equals": ("on", "off"),
    "row_security": ("on", "off"),
    "gin_fuzzy_search_limit": ("7", "0"),
    "synchronize_seqscans": ("on", "off"),
    "default_transaction_isolation": ("repeatable read", "read committed"),
    "default_transaction_read_only": ("on", "off"),
    "default_transaction_deferrable": ("on", "off"),
    "exit_on_error": ("on", "off"),
    "statement_timeout": ("7s", "0"),
    "lock_timeout": ("7s", "1500ms"),
    "transaction_timeout": ("7s", "0"),
    "idle_in_transaction_session_timeout": ("7s", "0"),
    "idle_session_timeout": ("7s", "0"),
    "default_tablespace": ("pg_default", ""),
    "client_min_messages": ("debug5", "warning"),
    "synchronous_commit": ("off", "local"),
    "client_encoding": ("LATIN1", "UTF8"),
    "search_path": ("odd, nowhere, public", "pg_catalog, pg_temp"),
    "join_collapse_limit": ("1", "8"),
    "from_collapse_limit": ("1", "8"),
    "session_replication_role": ("replica", "origin"),
    "zero_damaged_pages": ("on", "off"),
    "ignore_checksum_failure": ("on", "off"),
    **{
        f"enable_{kind}": ("off", "on")
        for kind in ("tidscan", "hashjoin", "mergejoin", "nestloop", "hashagg", "sort", "seqscan", "indexscan",
                     "indexonlyscan", "bitmapscan", "material")
    },
}  # fmt: skip

CLERK = "test_session_clerk"


@pytest.fixture(scope="module")
def odd(server: OpenedPostgres) -> Iterator[Database]:
    with fresh(server) as made:
        made.run("CREATE SCHEMA odd")
        made.run("CREATE VIEW public.v AS SELECT 1 AS one")
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute(f"CREATE ROLE {CLERK} LOGIN")
            for name, (value, _) in SET.items():
                given = value if name == "search_path" else f"'{value}'"
                conn.execute(f"ALTER DATABASE {made.name} SET {name} = {given}")
        yield made
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"DROP ROLE {CLERK}")


def shown(conn: psycopg.Connection[Any], name: str) -> str:
    (value,) = conn.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone() or ("",)
    return str(value).replace('"', "")


def test_nothing_that_was_set_matters(odd: Database) -> None:
    with odd.connect() as conn:
        assert {name: shown(conn, name) for name in ("row_security", "zero_damaged_pages")} == {
            "row_security": "on",
            "zero_damaged_pages": "on",
        }, "the scene is not set"
    with session(odd.connect, Cancel(), lock_timeout=1.5) as conn:
        assert {name: shown(conn, name) for name in SET} == {name: wanted for name, (_, wanted) in SET.items()}
        assert conn.autocommit
        assert conn.execute("SELECT 1").fetchall() == [(1,)]
        assert own_path(conn) == ("odd", "public")


@pytest.mark.parametrize(("given", "wanted"), [("remote_apply", "remote_apply"), ("on", "on"), ("local", "local")])
def test_a_commit_that_waits_for_more_still_does(odd: Database, given: str, wanted: str) -> None:
    connect = lambda: psycopg.connect(odd.uri(), options=f"-c synchronous_commit={given}")  # noqa: E731
    with session(connect, Cancel(), lock_timeout=1) as conn:
        assert shown(conn, "synchronous_commit") == wanted


def test_what_only_a_superuser_sets_is_told_of_where_the_role_is_none(
    odd: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with session(lambda: odd.connect(CLERK), Cancel(), lock_timeout=1) as conn:
        assert shown(conn, "session_replication_role") == "replica"
        assert shown(conn, "row_security") == "off"
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(
        one == "session_replication_role is replica for this role, and only a superuser may set it back to origin"
        for one in told
    )
    caplog.clear()
    with session(odd.connect, Cancel(), lock_timeout=1):
        pass
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_pooler_is_known_by_its_own_number(odd: Database, caplog: pytest.LogCaptureFixture, off: int) -> None:
    """The process that a connection says it is with, and the one that answers, are then two."""

    class Info(psycopg.ConnectionInfo):
        @property
        def backend_pid(self) -> int:
            return super().backend_pid + off

    class Through(psycopg.Connection[Any]):
        @property
        def info(self) -> psycopg.ConnectionInfo:
            return Info(self.pgconn)

    with (
        caplog.at_level("INFO"),
        session(lambda: Through.connect(odd.uri()), Cancel(), lock_timeout=1) as conn,
    ):
        conn.execute("SELECT 1")
    said = [record.getMessage() for record in caplog.records]
    assert ("the connection goes through a pooler" in said) is (off != 0)


def test_views_are_read_where_they_may_be(odd: Database) -> None:
    with session(odd.connect, Cancel(), lock_timeout=1) as conn:
        assert conn.execute("SELECT one FROM public.v").fetchall() == [(1,)]
    with (
        session(odd.connect, Cancel(), lock_timeout=1, views=False) as conn,
        pytest.raises(psycopg.Error, match="non-system view"),
    ):
        conn.execute("SELECT one FROM public.v")


def test_what_is_open_is_rolled_back_and_the_connection_closed(odd: Database) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), session(odd.connect, Cancel(), lock_timeout=1) as conn:
        conn.execute("BEGIN; CREATE TABLE public.of_nobody (); SELECT 1 / 0")
    assert conn.closed
    assert odd.run("SELECT to_regclass('public.of_nobody')") == [(None,)]
    with session(odd.connect, Cancel(), lock_timeout=1) as conn:
        conn.execute("BEGIN")
        conn.execute("CREATE TABLE public.of_nobody ()")
    assert conn.closed
    assert odd.run("SELECT to_regclass('public.of_nobody')") == [(None,)]


def test_the_roles_own_path_is_there_while_it_is_asked_for(odd: Database) -> None:
    with session(odd.connect, Cancel(), lock_timeout=1) as conn:
        conn.execute("BEGIN")
        with on_own_path(conn):
            assert shown(conn, "search_path") == "odd, public, pg_temp"
        assert shown(conn, "search_path") == "pg_catalog, pg_temp"
        with on_own_path(conn):
            conn.execute("SELECT 1")
        conn.execute("ROLLBACK")
        assert shown(conn, "search_path") == "pg_catalog, pg_temp"
    with odd.connect() as conn:
        isolate(conn)
        assert shown(conn, "search_path") == "pg_catalog, pg_temp"


# --- errors ---


def test_a_cancelled_run_opens_no_connection(odd: Database) -> None:
    cancel = Cancel()
    cancel.ask()
    opened = []

    def connect() -> psycopg.Connection[Any]:
        opened.append(1)
        return odd.connect()

    with pytest.raises(Cancelled), session(connect, cancel, lock_timeout=1):
        pass
    assert not opened


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("fault", [psycopg.errors.QueryCanceled("by somebody"), DatabaseFault("x", can_retry=True)])
def test_what_is_cancelled_on_request_is_no_fault_of_the_server(odd: Database, fault: Exception, asked: bool) -> None:
    cancel = Cancel()
    with pytest.raises(Cancelled if asked else type(fault)), session(odd.connect, cancel, lock_timeout=1):
        _fail(fault, cancel if asked else None)


def test_another_error_stays_what_it_is(odd: Database) -> None:
    cancel = Cancel()
    with pytest.raises(psycopg.errors.UndefinedTable), session(odd.connect, cancel, lock_timeout=1) as conn:
        _fail(psycopg.errors.UndefinedTable(), cancel)
    assert conn.closed


def _fail(fault: Exception, cancel: Cancel | None) -> None:
    if cancel is not None:
        cancel.ask()
    raise fault


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("FATAL:  sorry, too many clients already\nand more", "too many clients already; the server has no connection"),
        ('FATAL:  too many connections for role "u"', "CONNECTION LIMIT is reached: lower jobs, or raise it"),
        ("FATAL:  remaining connection slots are reserved", "or raise max_connections"),
        ("FATAL:  the database system is starting up", "; it will take connections soon"),
        ("FATAL:  the database system is shutting down", "; it takes no new connections until it has been started"),
        ("FATAL:  the database system is not yet accepting connections", "once it has recovered"),
        ("session is read-only", "target_session_attrs asks for a server that takes writes"),
        ('FATAL:  role "u" is not permitted to log in', "; give the role LOGIN"),
        ("connection refused", "connection refused"),
        ("", "OperationalError"),
        ('FATAL:  password authentication failed for user "a@b"', 'for user "a@b"'),
    ],
)
def test_why_it_cannot_connect(fault: str, said: str) -> None:
    def connect() -> psycopg.Connection[Any]:
        raise psycopg.OperationalError(fault)

    with pytest.raises(DatabaseFault) as caught, session(connect, Cancel(), lock_timeout=1):
        pass
    assert said in caught.value.message
    assert "and more" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "fault",
    [
        psycopg.ProgrammingError('missing "=" after "secret"'),
        psycopg.OperationalError('could not translate host name "secret@h" to address'),
        psycopg.OperationalError("connection to server: invalid port secret"),
    ],
)
def test_what_may_be_a_password_is_not_repeated(fault: psycopg.Error) -> None:
    def connect() -> psycopg.Connection[Any]:
        raise fault

    expected = pytest.raises(DatabaseFault, match="percent-encode special characters")
    with expected as caught, session(connect, Cancel(), lock_timeout=1):
        pass
    assert "secret" not in caught.value.message


# --- further connections to the same server ---


def test_what_to_connect_with_again(odd: Database) -> None:
    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(odd.uri(), password="a secret", application_name="mine")

    with session(connect, Cancel(), lock_timeout=1) as conn:
        told = parameters_of(conn)
    assert told["password"] == "a secret"
    assert told["application_name"] == "mine"
    assert told["dbname"] == odd.name
    assert all(told.values())
    with session(odd.connect, Cancel(), lock_timeout=1) as conn:
        told = parameters_of(conn)
    assert told["password"] == "", "what is not said would be looked for in the environment"
    assert all(value for key, value in told.items() if key != "password")


def test_another_server_than_the_leaders_is_left_for_the_leaders(odd: Database) -> None:
    class Elsewhere:
        """A connection to another server."""

        def __init__(self, **differs: Any) -> None:
            self.closed = False
            here = {"host": leader.info.host, "hostaddr": leader.info.hostaddr, "port": leader.info.port}
            self.info = type("Info", (), {**here, **differs})

        def close(self) -> None:
            self.closed = True

    with session(odd.connect, Cancel(), lock_timeout=1) as leader:
        same = Elsewhere()
        assert pinned(lambda: same, leader)() is same  # type: ignore[arg-type,return-value]
        assert not same.closed
        for differs in ({"host": "h"}, {"hostaddr": "192.0.2.1"}, {"port": 1}):
            other = Elsewhere(**differs)
            with pinned(lambda other=other: other, leader)() as conn:  # type: ignore[misc]
                assert conn.info.dbname == odd.name
                assert conn.info.port == leader.info.port
            assert other.closed
