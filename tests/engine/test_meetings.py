"""Another connection acts at the one moment at which it could do harm: what it does is seen, or it has to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Cancelled, Conflict
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.database import contents
from tests.helpers.house import House
from tests.helpers.langchain import PAIR
from tests.helpers.meeting import at_statement, kept_out, wait_until_kept_waiting

COLLECTION, EMBEDDING = PAIR
INSERT = "INSERT INTO langchain_pg_embedding (id) VALUES ('late')"


@pytest.fixture
def filled(house: House) -> House:
    house.langchain()
    return house


# --- a backup ---


def test_the_moment_is_fixed_only_once_every_table_is_locked(filled: House) -> None:
    """An older snapshot would read the emptied table as empty, and not show what came with the emptying."""

    def move_on() -> None:
        with filled.database.connect() as conn:
            conn.execute("TRUNCATE langchain_pg_embedding")
            conn.execute("INSERT INTO langchain_pg_collection (name) VALUES ('emptied')")

    # The last table to be locked.
    moved_on = at_statement(filled, "LOCK TABLE .*langchain_pg_embedding", move_on)
    tables = filled.backup().tables
    assert moved_on.is_set()
    assert (tables[COLLECTION].rows, tables[EMBEDDING].rows) == (5, 0)


@pytest.mark.parametrize("table", PAIR)
def test_nobody_empties_a_table_once_the_moment_is_fixed(filled: House, table: str) -> None:
    emptied: list[bool] = []
    at_statement(
        filled,
        "pg_export_snapshot",
        lambda: emptied.append(not kept_out(filled.database, f"TRUNCATE {table} CASCADE")),
        when="after",
    )
    tables = filled.backup().tables
    assert emptied == [False]
    assert (tables[COLLECTION].rows, tables[EMBEDDING].rows) == (4, 58)


# --- a truncate ---


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_row_committed_while_a_truncate_waits_for_its_lock_is_seen(filled: House, isolation: str) -> None:
    """Whatever the database has set: a transaction that had its snapshot before its lock would delete the row."""
    name = filled.database.name
    filled.database.run(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    result = filled.backup()
    filled.configure(lock_timeout=60)
    with filled.database.connect() as writer, ThreadPoolExecutor(1) as pool:
        writer.execute(INSERT)
        truncating = pool.submit(filled.truncate, result)
        wait_until_kept_waiting(filled.database, EMBEDDING)
        writer.commit()
        with pytest.raises(Conflict, match="1 of 59 rows were written after the backup"):
            truncating.result(60)
    assert filled.count(EMBEDDING) == 59


@pytest.mark.parametrize("statement", [INSERT, "SELECT count(*) FROM langchain_pg_embedding"])
def test_nobody_writes_or_reads_between_a_truncates_count_and_its_deed(filled: House, statement: str) -> None:
    result = filled.backup()
    out: list[bool] = []
    asked = at_statement(filled, "TRUNCATE TABLE", lambda: out.append(kept_out(filled.database, statement)))
    filled.truncate(result)
    assert asked.is_set()
    assert out == [True]
    assert filled.count(EMBEDDING) == 0


@pytest.mark.parametrize(
    ("last_step", "noted"), [("RELEASE SAVEPOINT record_manager", False), ("^TRUNCATE TABLE", True)]
)
def test_a_truncate_cancelled_once_the_rows_are_proven_empties_nothing(
    filled: House, last_step: str, noted: bool
) -> None:
    """Up to the commit; what it has noted beside the set by then only keeps the set."""
    result = filled.backup()
    cancel = Cancel()
    asked = at_statement(filled, last_step, lambda: _ask(cancel), when="after")
    with pytest.raises(Cancelled):
        filled.truncate(result, cancel=cancel)
    assert asked.is_set()
    assert filled.count(EMBEDDING) == 58
    assert any(name.startswith("emptied_") for name in filled.files()) == noted


# --- a restore ---

WRITES = [
    INSERT,
    "UPDATE langchain_pg_embedding SET document = 'changed'",
    "DELETE FROM langchain_pg_embedding",
    "TRUNCATE langchain_pg_embedding",
    "ALTER TABLE langchain_pg_embedding ADD COLUMN more text",
]


@pytest.mark.parametrize("statement", WRITES)
@pytest.mark.parametrize("on_conflict", ["skip", "update"])
def test_nobody_writes_while_rows_are_merged(filled: House, statement: str, on_conflict: str) -> None:
    """Between the look at what is there and the insert, nothing may change there."""
    filled.backup()
    before = contents(filled.database, *PAIR)
    out: list[bool] = []
    asked = at_statement(filled, "^COPY .*FROM STDIN", lambda: out.append(kept_out(filled.database, statement)))
    filled.restore(on_conflict=on_conflict)
    assert asked.is_set()
    assert out == [True]
    assert contents(filled.database, *PAIR) == before


@pytest.mark.parametrize("statement", [*WRITES, "SELECT count(*) FROM langchain_pg_embedding"])
def test_nobody_writes_or_reads_while_rows_are_replaced(filled: House, statement: str) -> None:
    filled.backup()
    out: list[bool] = []
    asked = at_statement(filled, "^COPY .*FROM STDIN", lambda: out.append(kept_out(filled.database, statement)))
    filled.restore(truncate_before_restore=True)
    assert asked.is_set()
    assert out == [True]


@pytest.mark.parametrize("statement", [INSERT, "SELECT count(*) FROM langchain_pg_embedding"])
def test_nobody_writes_or_reads_before_a_restore_counts_what_it_empties(filled: House, statement: str) -> None:
    """What was counted is what is then emptied; and who only reads is not in the way of a lock that comes later."""
    filled.backup()
    out: list[bool] = []
    at_statement(filled, r"^SELECT count\(\*\)", lambda: out.append(kept_out(filled.database, statement)))
    filled.restore(truncate_before_restore=True)
    assert out == [True]


@pytest.mark.parametrize(
    ("statement", "reading"),
    [
        ("^COPY .*FROM STDIN", lambda house, result: house.restore(truncate_before_restore=True)),
        ("^TRUNCATE TABLE", lambda house, result: house.truncate(result)),
    ],
    ids=["restore", "truncate"],
)
def test_a_set_is_not_removed_while_somebody_goes_by_it(
    filled: House, statement: str, reading: Callable[[House, BackupResult], object]
) -> None:
    result = filled.backup()
    catalog = Catalog(filled.settings)
    place = catalog.place("vector_bak", None)
    found = catalog.find(place, str(result.backup_id))
    refused: list[str] = []

    def try_to() -> None:
        with pytest.raises(Conflict, match="is in use: a restore, a verify or a truncate is reading it") as fault:
            remove(place, found)
        refused.append(fault.value.message)

    at_statement(filled, statement, try_to)
    reading(filled, result)
    assert len(refused) == 1
    remove(place, found)
    assert catalog.at(place).sets == ()


def test_a_restore_cancelled_after_its_last_step_changes_nothing(house: House) -> None:
    house.database.run("CREATE TABLE t (id serial, v vector(2)); INSERT INTO t (v) VALUES ('[1,2]'), ('[3,4]')")
    house.configure(tables="t")
    house.backup()
    house.database.run("DELETE FROM t WHERE id = 2; UPDATE t SET v = '[9,9]'; SELECT setval('t_id_seq', 1)")
    cancel = Cancel()

    asked = at_statement(house, r"setval\(", lambda: _ask(cancel), when="after")
    with pytest.raises(Cancelled):
        house.restore(truncate_before_restore=True, cancel=cancel)
    assert asked.is_set()
    assert contents(house.database, "t") == {"t": ['(1,"[9,9]")']}


def _ask(cancel: Cancel) -> None:
    """Ask for it between two statements: its word to the server is for whatever runs there now, which is nothing."""
    cancel.ask()
    for thread in threading.enumerate():
        if thread.name == "cancel":
            thread.join()
