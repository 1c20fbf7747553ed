"""A restore that replaces rows backs them up first; where that fails, nothing is changed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pgvector_backup.engine import safety_backup
from pgvector_backup.engine.base.errors import BackupError, Cancelled, Conflict, NotFound, StorageFault
from pgvector_backup.engine.base.messages import english
from pgvector_backup.engine.contract.restore_result import SavedFirst
from pgvector_backup.engine.sets.catalog import Catalog
from tests.helpers.database import Database, contents
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

REPLACING: dict[str, Any] = {"truncate_before_restore": True, "backup_before_restore": True}
EARLIER = datetime.now(timezone.utc) - timedelta(hours=1)


@pytest.fixture
def changed(house: House) -> House:
    """A set, and tables that have changed since."""
    house.langchain()
    house.backup(now=EARLIER, compression="gzip")
    house.database.run("UPDATE langchain_pg_embedding SET document = 'later' WHERE id = 'id-1'")
    return house


def test_both_states_can_be_had_back(changed: House) -> None:
    now = contents(changed.database, *PAIR)
    saved = changed.restore(**REPLACING).saved
    assert saved is not None
    assert contents(changed.database, *PAIR) != now
    # Written as the set that is restored was.
    assert any(name.endswith(f"{saved.backup_id}.csv.gz") for name in changed.files())
    changed.restore(timestamp=saved.backup_id, truncate_before_restore=True)
    assert contents(changed.database, *PAIR) == now


def test_rows_that_are_overwritten_count_as_replaced(changed: House) -> None:
    assert changed.restore(on_conflict="update", backup_before_restore=True).saved is not None


@pytest.mark.parametrize(
    "asked", [{"on_conflict": "skip"}, {"truncate_before_restore": True, "dry_run": True}], ids=str
)
def test_where_nothing_is_replaced_nothing_is_backed_up(changed: House, asked: dict[str, Any]) -> None:
    before = changed.files()
    assert changed.restore(**asked, backup_before_restore=True).saved is None
    assert changed.files() == before


def test_tables_that_are_not_there_yet_have_nothing_to_lose(changed: House, elsewhere: Database) -> None:
    assert changed.restore(**REPLACING, into=elsewhere).saved is None
    elsewhere.run("DROP TABLE langchain_pg_embedding; UPDATE langchain_pg_collection SET cmetadata = '{}'")
    saved = changed.restore(**REPLACING, into=elsewhere).saved
    assert saved is not None
    assert saved.rows == {"langchain_pg_collection": 4}


def test_only_what_is_restored_is_backed_up_wherever_it_goes(changed: House) -> None:
    changed.database.run("CREATE SCHEMA staging")
    changed.restore(schema="staging")
    saved = changed.restore(**REPLACING, schema="staging", tables=["langchain_pg_embedding"]).saved
    assert saved is not None
    assert saved.rows == {"staging.langchain_pg_embedding": 58}


@pytest.mark.parametrize("fault", [StorageFault("disk full"), NotFound("gone"), Cancelled("stopped")], ids=str)
def test_a_backup_that_fails_stops_the_restore(
    changed: House, monkeypatch: pytest.MonkeyPatch, fault: BackupError
) -> None:
    before = contents(changed.database, *PAIR), changed.files()

    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(safety_backup, "backup", fails)
    with pytest.raises(type(fault)) as caught:
        changed.restore(**REPLACING)
    assert fault.message in english(caught.value.message)
    assert caught.value.can_retry == fault.can_retry
    if not isinstance(fault, Cancelled):
        assert english(caught.value.message).startswith("the backup before the restore failed, so nothing was changed")
    assert (contents(changed.database, *PAIR), changed.files()) == before


def test_a_table_that_cannot_be_read_stops_the_restore(changed: House) -> None:
    before = contents(changed.database, *PAIR)
    changed.configure(lock_timeout=0.2)
    holder = changed.database.connect()
    try:
        holder.execute("BEGIN; LOCK TABLE langchain_pg_embedding IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(BackupError, match="langchain_pg_embedding"):
            changed.restore(**REPLACING)
    finally:
        holder.close()
    assert contents(changed.database, *PAIR) == before


def test_a_table_of_the_same_name_that_comes_first_for_the_role_is_not_meant(changed: House) -> None:
    changed.database.run(
        "CREATE SCHEMA first; CREATE TABLE first.langchain_pg_embedding (id int);"
        f"ALTER DATABASE {changed.database.name} SET search_path = first, public"
    )
    changed.configure(tables="langchain_pg_collection,public.langchain_pg_embedding")
    saved = changed.restore(**REPLACING).saved
    assert saved is not None
    assert saved.rows == {"langchain_pg_collection": 4, "public.langchain_pg_embedding": 58}


def test_what_was_saved_is_not_the_latest(changed: House) -> None:
    """Restored again, or retried, the same set comes back, and not what somebody wanted to be rid of."""
    first = changed.restore(**REPLACING)
    assert first.saved is not None
    again = changed.restore(**REPLACING)
    assert again.backup_id == first.backup_id
    assert again.saved is not None
    found = {one.backup_id: one for place in Catalog(changed.settings).locations() for one in place.sets}
    assert found[first.saved.backup_id].saved_before == first.backup_id
    assert found[first.backup_id].saved_before is None
    # Where there is no other, it is better than none.
    for path in changed.directory.glob(f"*{first.backup_id}*"):
        path.unlink()
    assert changed.restore(truncate_before_restore=True).backup_id == again.saved.backup_id


def test_a_restore_that_fails_after_it_names_it(changed: House) -> None:
    changed.database.run("ALTER TABLE langchain_pg_embedding ADD CHECK (document = 'later') NOT VALID")
    told: list[SavedFirst] = []
    with pytest.raises(Conflict) as caught:
        changed.restore(**REPLACING, saved_to=told)
    (saved,) = told
    assert f"what was backed up first is kept as set {saved.backup_id} in vector_bak" in caught.value.english
    assert "check" in caught.value.english
