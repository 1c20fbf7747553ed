"""Transaction ids are 32 bits in a row and wrap: a row is placed rightly, or the truncate is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo.embedded import OpenedPostgres
from pgvector_backup.embedded.keeper import end_kept
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.postgres.description import describe
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.transactions import TransactionIds, count
from pgvector_backup.engine.sets.manifest import Manifest
from tests.helpers.database import Database
from tests.helpers.house import House

WRAP = 1 << 32
LEAPS = (0x77300000, 0xEE600000, WRAP - 0x8000)
"""Where the next transaction id is set to, one after the other: less than 2**31 apart, each on a page of its own."""


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedPostgres]:
    """A server that one test may ruin."""
    with OpenedPostgres(tmp_path_factory.mktemp("postgres"), settings={"max_prepared_transactions": 5}) as server:
        yield server


@pytest.fixture
def own_house(own_server: OpenedPostgres, backup_root: Path) -> House:
    return House(Database(own_server, "postgres"), backup_root)


def leap(server: OpenedPostgres, number: int) -> None:
    """Freeze every row, then let the server go on with a later transaction id."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    for name in ("template0", "template1", "postgres"):
        with psycopg.connect(server.uri(name), autocommit=True) as conn:
            conn.execute("VACUUM FREEZE")
    server.stop()
    command = [str(server.bin / "pg_resetwal"), "-x", str(number), str(server.pgdata)]
    with server.log.open("ab") as log:  # as the server's own user, whatever user that is
        keeper = server._start_kept(command, log, server._keeper_options())
        try:
            assert keeper.wait() == 0, server.log.read_text()
        finally:
            end_kept(keeper)
    server.start()


def next_id(house: House) -> int:
    """The 64-bit id that the next transaction to write will get."""
    return int(house.database.run("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")[0][0])


def burn(house: House, until: int) -> None:
    """Use up ids, so that the next one is ``until``."""
    number = until - next_id(house)
    assert number >= 0
    house.database.run(f"DO $$ BEGIN FOR i IN 1..{number} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    assert next_id(house) == until


def table(house: House, name: str, rows: int = 10) -> None:
    house.database.run(f"CREATE TABLE {name} (id int); INSERT INTO {name} SELECT generate_series(1, {rows})")


@pytest.mark.apart
def test_rows_are_placed_rightly_before_and_after_the_wrap(own_house: House, own_server: OpenedPostgres) -> None:
    house = own_house

    # Rows of the first thousand ids; they will meet their own numbers again.
    burn(house, 1500)
    table(house, "ancient")
    raw = int(house.database.run("SELECT xmin::text FROM ancient LIMIT 1")[0][0])
    house.configure(tables="ancient", truncate_tables="ancient")
    in_another_age = house.backup()

    for number in LEAPS:
        leap(own_server, number)
    assert next_id(house) < WRAP

    with pytest.raises(Conflict, match="too many transactions since the backup"):
        house.truncate(in_another_age)

    burn(house, WRAP - 300)
    for name in ("changed", "unchanged"):
        table(house, name)
    house.configure(tables="changed,unchanged", truncate_tables="changed,unchanged")
    before_the_wrap = house.backup()

    # A snapshot whose open transaction began before the wrap and whose end is behind it.
    table(house, "across", 0)
    table(house, "elsewhere", 0)
    burn(house, WRAP - 50)
    with house.database.connect() as old:
        old.execute("INSERT INTO elsewhere VALUES (1)")
        with old.transaction():
            old.execute("INSERT INTO elsewhere VALUES (2)")
        for number in range(100):
            house.database.run("INSERT INTO across VALUES (%s)", [number])
        assert next_id(house) > WRAP
        house.configure(tables="across", truncate_tables="across")
        across_the_wrap = house.backup()
        manifest = Manifest.from_bytes((house.directory / str(across_the_wrap.manifest_file)).read_bytes())
        assert manifest.snapshot.xmin < WRAP < manifest.snapshot.xmax
        assert len(manifest.tables[0].late_transactions or ()) == 100
        old.execute("INSERT INTO across VALUES (1000)")
        with old.transaction():
            old.execute("INSERT INTO across VALUES (1001)")
        old.commit()
    house.database.run("DELETE FROM across WHERE id < 5")
    with pytest.raises(Conflict, match="across: 2 of 97 rows"):
        house.truncate(across_the_wrap)
    house.database.run("DELETE FROM across WHERE id >= 1000")
    house.database.run("VACUUM FREEZE across")
    assert house.truncate(across_the_wrap).rows_before == {"across": 95}

    # A set of before the wrap, rows of after it: small numbers again.
    house.configure(tables="changed,unchanged", truncate_tables="changed,unchanged")
    house.database.run("DELETE FROM changed WHERE id = 1; INSERT INTO changed VALUES (11)")
    with pytest.raises(Conflict, match="changed: 1 of 10 rows"):
        house.truncate(before_the_wrap)
    house.configure(tables="changed,unchanged", truncate_tables="unchanged")
    assert house.truncate(before_the_wrap).rows_before == {"unchanged": 10}
    assert (house.count("changed"), house.count("unchanged")) == (10, 0)

    # An open transaction that has the very number of ancient rows: theirs must not vouch for its own.
    house.configure(tables="ancient", truncate_tables="ancient")
    burn(house, WRAP + raw)
    with house.database.connect() as late:
        late.execute("INSERT INTO ancient VALUES (11)")
        assert late.execute("SELECT xmin::text FROM ancient WHERE id = 11").fetchone() == (str(raw),)
        house.database.run("SELECT pg_current_xact_id()")  # an id of a later transaction that has ended
        with_a_namesake = house.backup()
        assert with_a_namesake.tables["ancient"].rows == 10
    house.database.run("DELETE FROM ancient WHERE id <= 3")
    with pytest.raises(Conflict, match="of 8 rows were written after the backup"):
        house.truncate(with_a_namesake)
    assert house.count("ancient") == 8


@pytest.mark.apart
def test_a_server_that_was_set_back_is_refused(own_house: House, own_server: OpenedPostgres) -> None:
    """A physical copy has the same system identifier, and will use the same ids again."""
    table(own_house, "t")
    own_house.configure(tables="t", truncate_tables="t")
    own_server.stop()
    copy = own_server.directory / "copy"
    subprocess.run(["cp", "-a", own_server.pgdata, copy], check=True)
    own_server.start()
    burn(own_house, next_id(own_house) + 50)
    result = own_house.backup()
    own_server.stop()
    own_server.pgdata.rename(own_server.directory / "later")
    copy.rename(own_server.pgdata)
    own_server.start()
    with pytest.raises(Conflict, match="fewer transactions than at the time of the backup"):
        own_house.truncate(result)
    assert own_house.count("t") == 10


@pytest.mark.apart
def test_a_prepared_transaction_that_is_committed_later_keeps_the_table(own_house: House) -> None:
    table(own_house, "t")
    own_house.configure(tables="t", truncate_tables="t")
    with own_house.database.connect() as conn:
        conn.execute("INSERT INTO t VALUES (11)")
        conn.execute("PREPARE TRANSACTION 'later'")
    result = own_house.backup()
    own_house.configure(lock_timeout=0.2)
    with pytest.raises(Exception, match="another session holds a lock"):
        own_house.truncate(result)
    own_house.database.run("COMMIT PREPARED 'later'")
    own_house.database.run("DELETE FROM t WHERE id = 1")
    with pytest.raises(Conflict, match="t: 1 of 10 rows"):
        own_house.truncate(result)


def test_a_row_of_no_transaction_of_its_own_is_never_taken_for_a_backed_up_one(house: House) -> None:
    """What initdb wrote, and what old servers froze, has a reserved id: it may be of any time."""
    with house.database.connect() as conn:
        catalog = describe(conn, TableName("pg_catalog", "pg_am"))
        (reserved,) = conn.execute("SELECT count(*) FROM pg_am WHERE xmin::text::bigint < 3").fetchone() or (0,)
        assert reserved > 0
        rows, unseen = count(conn, catalog, TransactionIds.current(conn), catalog.relations, ())
        assert rows >= unseen >= reserved
