"""What the server refuses or cannot do ends in an error of the contract, and nothing half-done is left."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from pgvector_backup.engine.base.errors import BackupError, DatabaseFault, NotFound
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.postgres.session import CONNECT_SECONDS
from tests.helpers.database import Database
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets

UNREACHABLE = "^数据库连接失败,请检查连接配置"


def failed(house: House) -> BackupError:
    """Back up, expect that nothing at all could be read, and that nothing is left."""
    with pytest.raises(BackupError) as caught:
        house.backup()
    assert house.files() == []
    return caught.value


def table_failed(house: House, table: str, result: BackupResult | None = None) -> BackupError:
    """Back up; the failure of one table, all others being whole."""
    result = result or house.backup()
    outcome = result.tables[table]
    assert outcome.failure is not None
    assert outcome.to_json()["success"] is False
    assert [label for label, other in result.tables.items() if other.failure] == [table]
    assert leftovers(house.directory) == []
    return outcome.failure


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A role without any right."""
    name = f"role_of_{database.name}"
    database.run(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    yield name
    database.run(f"DROP OWNED BY {name}")
    database.run(f"DROP ROLE {name}")


@contextmanager
def asking_for_a_password(database: Database, role: str) -> Iterator[None]:
    """Let the server ask this role for its password."""
    file = database.server.pgdata / "pg_hba.conf"
    before = file.read_text()
    with file.open("r+") as hba:  # written in place: the file belongs to the server's user
        hba.write(f"local {database.name} {role} scram-sha-256\n{before}")
    try:
        reload(database)
        yield
    finally:
        with file.open("w") as hba:
            hba.write(before)
        reload(database)


def reload(database: Database) -> None:
    loaded = "SELECT pg_conf_load_time()"
    before = database.run(loaded)
    database.run("SELECT pg_reload_conf()")
    for _ in range(500):
        if database.run(loaded) != before:
            return
        time.sleep(0.01)
    raise AssertionError("the server did not reload")


# --- reaching the server ---


@pytest.mark.slow
def test_a_server_that_never_answers_is_known_within_fifteen_seconds(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        house.connect = partial(
            psycopg.connect, host="127.0.0.1", port=port, user="u", dbname="d", connect_timeout=CONNECT_SECONDS
        )
        started = time.monotonic()
        fault = failed(house)
        assert time.monotonic() - started < 15
    assert isinstance(fault, DatabaseFault)
    assert re.match(UNREACHABLE, fault.message)
    assert fault.can_retry


def test_a_port_where_nobody_listens_is_known_at_once(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    house.connect = partial(psycopg.connect, host="127.0.0.1", port=port, user="u", dbname="d")
    fault = failed(house)
    assert re.match(UNREACHABLE, fault.message)
    assert f"port {port}" in fault.message
    assert fault.report()["error_type"] == "DATABASE_ERROR"


def test_a_wrong_password_is_refused_and_not_repeated(house: House, role: str) -> None:
    house.langchain()
    uri = house.database.uri(role).replace(f"{role}@", f"{role}:wr0ng%40%3A%2Fsecret@")
    with asking_for_a_password(house.database, role):
        house.connect = partial(psycopg.connect, uri)
        fault = failed(house)
    assert re.match(UNREACHABLE, fault.message)
    assert "password authentication failed" in fault.message
    for secret in ("wr0ng", "secret", "%40"):
        assert secret not in fault.message
        assert secret not in repr(fault.__cause__)
    assert fault.__suppress_context__


def test_a_missing_database_is_named(house: House) -> None:
    house.connect = partial(psycopg.connect, house.database.server.uri("nowhere"))
    fault = failed(house)
    assert re.match(UNREACHABLE, fault.message)
    assert '"nowhere" does not exist' in fault.message


def test_a_missing_role_is_named(house: House) -> None:
    house.connect = partial(psycopg.connect, house.database.uri("nobody_of_that_name"))
    assert '"nobody_of_that_name" does not exist' in failed(house).message


SECRETS = {
    "a slash": ("postgresql://u:hush/w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "an at sign": ("postgresql://u:hush@w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a question mark": ("postgresql://u:hush?w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a percent sign": ("postgresql://u:hush%zzw0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a bracket": ("postgresql://u:hush[w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a slash behind an at sign": ("postgresql://u:hush@x/w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a colon": ("postgresql://u:hush:w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a space": ("host=127.0.0.1 port=1 user=u password=hush w0rd dbname=d", ("hush", "w0rd")),
    "a quote": ("host=127.0.0.1 port=1 user=u password='hush'w0rd dbname=d", ("hush", "w0rd")),
    "a bracket behind an at sign": ("postgresql://u:hush@[w0rd@127.0.0.1:1/d", ("hush", "w0rd")),
    "a port in its place": ("postgresql://u@127.0.0.1:1w0rd/d", ("w0rd",)),
    "an option in its place": ("postgresql://u@127.0.0.1:1/d?sslmode=w0rd", ("w0rd",)),
    "an option that is unknown": ("postgresql://u@127.0.0.1:1/d?passwort=w0rd", ("w0rd",)),
    "percent-encoding": ("postgresql://u:hush%40%3A%2Fw0rd@127.0.0.1:1/d", ("hush", "w0rd", "hush@:/w0rd")),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_password_that_the_connection_string_spells_wrongly_is_not_shown(house: House, kind: str) -> None:
    uri, secrets = SECRETS[kind]
    house.connect = partial(psycopg.connect, uri, connect_timeout=2)
    fault = failed(house)
    assert isinstance(fault, DatabaseFault)
    assert re.match(UNREACHABLE, fault.message)
    for secret in secrets:
        assert secret not in fault.message
    assert fault.__cause__ is None
    assert fault.__suppress_context__


def test_a_password_is_in_no_file_and_no_log(house: House, role: str, caplog: pytest.LogCaptureFixture) -> None:
    house.langchain()
    house.database.run(f"ALTER ROLE {role} PASSWORD 'p@:/w0rd'")
    house.database.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    uri = house.database.uri(role).replace(f"{role}@", f"{role}:p%40%3A%2Fw0rd@")
    house.connect = partial(psycopg.connect, uri)
    house.configure(tables="langchain_pg_collection,langchain_pg_embedding,missing")
    with asking_for_a_password(house.database, role), caplog.at_level("DEBUG"):
        result = house.backup()
    texts = [caplog.text, json.dumps(result.to_json())]
    texts += [path.read_text(errors="replace") for path in house.directory.iterdir()]
    for text in texts:
        for secret in ("w0rd", "p@:", "p%40", house.database.server.socket_directory):
            assert secret not in text


# --- the tables ---


def test_a_missing_table_is_named_and_does_not_stop_the_others(house: House) -> None:
    house.langchain()
    house.configure(tables="langchain_pg_collection,no_such_table,langchain_pg_embedding")
    result = house.backup()
    fault = table_failed(house, "no_such_table", result)
    assert isinstance(fault, NotFound)
    assert fault.message.startswith("table no_such_table does not exist")
    manifest = json.loads((house.directory / str(result.manifest_file)).read_text())
    assert manifest["failed_tables"] == {"no_such_table": fault.message}
    assert whole_sets(house.directory) == [result.backup_id]


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("Langchain_PG_Embedding", "public.langchain_pg_embedding"),
        ("public.items", "rag.items"),
        ("ITEMS", "rag.items"),
    ],
)
def test_a_near_miss_is_guessed(house: House, asked: str, near: str) -> None:
    house.langchain()
    house.database.run("CREATE SCHEMA rag; CREATE TABLE rag.items (x int)")
    house.configure(tables=f"langchain_pg_collection,{asked}")
    assert f"did you mean {near}" in table_failed(house, asked).message


def test_a_missing_schema_is_named(house: House) -> None:
    house.langchain()
    house.configure(tables="langchain_pg_collection,nowhere.t")
    fault = table_failed(house, "nowhere.t")
    assert isinstance(fault, NotFound)
    assert "nowhere" in fault.message


def test_a_run_whose_every_table_fails_leaves_nothing(house: House) -> None:
    result = house.backup()
    assert (result.backup_id, result.manifest_file) == (None, None)
    assert isinstance(result.failure, NotFound)
    assert house.files() == []


@pytest.mark.parametrize("kind", ["SEQUENCE s", "INDEX s ON langchain_pg_embedding (document)", "TYPE s AS (x int)"])
def test_what_is_no_table_is_refused(house: House, kind: str) -> None:
    house.langchain()
    house.database.run(f"CREATE {kind}")
    house.configure(tables="langchain_pg_collection,s")
    assert not table_failed(house, "s").can_retry


def test_no_right_to_select_is_not_retried(house: House, role: str) -> None:
    house.langchain()
    house.database.run(f"GRANT SELECT ON langchain_pg_collection TO {role}")
    house.connect = partial(house.database.connect, role)
    fault = table_failed(house, "langchain_pg_embedding")
    assert isinstance(fault, DatabaseFault)
    assert "permission denied" in fault.message
    assert "langchain_pg_embedding" in fault.message
    assert not fault.can_retry


def test_no_right_to_one_column_fails_rather_than_leave_it_out(house: House, role: str) -> None:
    house.langchain()
    house.database.run(f"GRANT SELECT ON langchain_pg_collection TO {role}")
    house.database.run(f"GRANT SELECT (id, document) ON langchain_pg_embedding TO {role}")
    house.connect = partial(house.database.connect, role)
    assert "permission denied" in table_failed(house, "langchain_pg_embedding").message


def test_no_right_to_the_schema_is_not_retried(house: House, role: str) -> None:
    house.langchain()
    house.database.run("CREATE SCHEMA hidden; CREATE TABLE hidden.t (x int)")
    house.database.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    house.configure(tables="langchain_pg_collection,hidden.t")
    house.connect = partial(house.database.connect, role)
    fault = table_failed(house, "hidden.t")
    assert "permission denied" in fault.message
    assert not fault.can_retry


def test_row_level_security_fails_the_backup_rather_than_thin_it(house: House, role: str) -> None:
    house.langchain()
    house.database.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    house.database.run("ALTER TABLE langchain_pg_embedding ENABLE ROW LEVEL SECURITY")
    house.database.run("CREATE POLICY few ON langchain_pg_embedding USING (id = 'id-1')")
    house.connect = partial(house.database.connect, role)
    fault = table_failed(house, "langchain_pg_embedding")
    assert "row-level security" in fault.message
    assert not fault.can_retry


def test_a_policy_of_a_partition_does_not_count_when_the_parent_is_read(house: House, role: str) -> None:
    """As PostgreSQL has it: whoever may read the parent reads all its rows."""
    house.database.run("CREATE TABLE t (x int) PARTITION BY LIST (x)")
    house.database.run("CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 PARTITION OF t DEFAULT")
    house.database.run("INSERT INTO t VALUES (1), (2), (3)")
    house.database.run("ALTER TABLE t_1 ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON t_1 USING (false)")
    house.database.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    house.configure(tables="t")
    house.connect = partial(house.database.connect, role)
    result = house.backup()
    assert result.failure is None
    assert result.tables["t"].rows == 3


def test_a_locked_table_fails_after_the_lock_timeout(house: House) -> None:
    house.langchain()
    house.configure(lock_timeout=0.3)
    with house.database.connect() as other:
        other.execute("LOCK TABLE langchain_pg_embedding")
        started = time.monotonic()
        fault = table_failed(house, "langchain_pg_embedding")
        assert 0.3 <= time.monotonic() - started < 5
    assert "another session holds a lock" in fault.message
    assert fault.can_retry
    assert house.backup().failure is None


def test_a_row_that_cannot_be_written_out_fails_its_table_alone(house: House) -> None:
    house.langchain()
    house.database.run("CREATE FUNCTION boom(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE ''boom %'', $1; END'")
    house.database.run("CREATE VIEW v AS SELECT boom(n) FROM generate_series(1, 3) AS n")
    house.configure(tables="langchain_pg_collection,v,langchain_pg_embedding", back_up_views=True)
    assert "boom" in table_failed(house, "v").message


def test_a_failed_tables_rows_are_not_quoted(house: House) -> None:
    """DETAIL and CONTEXT may hold the user's data."""
    house.langchain()
    house.database.run("CREATE TABLE src (d text); INSERT INTO src VALUES ('a private word')")
    house.database.run("CREATE VIEW v AS SELECT d::int FROM src")
    house.configure(tables="langchain_pg_collection,v", back_up_views=True)
    table_failed(house, "v")


def test_a_database_in_another_encoding_is_written_in_utf8(house: House) -> None:
    name = f"{house.database.name}_latin"
    house.database.run(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    try:
        latin = Database(house.database.server, name)
        latin.run("CREATE TABLE t (d text); INSERT INTO t VALUES ('Gr' || chr(252) || chr(223) || 'e')")
        house.configure(tables="t")
        house.connect = latin.connect
        result = house.backup()
        assert (house.directory / result.tables["t"].file).read_text("utf-8") == "d\nGrüße\n"
    finally:
        house.database.run(f"DROP DATABASE {name} WITH (FORCE)")
