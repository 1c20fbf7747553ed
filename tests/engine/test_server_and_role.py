"""What a server does not tell, what a role may not do or may too much, and who stands in the way: each is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, DatabaseFault
from pgvector_backup.engine.postgres.errors import database_fault
from pgvector_backup.engine.postgres.session import pinned, session
from tests.helpers.house import House

IDENTITY = {
    "pg_control_system()": "system identifier",
    "pg_current_wal_lsn()": "timeline",
    "pg_walfile_name(pg_lsn)": "timeline",
    "pg_current_snapshot()": "which transactions had ended",
}


@pytest.fixture
def keeper(house: House) -> Iterator[House]:
    """A house whose role may read its one table and empty it."""
    house.database.run("CREATE ROLE teller LOGIN; CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    house.database.run("GRANT SELECT, TRUNCATE ON t TO teller")
    house.configure(tables="t", truncate_tables="t")
    house.connect = partial(house.database.connect, "teller")
    yield house
    house.database.run("DROP OWNED BY teller; DROP ROLE teller")


@pytest.mark.parametrize("how", ["revoked", "raises"])
@pytest.mark.parametrize("function", IDENTITY)
def test_a_server_that_does_not_tell_which_it_is_is_backed_up(keeper: House, function: str, how: str) -> None:
    if how == "revoked":
        keeper.database.run(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    else:
        raising(keeper, function)
    result = keeper.backup()
    assert result.failure is None
    (note,) = result.to_json()["notes"]
    assert IDENTITY[function] in note
    assert "no truncate can go by this set" in note
    with pytest.raises(Conflict, match=IDENTITY[function]):
        keeper.truncate(result)
    assert keeper.count("t") == 1
    keeper.database.run("CREATE SCHEMA copy; GRANT ALL ON SCHEMA copy TO teller")
    assert keeper.restore(schema="copy").tables["t"].rows == 1


@pytest.mark.parametrize("how", ["revoked", "raises"])
def test_a_server_that_exports_no_snapshot_is_read_over_one_connection(keeper: House, how: str) -> None:
    database = keeper.database
    keeper.langchain(30)
    database.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO teller; GRANT TRUNCATE ON t TO teller")
    keeper.configure(tables="langchain_pg_collection,langchain_pg_embedding,t,absent", truncate_tables="t", jobs=3)
    if how == "revoked":
        database.run("REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM PUBLIC")
    else:
        raising(keeper, "pg_export_snapshot()")
    opened = []

    def connect() -> psycopg.Connection[Any]:
        opened.append(1)
        return database.connect("teller")

    keeper.connect = connect
    for mode in ("full", "incremental", "incremental"):
        opened.clear()
        result = keeper.backup(mode=mode)
        assert {label for label, table in result.tables.items() if table.failure} == {"absent"}
        assert result.tables["langchain_pg_embedding"].rows == 30
        (note,) = result.to_json()["notes"]
        assert "pg_export_snapshot() granted" in note
        assert len(opened) == 1
    keeper.configure(tables="langchain_pg_collection,langchain_pg_embedding,t", truncate_tables="t")
    assert keeper.verify(depth="rows").errors == []
    assert keeper.truncate(keeper.backup()).rows_before == {"t": 1}


def test_what_a_backup_asks_besides_may_all_be_forbidden(keeper: House) -> None:
    """Sizes, comments of pages, how far the log is: nothing of it is worth a night without a backup."""
    database = keeper.database
    for function in (
        "pg_relation_size(regclass, text)",
        "pg_relation_size(regclass)",
        "pg_is_in_recovery()",
        "pg_current_wal_insert_lsn()",
        "pg_current_wal_flush_lsn()",
        "current_database()",
        "row_security_active(oid)",
        "has_table_privilege(oid, text)",
    ):
        database.run(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    for view in ("pg_stat_activity", "pg_settings", "pg_roles", "pg_locks", "pg_prepared_xacts"):
        database.run(f"REVOKE SELECT ON {view} FROM PUBLIC")
    for file_format in ("csv", "binary"):
        result = keeper.backup(file_format=file_format, mode="incremental")
        assert result.failure is None
        assert "notes" not in result.to_json()
        assert result.tables["t"].rows == 1


def test_transactions_that_a_server_does_not_place_cost_the_truncate_alone(keeper: House) -> None:
    raising(keeper, "pg_visible_in_snapshot(xid8, pg_snapshot)")
    with keeper.database.connect() as other:
        other.execute("INSERT INTO t VALUES (2)")
        keeper.database.run("INSERT INTO t VALUES (3)")
        result = keeper.backup()
        assert result.failure is None
        assert result.tables["t"].rows == 2
        other.rollback()
    with pytest.raises(Conflict, match="pg_visible_in_snapshot"):
        keeper.truncate(result)


def test_what_is_to_be_granted_is_named_by_its_kind(keeper: House) -> None:
    database = keeper.database
    database.run("CREATE SCHEMA shut; CREATE TABLE shut.u (id int)")
    for table, change, words in (
        ("t", "REVOKE EXECUTE ON FUNCTION pg_get_expr(pg_node_tree, oid) FROM PUBLIC", "have EXECUTE on it granted"),
        ("t", "REVOKE EXECUTE ON FUNCTION array_agg(anynonarray) FROM PUBLIC", "have EXECUTE on it granted"),
        ("shut.u", "SELECT", "have USAGE on it granted"),
        ("u", "SELECT", "it is in schema shut, on which the connection's role has no USAGE"),
        ("t", "REVOKE ALL ON t FROM teller", "SELECT for a backup"),
    ):
        database.run(change)
        keeper.configure(tables=table)
        failure = keeper.backup().failure
        assert failure is not None
        assert words in failure.message
        assert not failure.can_retry
        database.run("GRANT EXECUTE ON FUNCTION array_agg(anynonarray), pg_get_expr(pg_node_tree, oid) TO PUBLIC")


class Pooled(psycopg.Connection[Any]):
    """A connection through a pooler in transaction mode: each transaction gets another session."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(query, str) and query.startswith("BEGIN"):
            super().execute("RESET ALL")
        return super().execute(query, *args, **kwargs)


def test_a_pooler_that_gives_each_transaction_another_session_is_refused(house: House) -> None:
    house.langchain(5)
    house.backup()
    house.connect = lambda: Pooled.connect(house.database.uri())
    for story in (house.backup, partial(house.restore, on_conflict="skip")):
        with pytest.raises(DatabaseFault, match="session mode") as caught:
            story()
        assert not caught.value.can_retry


def test_a_role_that_quotes_all_names_has_no_pooler(house: House) -> None:
    house.langchain(5)
    house.connect = lambda: psycopg.connect(house.database.uri(), options="-c quote_all_identifiers=on")
    house.configure(truncate_tables="langchain_pg_embedding")
    house.truncate(house.backup())
    house.restore(on_conflict="skip")


def test_a_poolers_session_is_left_as_it_was(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.langchain(5)
    house.connect = lambda: Pooled.connect(house.database.uri())
    kept = []

    def close(conn: Pooled) -> None:
        kept.append(conn.execute("SELECT current_setting('search_path'), current_setting('row_security')").fetchone())
        psycopg.Connection.close(conn)

    monkeypatch.setattr(Pooled, "close", close, raising=False)
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 0)
    with pytest.raises(DatabaseFault):
        house.backup()
    assert kept == [('"$user", public', "on")]


def raising(house: House, function: str) -> None:
    """Put in the function's place one of its name that raises, as a managed service does."""
    name, _, arguments = function.rstrip(")").partition("(")
    (result,) = house.database.run(
        "SELECT format('%%s%%s', CASE WHEN proretset THEN 'SETOF ' END, CASE WHEN prorettype = 'record'::regtype"
        " THEN 'TABLE (pg_control_version int, catalog_version_no int, system_identifier bigint,"
        " pg_control_last_modified timestamptz)' ELSE prorettype::regtype::text END)"
        " FROM pg_proc WHERE oid = %s::regprocedure",
        [function],
    )
    with psycopg.connect(house.database.uri(), autocommit=True) as conn:
        conn.execute("SET allow_system_table_mods = on")
        conn.execute(f"ALTER FUNCTION pg_catalog.{function} RENAME TO {name}_of_the_server".encode())
        conn.execute(
            f"CREATE FUNCTION pg_catalog.{name}({arguments}) RETURNS {result[0]} LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE feature_not_supported USING MESSAGE = 'not supported here'; END $$".encode()
        )


def test_a_superuser_is_told_what_to_give_a_backup_instead(house: House) -> None:
    house.langchain(5)
    result = house.backup()
    advice = result.to_json()["advice"]
    assert "GRANT SELECT ON" in advice
    assert '"public"."langchain_pg_embedding"' in advice

    lines = advice.partition("nothing else: ")[2].replace("'…'", "'secret'").replace("pgvector_backup", "lesser")
    house.database.run(lines)
    try:
        house.connect = partial(house.database.connect, "lesser")
        told = house.backup().to_json()
        assert told["backup_performed"]
        assert "advice" not in told
    finally:
        house.database.run("DROP OWNED BY lesser; DROP ROLE lesser")


def test_a_policy_is_answered_by_bypassrls(keeper: House) -> None:
    keeper.database.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    failure = keeper.backup().failure
    assert failure is not None
    assert "BYPASSRLS" in failure.message
    assert "NO FORCE ROW LEVEL SECURITY" in failure.message
    assert failure.can_retry is False


def test_a_lock_is_named_with_its_holder(house: House) -> None:
    house.langchain(5)
    house.configure(lock_timeout=0.2)
    result = house.backup()
    with psycopg.connect(house.database.uri(), application_name="migration") as other:
        other.execute("LOCK TABLE langchain_pg_embedding")
        other.execute("SELECT 'a long migration'")
        pid = other.info.backend_pid
        failure = house.backup().failure
        assert failure is not None
        told = [failure.message]
        for story in (partial(house.truncate, result), partial(house.restore, on_conflict="skip")):
            with pytest.raises(DatabaseFault) as caught:
                story()
            told.append(caught.value.message)
            assert caught.value.can_retry
        for message in told:
            assert f"session {pid} of postgres (migration), in its transaction since 20" in message
            assert "idle in transaction: SELECT 'a long migration'" in message
            assert "langchain_pg_embedding" in message


def test_who_waits_in_front_is_named_too(house: House) -> None:
    """A change of the table that waits for a long report: the report harms nobody, and all the world waits."""
    house.langchain(5)
    house.configure(lock_timeout=0.2)
    with (
        psycopg.connect(house.database.uri(), application_name="report") as report,
        psycopg.connect(house.database.uri(), application_name="migration") as migration,
        ThreadPoolExecutor(1) as pool,
    ):
        report.execute("SELECT count(*) AS long_report FROM langchain_pg_embedding")
        waiting = pool.submit(migration.execute, "ALTER TABLE langchain_pg_embedding ADD extra int")
        while not house.database.run("SELECT pid FROM pg_locks WHERE NOT granted"):
            assert not waiting.done()
        failure = house.backup().failure
        report.rollback()
        waiting.result()
        migration.rollback()
    assert failure is not None
    assert "(migration), in its transaction since 20" in failure.message
    assert "ALTER TABLE langchain_pg_embedding ADD extra int; it waits itself, behind session" in failure.message
    assert "(report): SELECT count(*) AS long_report" in failure.message
    assert failure.can_retry


def test_a_holder_whose_query_is_hidden_says_so(keeper: House) -> None:
    keeper.configure(lock_timeout=0.2)
    with psycopg.connect(keeper.database.uri(), application_name="theirs") as other:
        other.execute("LOCK TABLE t")
        failure = keeper.backup().failure
        assert failure is not None
        assert f"session {other.info.backend_pid} of postgres" in failure.message
        assert "pg_read_all_stats" in failure.message


def test_a_prepared_transaction_that_holds_a_lock_is_named(
    house: House, pair: tuple[OpenedPostgres, OpenedPostgres]
) -> None:
    primary, _ = pair
    house.configure(tables="t", lock_timeout=0.2)
    house.connect = partial(psycopg.connect, primary.dsn)
    with psycopg.connect(primary.dsn, autocommit=True) as conn:
        conn.execute("BEGIN; LOCK TABLE t; PREPARE TRANSACTION 'it''s left'")
        failure = house.backup().failure
        conn.execute("ROLLBACK PREPARED 'it''s left'")
    assert failure is not None
    assert "transaction 'it''s left' of postgres, prepared at 20" in failure.message
    assert "ROLLBACK PREPARED 'it''s left'" in failure.message


def test_a_session_that_somebody_ends_or_cancels_says_so(house: House) -> None:
    for function, words in (
        ("pg_cancel_backend", "another session cancelled it"),
        ("pg_terminate_backend", "somebody"),
    ):
        house.database.run("DROP VIEW IF EXISTS t; DROP FUNCTION IF EXISTS hit")
        house.database.run(
            "CREATE FUNCTION hit() RETURNS int LANGUAGE plpgsql AS"
            f" $$BEGIN PERFORM {function}(pg_backend_pid()); PERFORM pg_sleep(5); RETURN 1; END$$;"
            " CREATE VIEW t AS SELECT hit() AS id"
        )
        house.configure(tables="t", back_up_views=True, jobs=1)
        try:
            failure: Any = house.backup().failure
        except DatabaseFault as fault:
            failure = fault
        assert words in failure.message
        assert "\\n" not in failure.message
        assert failure.can_retry


@pytest.mark.parametrize(
    ("state", "words", "retry"),
    [
        ("53100", "the server's disk is full", True),
        ("53200", "no memory to spare", True),
        ("53400", "temp_file_limit", False),
        ("57P02", "recovering", True),
        ("57P04", "dropped", False),
        ("40001", "hot_standby_feedback", True),
        ("40P01", "try again", True),
        ("58P01", "library of an extension", False),
        ("XX001", "damaged on the server", False),
        ("XX002", "REINDEX", False),
    ],
)
def test_what_a_server_fails_by_says_what_helps(state: str, words: str, retry: bool) -> None:
    fault = database_fault(psycopg.errors.lookup(state)("it failed"), table="t")
    assert words in fault.message
    assert fault.can_retry is retry


def test_a_login_that_the_server_refuses_says_why_and_whether_a_retry_helps(keeper: House) -> None:
    database = keeper.database

    def told(connect: Callable[[], psycopg.Connection[Any]]) -> DatabaseFault:
        keeper.connect = connect
        with pytest.raises(DatabaseFault) as caught:
            keeper.backup()
        return caught.value

    as_teller = partial(database.connect, "teller")
    with psycopg.connect(database.server.dsn, autocommit=True) as conn:
        for before, words, retry, after in (
            ("ALTER ROLE teller NOLOGIN", "give the role LOGIN", False, "ALTER ROLE teller LOGIN"),
            ("ALTER ROLE teller CONNECTION LIMIT 0", "lower jobs", True, "ALTER ROLE teller CONNECTION LIMIT -1"),
            (
                f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false",
                "ALLOW_CONNECTIONS true",
                False,
                f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true",
            ),
            (
                f"ALTER DATABASE {database.name} CONNECTION LIMIT 0",
                "lower jobs",
                True,
                f"ALTER DATABASE {database.name} CONNECTION LIMIT -1",
            ),
            (
                f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC",
                "have CONNECT on it granted",
                False,
                f"GRANT CONNECT ON DATABASE {database.name} TO PUBLIC",
            ),
        ):
            conn.execute(before.encode())
            fault = told(as_teller)
            conn.execute(after.encode())
            assert words in fault.message
            assert fault.can_retry is retry
    uri = database.uri("teller")
    for parameters, words, retry in (
        ({"options": "-c nonsense=1"}, "correct the connection's options", False),
        ({"options": "-c session_replication_role=replica"}, "leave it out of the connection's options", False),
        ({"target_session_attrs": "standby"}, "asks for a standby", True),
        ({"service": "nowhere"}, "pg_service.conf", False),
        ({"host": "127.0.0.1", "port": 1}, "nothing listens there", True),
    ):
        fault = told(partial(psycopg.connect, uri, **parameters))
        assert words in fault.message
        assert fault.can_retry is retry


def test_no_connection_to_spare_says_so(house: House) -> None:
    house.langchain(5)
    house.database.run("CREATE ROLE single LOGIN CONNECTION LIMIT 0")
    try:
        house.connect = partial(house.database.connect, "single")
        with pytest.raises(DatabaseFault, match="lower jobs, or raise it") as caught:
            house.backup()
        assert caught.value.can_retry
    finally:
        house.database.run("DROP ROLE single")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenedPostgres, OpenedPostgres]]:
    """A primary with a table, and a standby that has replayed it."""
    directory = tmp_path_factory.mktemp("primary")
    copy = tmp_path_factory.mktemp("standby")
    with OpenedPostgres(directory, settings={"port": 6001, "max_prepared_transactions": 2}) as primary:
        with psycopg.connect(primary.dsn, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION vector")
            conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(3))")
            conn.execute("INSERT INTO t VALUES (1, '[1,2,3]'), (2, NULL)")
            _copy_of(conn, directory, copy)
        (copy / "data" / "standby.signal").touch()
        with OpenedPostgres(copy, settings={"port": 6002, "max_prepared_transactions": 2}) as standby:
            yield primary, standby


def _copy_of(conn: psycopg.Connection[Any], directory: Path, copy: Path) -> None:
    """A base backup by hand, as the manual has it."""
    import os
    import pwd
    import shutil

    conn.execute("SELECT pg_backup_start('copy', true)")
    shutil.copytree(
        directory / "data", copy / "data", ignore=shutil.ignore_patterns("postmaster.*", "pg_replslot", "pgsql_tmp*")
    )
    row = conn.execute("SELECT labelfile, spcmapfile FROM pg_backup_stop(false)").fetchone()
    assert row is not None
    (copy / "data" / "backup_label").write_text(row[0])
    (copy / "data" / "pg_replslot").mkdir(exist_ok=True)
    for file in (directory / "data" / "pg_wal").glob("0*"):
        shutil.copy2(file, copy / "data" / "pg_wal")
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (copy / "data", *(copy / "data").rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    (copy / "data").chmod(0o700)


def test_a_set_of_a_standby_proves_nothing_and_says_so(
    house: House, pair: tuple[OpenedPostgres, OpenedPostgres]
) -> None:
    primary, standby = pair
    house.configure(tables="t", truncate_tables="t")
    house.connect = partial(psycopg.connect, standby.dsn)
    result = house.backup()
    assert result.failure is None
    assert result.tables["t"].rows == 2
    (note,) = result.to_json()["notes"]
    assert "the server is a standby" in note
    manifest = json.loads((house.directory / str(result.manifest_file)).read_text())
    assert manifest["source"]["standby"] is True
    house.connect = partial(psycopg.connect, primary.dsn)
    with pytest.raises(Conflict, match="standby"):
        house.truncate(result)
    house.connect = partial(psycopg.connect, standby.dsn)
    with pytest.raises(DatabaseFault, match="connect to the primary") as caught:
        house.restore(truncate_before_restore=True)
    assert caught.value.can_retry is False


@pytest.mark.apart
def test_all_connections_go_to_the_server_that_the_first_one_reached(
    house: House, pair: tuple[OpenedPostgres, OpenedPostgres]
) -> None:
    primary, standby = pair
    servers = iter([primary.dsn, standby.dsn] * 20)
    house.configure(tables="t", jobs=2)
    house.connect = lambda: psycopg.connect(next(servers))
    assert house.backup().failure is None
    with session(house.connect, Cancel(), lock_timeout=1) as leader:
        for _ in range(4):
            with session(pinned(house.connect, leader), Cancel(), lock_timeout=1) as conn:
                assert (conn.info.host, conn.info.port) == (leader.info.host, leader.info.port)


@pytest.mark.apart
def test_several_hosts_in_one_string(house: House, pair: tuple[OpenedPostgres, OpenedPostgres]) -> None:
    primary, standby = pair
    dsn = (
        f"host={primary.socket_directory},{standby.socket_directory} port={primary.port},{standby.port}"
        " user=postgres dbname=postgres load_balance_hosts=random"
    )
    house.configure(tables="t", jobs=2)
    house.connect = partial(psycopg.connect, dsn)
    for _ in range(4):
        assert house.backup().failure is None


def test_the_roles_of_the_page_are_enough(house: House) -> None:
    page = (Path(__file__).parents[2] / "docs" / "rights.md").read_text(encoding="utf-8")
    house.langchain(20)
    house.database.run("\n".join(block.partition("```")[0] for block in page.split("```sql\n")[1:]))
    house.database.run("GRANT TRUNCATE ON langchain_pg_embedding TO pgvector_backup")
    try:
        house.connect = partial(house.database.connect, "pgvector_backup")
        result = house.backup()
        assert result.failure is None
        assert "notes" not in result.to_json()
        assert "advice" not in result.to_json()
        assert house.truncate(result).rows_before == {"langchain_pg_embedding": 20}
        house.connect = partial(house.database.connect, "pgvector_restore")
        assert house.restore(tables=["langchain_pg_embedding"]).tables["langchain_pg_embedding"].rows == 20
        for request in ({"on_conflict": "skip"}, {"on_conflict": "update"}, {"truncate_before_restore": True}):
            assert house.restore(**request).tables["langchain_pg_embedding"].rows_after == 20
        house.connect = partial(house.database.connect, "pgvector_backup")
        with pytest.raises(DatabaseFault, match="permission denied"):
            house.restore(on_conflict="skip")
    finally:
        house.database.run(
            "DROP OWNED BY pgvector_backup, pgvector_restore; DROP ROLE pgvector_backup, pgvector_restore"
        )
