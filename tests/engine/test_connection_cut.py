"""A connection that is cut in the middle costs at most the tables that it was reading; the moment's end costs all."""

from __future__ import annotations

import pytest

from pgvector_backup.engine.base.errors import Conflict, DatabaseFault
from tests.helpers.hooks import EVERYBODY, LEADER, WIDE, WORKERS, activity, at_block, terminate
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets
from tests.helpers.meeting import kept_out


@pytest.fixture
def large(house: House) -> House:
    house.langchain()
    house.database.run(WIDE.replace("{rows}", "8000"))
    house.configure(
        tables="langchain_pg_collection,wide,langchain_pg_embedding", truncate_tables=house.settings.truncate_tables
    )
    return house


@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("block", [1, 5])
def test_one_reader_cut_fails_its_table_and_no_other(
    large: House, monkeypatch: pytest.MonkeyPatch, jobs: int, block: int
) -> None:
    large.configure(jobs=jobs)
    at_block(monkeypatch, block, lambda: terminate(large.database, WORKERS, limit=1))
    result = large.backup()
    failure = result.tables["wide"].failure
    assert isinstance(failure, DatabaseFault)
    assert failure.can_retry
    others = {label: table.rows for label, table in result.tables.items() if label != "wide"}
    assert others == {"langchain_pg_collection": 4, "langchain_pg_embedding": 58}
    assert whole_sets(large.directory) == [result.backup_id]
    assert leftovers(large.directory) == []
    assert not [name for name in large.files() if name.startswith("wide")]

    with pytest.raises(Conflict, match="is not whole, wide failed"):
        large.truncate(result)
    assert large.count("langchain_pg_embedding") == 58


@pytest.mark.parametrize("whom", [EVERYBODY, LEADER])
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_snapshots_end_fails_the_run(large: House, monkeypatch: pytest.MonkeyPatch, jobs: int, whom: str) -> None:
    large.configure(jobs=jobs)
    at_block(monkeypatch, 3, lambda: terminate(large.database, whom))
    with pytest.raises(DatabaseFault) as caught:
        large.backup()
    assert caught.value.can_retry
    assert large.files() == []
    assert activity(large.database) == []
    monkeypatch.undo()
    assert large.backup().failure is None


def test_a_table_truncated_after_the_lock_was_lost_is_not_backed_up_as_empty(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old snapshot reads a truncated table as empty: only the lock keeps that from happening."""
    large.configure(jobs=1)

    def unlock_and_truncate() -> None:
        terminate(large.database, LEADER)
        large.database.run("TRUNCATE langchain_pg_embedding")

    at_block(monkeypatch, 1, unlock_and_truncate)
    with pytest.raises(DatabaseFault):
        large.backup()
    assert large.files() == []


def test_nobody_can_truncate_a_table_while_it_is_waiting_to_be_read(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    large.configure(jobs=1)
    out: list[bool] = []
    at_block(monkeypatch, 1, lambda: out.append(kept_out(large.database, "TRUNCATE langchain_pg_embedding")))
    result = large.backup()
    assert out == [True]
    assert result.failure is None
    assert result.tables["langchain_pg_embedding"].rows == 58


def test_every_connection_is_closed_in_the_end(large: House) -> None:
    large.configure(jobs=4)
    large.backup()
    assert activity(large.database) == []


def test_a_server_with_too_few_connections_says_so(large: House) -> None:
    large.configure(jobs=8)
    role = f"role_of_{large.database.name}"
    large.database.run(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data CONNECTION LIMIT 1")
    try:
        large.connect = lambda: large.database.connect(role)
        with pytest.raises(DatabaseFault, match="too many connections for role"):
            large.backup()
    finally:
        large.database.run(f"DROP ROLE {role}")
    assert large.files() == []
