"""What a server does not tell, what a role may not do or may too much, and who stands in the way: each is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, DatabaseFault
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
    with OpenedPostgres(directory, settings={"port": 6001}) as primary:
        with psycopg.connect(primary.dsn, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION vector")
            conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(3))")
            conn.execute("INSERT INTO t VALUES (1, '[1,2,3]'), (2, NULL)")
            _copy_of(conn, directory, copy)
        (copy / "data" / "standby.signal").touch()
        with OpenedPostgres(copy, settings={"port": 6002}) as standby:
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
