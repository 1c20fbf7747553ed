"""What sets hold of each other, over HTTP."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.helpers.api import Api, data_of
from tests.helpers.database import Database
from tests.helpers.forging import seal
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


def test_an_archive_of_an_increment_holds_what_it_stands_on_and_no_other_set(
    api: Api, house: Path, database: Database
) -> None:
    there = House(database, house)
    now = datetime.now(timezone.utc)
    base = there.backup(mode="incremental", now=now)
    database.run("DELETE FROM langchain_pg_embedding WHERE id = 'id-3'")
    made = there.backup(mode="incremental", now=now + timedelta(minutes=1))
    path = f"/download/vector_bak/set_{made.backup_id}.tar"
    with tarfile.open(fileobj=io.BytesIO(api.call("GET", path).content)) as archive:
        names = archive.getnames()
    of_a_set = [name for name in sorted(one.name for one in there.directory.iterdir()) if "_log" not in name]
    assert sorted(names) == of_a_set
    manifests = [name for name in names if name.startswith("manifest_")]
    assert manifests == [base.manifest_file, made.manifest_file]
    assert names[-1] == made.manifest_file

    manifest = there.directory / str(base.manifest_file)
    body = json.loads(manifest.read_text())
    body["run_id"] = "somebody else's"
    seal(manifest, body)
    told = data_of(api.call("GET", path), 500)
    assert told["error_type"] == "INTEGRITY_ERROR"
    assert f"its base {base.backup_id} is another set" in told["response"]
