"""Servers whose history is not what it was: ids that wrap, a directory set back, a standby, a failover."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.dump import increment as dump
from tests.engine.test_transaction_ids import LEAPS, WRAP, burn, leap, next_id
from tests.helpers.chains import increment
from tests.helpers.crash import crash
from tests.helpers.database import Database, contents
from tests.helpers.house import House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[[Path], OpenedPostgres]:
    """Starts a server in a directory; it is stopped in the end."""
    version = int(os.environ.get("MATRIX_POSTGRES", "18"))

    def started(directory: Path) -> OpenedPostgres:
        server = OpenedPostgres(directory, version=version)
        server.start()
        request.addfinalizer(server.stop)
        return server

    return started


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("postgres")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def house_of(server: OpenedPostgres, root: Path) -> House:
    house = House(Database(server, "postgres"), root)
    house.configure(tables="t")
    return house


def filled(server: OpenedPostgres, root: Path) -> House:
    house = house_of(server, root)
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, note text)")
    house.database.run("INSERT INTO t SELECT g, 'first' FROM generate_series(1, 400) g")
    return house


def require_restored(house: House, backup_id: str | None) -> None:
    """Into another schema of the same database."""
    house.database.run("CREATE SCHEMA IF NOT EXISTS elsewhere")
    house.database.run("DROP TABLE IF EXISTS elsewhere.t")
    house.restore(timestamp=str(backup_id), schema="elsewhere")
    assert contents(house.database, "elsewhere.t")["elsewhere.t"] == contents(house.database, "t")["t"]


def copied(source: Path, target: Path) -> None:
    """A stopped server's directory, owners and all."""
    shutil.copytree(source, target, symlinks=True)
    for path in [source, *source.rglob("*")]:
        stat = path.lstat()
        os.chown(target / path.relative_to(source), stat.st_uid, stat.st_gid, follow_symlinks=False)


def test_a_directory_set_back_that_has_passed_the_ids_of_the_base(
    start: Callable[[Path], OpenedPostgres], place: Path, backup_root: Path
) -> None:
    server = start(place / "own")
    house = filled(server, backup_root)
    increment(house)
    server.stop()
    copied(place / "own", place / "kept")
    server.start()
    house = house_of(server, backup_root)
    house.database.run("UPDATE t SET note = 'of the first history' WHERE id % 3 = 0")
    assert increment(house).mode == "incremental"
    reached = next_id(house)
    server.stop()
    shutil.rmtree(place / "own")
    copied(place / "kept", place / "own")
    server.start()
    house = house_of(server, backup_root)
    for number in range(20):
        house.database.run(f"UPDATE t SET note = 'of the second history' WHERE id = {number * 6 + 1}")
        house.database.run("SELECT pg_switch_wal()")
    burn(house, reached + 100)
    result = increment(house)
    assert result.full_because is not None
    assert "seen" in result.full_because or "not the same" in result.full_because
    require_restored(house, result.backup_id)


def test_a_server_that_crashes_between_two_increments(
    start: Callable[[Path], OpenedPostgres], place: Path, backup_root: Path
) -> None:
    server = start(place / "own")
    house = filled(server, backup_root)
    increment(house)
    with house.database.connect() as conn:
        conn.execute("SET synchronous_commit = on")
        conn.execute("UPDATE t SET note = 'written' WHERE id % 40 = 0")
    lost = house.database.connect()
    lost.execute("UPDATE t SET note = 'lost' WHERE id % 40 = 1")
    crash(server)
    lost.close()
    house.database.run("UPDATE t SET note = 'after' WHERE id % 40 = 2")
    result = increment(house)
    assert result.mode == "incremental", result.full_because
    assert result.tables["t"].rows_written == 20
    require_restored(house, result.backup_id)


def test_no_set_has_seen_what_a_crash_can_lose(place: Path, backup_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that did not wait for the disk: lost, its number would be given to another write of the same row."""
    settings = {"synchronous_commit": "off", "wal_writer_delay": "500ms", "autovacuum": "off"}
    version = int(os.environ.get("MATRIX_POSTGRES", "18"))
    with OpenedPostgres(place / "own", version=version, settings=settings) as server:
        house = filled(server, backup_root)
        increment(house)
        ((writer,),) = house.database.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
        os.kill(writer, signal.SIGSTOP)

        def going_on(cancel: Cancel, seconds: float) -> None:
            os.kill(writer, signal.SIGCONT)
            wait(cancel, seconds)

        wait = Cancel.wait
        monkeypatch.setattr(Cancel, "wait", going_on)
        house.database.run("UPDATE t SET note = 'seen' WHERE id = 7")
        assert increment(house).tables["t"].rows_written == 1
        monkeypatch.undo()
        number = "SELECT xmin::text::bigint FROM t WHERE id = 7"
        ((seen,),) = house.database.run(number)
        crash(server)
        house = house_of(server, backup_root)
        house.database.run("SELECT pg_switch_wal()")
        house.database.run("UPDATE t SET note = 'after' WHERE id = 7")
        while house.database.run(number)[0][0] < seen:
            house.database.run("UPDATE t SET note = 'after' WHERE id = 7")
        burn(house, seen + 10)
        require_restored(house, increment(house).backup_id)


@pytest.mark.parametrize("told", [True, False], ids=["the disk is told of", "the function is revoked"])
def test_a_full_set_waits_for_what_it_has_seen_too(
    place: Path, backup_root: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """A truncate goes by it: a row that it has seen and a later one of the same number would be one to the truncate."""
    settings = {"synchronous_commit": "off", "wal_writer_delay": "500ms", "autovacuum": "off"}
    version = int(os.environ.get("MATRIX_POSTGRES", "18"))
    with OpenedPostgres(place / "own", version=version, settings=settings) as server:
        house = filled(server, backup_root)
        reader = house.database.uri()
        if not told:
            house.database.run("REVOKE EXECUTE ON FUNCTION pg_current_wal_flush_lsn() FROM PUBLIC")
            house.database.run("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
            reader = house.database.uri("reader")
        ((writer,),) = house.database.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
        os.kill(writer, signal.SIGSTOP)
        waited = []

        def going_on(cancel: Cancel, seconds: float) -> None:
            os.kill(writer, signal.SIGCONT)
            waited.append(seconds)
            wait(cancel, seconds)

        wait = Cancel.wait
        monkeypatch.setattr(Cancel, "wait", going_on)
        house.database.run("UPDATE t SET note = 'seen' WHERE id = 7")
        monkeypatch.setattr(house, "connect", lambda: psycopg.connect(reader))
        began = time.monotonic()
        result = house.backup()
        assert (next(iter(result.tables.values())).failure, result.mode) == (None, "full")
        assert waited
        # Not told how far the disk is, the set waits as long as it can take.
        assert told or time.monotonic() - began > 0.6


def test_a_server_that_crashes_during_an_increment(
    start: Callable[[Path], OpenedPostgres], place: Path, backup_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(place / "own")
    house = filled(server, backup_root)
    increment(house)
    house.database.run("UPDATE t SET note = 'written' WHERE id % 40 = 0")
    before = house.files()

    def crashing(*arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        crash(server)
        return write_keys(*arguments, **more)

    write_keys = dump.write_keys
    monkeypatch.setattr(dump, "write_keys", crashing)
    with pytest.raises(DatabaseFault):
        house.backup(mode="incremental")
    assert house.files() == before
    result = increment(house)
    assert (result.mode, result.tables["t"].rows_written) == ("incremental", 10)
    require_restored(house, result.backup_id)


def test_a_standby_and_a_failover(start: Callable[[Path], OpenedPostgres], place: Path, backup_root: Path) -> None:
    server = start(place / "own")
    house = filled(server, backup_root)
    increment(house)
    server.stop()
    copied(place / "own", place / "standby")
    (place / "standby" / "data" / "standby.signal").touch()
    standby = start(place / "standby")
    there = house_of(standby, backup_root)
    result = increment(there)
    assert result.full_because is not None
    assert "standby" in result.full_because
    with psycopg.connect(standby.dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_promote()")
    result = increment(there)
    assert result.full_because is not None
    assert "standby" in result.full_because or "failed over" in result.full_because
    there.database.run("UPDATE t SET note = 'after' WHERE id = 1")
    result = increment(there)
    assert result.mode == "incremental"
    require_restored(there, result.backup_id)


def test_transaction_ids_at_half_way_and_over_the_wrap(
    start: Callable[[Path], OpenedPostgres], place: Path, backup_root: Path
) -> None:
    server = start(place / "own")
    house = filled(server, backup_root)
    burn(house, 1500)
    # They will meet their own number again.
    house.database.run("INSERT INTO t SELECT g, 'old' FROM generate_series(1001, 1010) g")
    increment(house)
    seldom = house_of(server, backup_root / "seldom")
    seldom.root.mkdir()
    increment(seldom)
    for number, to in enumerate(LEAPS):
        leap(server, to)
        house = house_of(server, backup_root)
        house.database.run(f"UPDATE t SET note = 'leap {number}' WHERE id % 40 = {number}")
        result = increment(house)
        assert result.mode == "incremental", result.full_because
        require_restored(house, result.backup_id)
    # Enough young rows that the old ones, which will be written again, are less than half.
    house.database.run("INSERT INTO t SELECT g, 'young' FROM generate_series(2001, 5000) g")
    increment(house)
    seldom = house_of(server, backup_root / "seldom")
    result = increment(seldom)
    assert result.full_because is not None
    assert "too many transactions" in result.full_because
    house.database.run("DO $$ BEGIN FOR i IN 1..34000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    house.database.run("UPDATE t SET note = 'past the wrap' WHERE id % 40 = 9")
    burn(house, WRAP + 3000)
    result = increment(house)
    assert result.mode == "incremental", result.full_because
    assert result.tables["t"].rows_written >= 400  # again, for their number is of this age too
    require_restored(house, result.backup_id)
