"""What sets hold of each other, over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.database import Database
from tests.helpers.house import House


def test_two_sets_are_compared_and_a_row_is_found(api: Api, house: Path, database: Database) -> None:
    there = House(database, house)
    now = datetime.now(timezone.utc)
    a = there.backup(mode="incremental", now=now).backup_id
    database.run("DELETE FROM langchain_pg_embedding WHERE id = 'id-3'")
    b = there.backup(mode="incremental", now=now + timedelta(minutes=1)).backup_id
    told = api.get(f"/diff?backup_path=vector_bak&a={a}&b={b}")
    assert told["tables"]["langchain_pg_embedding"]["keys"]["removed"] == ["id-3"]
    (version,) = api.get("/find?backup_path=vector_bak&key=id-3")["tables"]["langchain_pg_embedding"]
    assert version["sets"] == [a]
    assert api.get("/find?backup_path=vector_bak&key=nobody")["found"] is False
