"""The list, a set in detail, its deletion and its download, against sets that the engine itself has made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pgvector_backup.engine.store.local import LocalStore
from pgvector_backup.engine.store.root import locate
from tests.helpers.api import PREFIX, Api, data_of
from tests.helpers.database import Database
from tests.helpers.made_sets import days_before, make_set, multiply
from tests.helpers.own_airflow import Configure

OLDER_FIELDS = {
    "timestamp",
    "collection_file",
    "embedding_file",
    "collection_size",
    "embedding_size",
    "backup_date",
    "has_log",
    "log_file",
}


class TestList:
    def test_nothing_at_all(self, house: Path, api: Api) -> None:
        data = api.get("/restore/list")
        assert data["backup_locations"] == []
        scan_time = data["summary"].pop("scan_time")
        assert scan_time >= 0
        assert data["summary"] == {
            "total_locations": 0,
            "total_backup_sets": 0,
            "global_backups": 0,
            "task_backups": 0,
        }

    def test_what_clients_of_the_older_api_read(self, house: Path, api: Api, database: Database) -> None:
        made = make_set(database, now=datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc))
        (place,) = api.get("/restore/list")["backup_locations"]
        assert {name: place[name] for name in ("type", "task_id", "relative_path")} == {
            "type": "global",
            "task_id": None,
            "relative_path": "vector_bak",
        }
        (one,) = place["backups"]
        size = (house / "vector_bak" / "langchain_pg_collection_20250721_234914.csv").stat().st_size
        assert {name: one[name] for name in OLDER_FIELDS} == {
            "timestamp": "20250721_234914",
            "collection_file": "langchain_pg_collection_20250721_234914.csv",
            "embedding_file": "langchain_pg_embedding_20250721_234914.csv",
            "collection_size": f"{size:.1f} B",
            "embedding_size": one["tables"]["langchain_pg_embedding"]["size"],
            "backup_date": "2025-07-21 23:49:14",
            "has_log": False,
            "log_file": None,
        }
        assert (one["rows"], one["whole"], one["damaged"], one["verified"]) == (62, True, None, None)
        assert one["run_url"] == "dags/pgvector_backup/runs/manual__1"
        embedding = one["tables"]["langchain_pg_embedding"]
        assert (embedding["rows"], embedding["format"], embedding["compression"]) == (58, "csv", "none")
        assert embedding["sha256"] == made.tables["langchain_pg_embedding"].sha256

    def test_bytes_before_compression(self, house: Path, api: Api, database: Database) -> None:
        make_set(database)
        make_set(database, compression="zstd")
        (place,) = api.get("/restore/list")["backup_locations"]
        packed, plain = (one["tables"]["langchain_pg_embedding"] for one in place["backups"])
        assert packed["compression"] == "zstd"
        assert packed["bytes"] < packed["raw_bytes"] == plain["raw_bytes"] == plain["bytes"]

    def test_places_and_filters(self, house: Path, api: Api, database: Database) -> None:
        for task in ("t1", "t2", "without"):
            (house / task).mkdir()
        for task_id in (None, None, "t1", "t2"):
            make_set(database, task_id=task_id)
        everything = api.get("/restore/list")
        assert [place["relative_path"] for place in everything["backup_locations"]] == [
            "vector_bak",
            "t1/vector_bak",
            "t2/vector_bak",
        ]
        assert [place["type"] for place in everything["backup_locations"]] == ["global", "task", "task"]
        assert everything["summary"] | {"scan_time": 0} == {
            "total_locations": 3,
            "total_backup_sets": 4,
            "global_backups": 2,
            "task_backups": 2,
            "scan_time": 0,
        }
        only_global = api.get("/restore/list?global_only=true")
        assert [place["relative_path"] for place in only_global["backup_locations"]] == ["vector_bak"]
        only_t1 = api.get("/restore/list?task_id=t1")
        assert [place["relative_path"] for place in only_t1["backup_locations"]] == ["t1/vector_bak"]
        assert only_t1["summary"]["task_backups"] == 1
        assert api.get("/restore/list?task_id=without")["backup_locations"] == []
        assert api.get("/restore/list?task_id=t1&global_only=true")["backup_locations"] == []

    def test_the_newest_comes_first(self, house: Path, api: Api, database: Database) -> None:
        made = [make_set(database).backup_id for _ in range(3)]
        (place,) = api.get("/restore/list")["backup_locations"]
        assert [one["timestamp"] for one in place["backups"]] == sorted(made, reverse=True)  # type: ignore[type-var]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("task_id=not_there", 404),
            ("task_id=..", 400),
            ("task_id=", 400),
            ("global_only=maybe", 400),
            ("global_only=true&task_id=not_there", 404),
        ],
    )
    def test_what_is_refused(self, house: Path, api: Api, query: str, code: int) -> None:
        (house / "t1").mkdir()
        data_of(api.call("GET", f"/restore/list?{query}"), code)

    def test_sets_of_other_tables_and_of_other_tools(
        self, house: Path, api: Api, database: Database, configure: Configure
    ) -> None:
        database.run("CREATE TABLE notes (id int PRIMARY KEY, embedding vector(3))")
        configure(tables="notes")
        make_set(database)
        (house / "vector_bak" / "langchain_pg_embedding_20240102_030405.csv").write_text("id\n1\n")
        (place,) = api.get("/restore/list")["backup_locations"]
        ours, theirs = place["backups"]
        assert (ours["collection_file"], ours["embedding_file"], list(ours["tables"])) == (None, None, ["notes"])
        assert theirs["embedding_file"] == "langchain_pg_embedding_20240102_030405.csv"
        assert (theirs["manifest_file"], theirs["rows"], theirs["whole"]) == (None, None, False)
        assert theirs["backup_date"] == "2024-01-02 03:04:05"

    def test_a_set_in_another_schema_is_known_to_older_clients(
        self, house: Path, api: Api, database: Database, configure: Configure
    ) -> None:
        database.run("CREATE SCHEMA rag; CREATE TABLE rag.langchain_pg_embedding (id int)")
        configure(tables="rag.langchain_pg_embedding")
        make_set(database)
        (place,) = api.get("/restore/list")["backup_locations"]
        assert place["backups"][0]["embedding_file"].startswith("rag.langchain_pg_embedding_")

    def test_what_is_damaged_is_listed_as_such(self, house: Path, api: Api, database: Database) -> None:
        made = [make_set(database).backup_id for _ in range(4)]
        here = house / "vector_bak"
        (here / f"manifest_{made[0]}.json").write_text("{}")
        (here / f"langchain_pg_embedding_{made[1]}.csv").unlink()
        with (here / f"langchain_pg_embedding_{made[2]}.csv").open("a") as file:
            file.write("x")
        (place,) = api.get("/restore/list")["backup_locations"]
        told = {one["timestamp"]: one for one in place["backups"]}
        assert "damaged" in told[made[0]]["damaged"]
        assert "missing" in told[made[1]]["damaged"]
        assert "bytes on disk" in told[made[2]]["damaged"]
        assert told[made[3]]["damaged"] is None
        for one in made:
            api.get(f"/sets/vector_bak/{one}")

    def test_two_thousand_sets_and_no_data_file_is_opened(
        self, house: Path, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = datetime(2026, 11, 25, 12, 0, 0, tzinfo=timezone.utc)
        made = make_set(database, now=now)
        assert made.backup_id is not None
        multiply(house / "vector_bak", made.backup_id, days_before(now, 1999))
        opened: list[str] = []
        open_file = LocalStore.open

        def watched(self: LocalStore, name: str) -> Any:
            opened.append(name)
            return open_file(self, name)

        monkeypatch.setattr(LocalStore, "open", watched)
        first = api.get("/restore/list")
        assert first["summary"]["total_backup_sets"] == 2000
        assert {name.split("_")[0] for name in opened} == {"manifest"}
        opened.clear()
        taken, packed = [], []
        for _ in range(3):
            # Against what the machine needs, at this moment, for the answer's JSON alone.
            started = time.process_time()
            answer = api.call("GET", "/restore/list", headers={"Accept-Encoding": "identity"})
            taken.append(time.process_time() - started)
            started = time.process_time()
            told = json.loads(json.dumps(answer.json()))
            packed.append(time.process_time() - started)
            assert told["data"]["summary"]["total_backup_sets"] == 2000
        assert opened == []
        assert min(taken) < 6 * min(packed), (taken, packed)


class TestDetail:
    def test_all_that_is_known(self, house: Path, api: Api, database: Database) -> None:
        made = make_set(database)
        location = locate(house, None, "vector_bak")
        assert made.backup_id is not None
        location.append_log(f"==== 2025-07-21T23:49:14+08:00  OK  {made.backup_id}\nrun_id:    manual__1\n\n")
        location.append_log("==== 2025-07-22T23:49:14+08:00  OK  20250722_234914\nrun_id:    manual__2\n\n")
        verified = {
            "verified_at": "2026-01-01T00:00:00+00:00",
            "depth": "rows",
            "ok": True,
            "run_id": "v1",
            "figures": {},
        }
        location.write(f"verified_{made.backup_id}.json", json.dumps(verified).encode())
        data = api.get(f"/sets/vector_bak/{made.backup_id}")
        embedding = data["tables"]["langchain_pg_embedding"]
        assert [column["name"] for column in embedding["columns"]] == [
            "id",
            "collection_id",
            "embedding",
            "document",
            "cmetadata",
        ]
        assert embedding["columns"][2]["type"] == "vector(3)"
        assert embedding["primary_key"] == ["id"]
        assert embedding["constraints"]
        assert embedding["fingerprint"]
        assert (embedding["rows"], embedding["size"][-1]) == (58, "B")
        assert data["source"]["database"] == database.name
        assert data["log_section"].splitlines()[-1] == "run_id:    manual__1"
        assert data["verification"] == verified
        assert data["verified"] == {
            "when": "2026-01-01T00:00:00+00:00",
            "depth": "rows",
            "ok": True,
            "run_id": "v1",
        }
        assert api.get("/sets/vector_bak/latest") == data

    def test_where_else_it_lies(self, house: Path, api: Api, database: Database, configure: Configure) -> None:
        made = make_set(database)
        assert api.get("/sets/vector_bak/latest")["copies"] == []
        root = house.parent / "other"
        root.mkdir()
        configure(copy_roots=root)
        (copy,) = api.get("/sets/vector_bak/latest")["copies"]
        assert (copy["root"], copy["state"]) == (str(root), "missing")
        shutil.copytree(house / "vector_bak", root / "vector_bak")
        (copy,) = api.get("/sets/vector_bak/latest")["copies"]
        assert copy == {"root": str(root), "state": "whole", "problem": None}
        (root / "vector_bak" / str(made.tables["langchain_pg_embedding"].file)).unlink()
        (copy,) = api.get("/sets/vector_bak/latest")["copies"]
        assert copy["state"] == "damaged"

    def test_of_a_task(self, house: Path, api: Api, database: Database) -> None:
        (house / "t1").mkdir()
        made = make_set(database, task_id="t1")
        data = api.get(f"/sets/t1/vector_bak/{made.backup_id}")
        assert (data["type"], data["task_id"], data["relative_path"]) == ("task", "t1", "t1/vector_bak")

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("/sets/vector_bak/20000101_000000", 404),
            ("/sets/t9/vector_bak/latest", 404),
            ("/sets/elsewhere/latest", 404),
            ("/sets/%2e%2e/vector_bak/latest", 400),
            ("/sets//etc/latest", 404),
            ("/sets/a/b/vector_bak/latest", 404),
            ("/sets/vector_bak%00/latest", 400),
            ("/sets/vector_bak/latest%00", 400),
            ("/sets/vector_bak", 404),
        ],
    )
    def test_what_is_not_there_or_leads_out(
        self, house: Path, api: Api, database: Database, path: str, code: int
    ) -> None:
        make_set(database)
        data_of(api.call("GET", path), code)

    def test_a_link_out_of_the_root(self, house: Path, api: Api, database: Database, tmp_path: Path) -> None:
        make_set(database)
        (tmp_path / "elsewhere").mkdir()
        (house / "vector_bak").rename(tmp_path / "elsewhere" / "vector_bak")
        (house / "vector_bak").symlink_to(tmp_path / "elsewhere" / "vector_bak")
        (house / "t1").symlink_to(tmp_path / "elsewhere")
        assert api.get("/restore/list")["backup_locations"] == []
        for path in ("vector_bak", "t1/vector_bak"):
            data_of(api.call("GET", f"/sets/{path}/latest"), 404)
            data_of(api.call("GET", f"/download/{path}/vector_backup_log.txt"), 404)


class TestDelete:
    def test_all_files_of_the_set_go_and_no_other(self, house: Path, api: Api, database: Database) -> None:
        kept, gone = make_set(database).backup_id, make_set(database).backup_id
        here = house / "vector_bak"
        (here / "vector_backup_log.txt").write_text("log")
        (here / f"notes_{gone}_old.txt").write_text("somebody's")
        before = {path.name for path in here.iterdir()}
        data = data_of(api.call("DELETE", f"/sets/vector_bak/{gone}"))
        assert data["relative_path"] == "vector_bak"
        assert data["timestamp"] == gone
        assert set(data["removed"]) == {name for name in before if f"_{gone}." in name}
        assert {path.name for path in here.iterdir()} == before - set(data["removed"])
        (place,) = api.get("/restore/list")["backup_locations"]
        assert [one["timestamp"] for one in place["backups"]] == [kept]
        data_of(api.call("DELETE", f"/sets/vector_bak/{gone}"), 404)

    def test_the_audit_log_tells_who_did_it(self, house: Path, api: Api, database: Database) -> None:
        from airflow.models.log import Log
        from airflow.utils.session import create_session
        from sqlalchemy import select

        made = make_set(database).backup_id
        data_of(api.call("DELETE", f"/sets/vector_bak/{made}"))
        with create_session() as session:
            last = session.scalars(
                select(Log).where(Log.event == "pgvector_delete_set").order_by(Log.id.desc())
            ).first()
            assert last is not None
            assert last.owner == "user"
            assert json.loads(last.extra)["timestamp"] == made

    def test_refused_while_it_is_in_use(self, house: Path, api: Api, database: Database) -> None:
        made = make_set(database)
        assert made.manifest_file is not None
        with locate(house, None, "vector_bak").shared_lock(made.manifest_file):
            data = data_of(api.call("DELETE", f"/sets/vector_bak/{made.backup_id}"), 409)
        assert data["error_type"] == "CONFLICT"
        data_of(api.call("DELETE", f"/sets/vector_bak/{made.backup_id}"))

    def test_latest_is_not_deleted(self, house: Path, api: Api, database: Database) -> None:
        make_set(database)
        data_of(api.call("DELETE", "/sets/vector_bak/latest"), 400)


class TestDownload:
    @pytest.fixture
    def made(self, house: Path, database: Database) -> Any:
        return make_set(database)

    @pytest.fixture
    def path(self, made: Any) -> str:
        return f"/download/vector_bak/{made.tables['langchain_pg_embedding'].file}"

    @pytest.fixture
    def content(self, house: Path, made: Any) -> bytes:
        return (house / "vector_bak" / made.tables["langchain_pg_embedding"].file).read_bytes()

    def test_the_whole_file_with_its_checksum(self, api: Api, made: Any, path: str, content: bytes) -> None:
        answer = api.call("GET", path, headers={"Accept-Encoding": "gzip, br"})
        assert answer.status_code == 200
        assert answer.content == content
        assert answer.headers["etag"] == f'"{made.tables["langchain_pg_embedding"].sha256}"'
        assert hashlib.sha256(answer.content).hexdigest() in answer.headers["etag"]
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["accept-ranges"] == "bytes"
        assert "attachment" in answer.headers["content-disposition"]
        assert len(list(csv.reader(io.StringIO(answer.text)))) == 59

    def test_every_file_of_the_set(self, house: Path, api: Api, made: Any) -> None:
        (house / "vector_bak" / "vector_backup_log.txt").write_text("the log\n")
        (house / "vector_bak" / f"verified_{made.backup_id}.json").write_text("{}")
        for file in (house / "vector_bak").iterdir():
            answer = api.call("GET", f"/download/vector_bak/{quote(file.name)}")
            assert answer.status_code == 200
            assert answer.content == file.read_bytes()
            if file.name.startswith("schema_"):
                # No manifest tells of it.
                assert answer.headers["etag"].startswith('W/"')
            elif file.name != "vector_backup_log.txt":
                assert answer.headers["etag"] == f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"'

    def test_head(self, api: Api, path: str, content: bytes) -> None:
        answer = api.call("HEAD", path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == str(len(content))

    @pytest.mark.parametrize(
        ("asked", "first", "end"),
        [
            ("bytes=0-9", 0, 10),
            ("bytes=10-", 10, None),
            ("bytes=-10", -10, None),
            ("bytes=5-5", 5, 6),
            ("bytes=100-99999999", 100, None),
            ("bytes=-99999999", 0, None),
        ],
    )
    def test_a_range(self, api: Api, path: str, content: bytes, asked: str, first: int, end: int | None) -> None:
        answer = api.call("GET", path, headers={"Range": asked, "Accept-Encoding": "gzip"})
        part = content[first:end]
        begin = first if first >= 0 else len(content) + first
        assert answer.status_code == 206
        assert answer.content == part
        assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(part) - 1}/{len(content)}"
        assert answer.headers["content-length"] == str(len(part))

    @pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=b-a", "bytes=9-1", "bytes=-", "nonsense"])
    def test_a_range_that_may_be_ignored(self, api: Api, path: str, content: bytes, asked: str) -> None:
        answer = api.call("GET", path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, content)

    @pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
    def test_a_range_beyond_the_end(self, api: Api, path: str, content: bytes, asked: str) -> None:
        answer = api.call("GET", path, headers={"Range": asked})
        data_of(answer, 416)
        assert answer.headers["content-range"] == f"bytes */{len(content)}"

    @pytest.mark.parametrize("header", ["bytes={0}-", "bytes=-{0}", "bytes=0-{0}", "bytes=1-{0}", "bytes={0}-{0}"])
    def test_a_range_of_thousands_of_digits(self, api: Api, path: str, header: str) -> None:
        data = data_of(api.call("GET", path, headers={"Range": header.format("9" * 5000)}), 400)
        assert data["response"] == "Range: a number of 5,000 digits is no place in a file"
        assert api.call("GET", path, headers={"Range": f"bytes=0-{'9' * 25}"}).status_code == 206

    def test_it_costs_the_same_however_many_sets_there_are(
        self, house: Path, api: Api, made: Any, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pgvector_backup.engine.store.location import Location

        opened: list[str] = []
        open_file = Location.open

        def noted(self: Location, name: str) -> Any:
            opened.append(name)
            return open_file(self, name)

        def never(*_: Any) -> Any:
            raise AssertionError("a download lists nothing")

        multiply(house / "vector_bak", made.backup_id, days_before(datetime(2025, 1, 1, tzinfo=timezone.utc), 300))
        monkeypatch.setattr(Location, "open", noted)
        monkeypatch.setattr(Location, "entries", never)
        assert api.call("GET", path, headers={"Range": "bytes=0-0"}).status_code == 206
        assert len(opened) < 10
        assert {name for name in opened if name.startswith("manifest_2024")} == set()

    def test_a_resumed_download(self, api: Api, path: str, content: bytes) -> None:
        etag = api.call("HEAD", path).headers["etag"]
        rest = api.call("GET", path, headers={"Range": "bytes=100-", "If-Range": etag})
        assert (rest.status_code, rest.content) == (206, content[100:])
        other = api.call("GET", path, headers={"Range": "bytes=100-", "If-Range": '"another"'})
        assert (other.status_code, other.content) == (200, content)

    @pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}'])
    def test_a_copy_that_is_current(self, api: Api, path: str, form: str) -> None:
        etag = api.call("HEAD", path).headers["etag"]
        answer = api.call("GET", path, headers={"If-None-Match": form.format(etag)})
        assert (answer.status_code, answer.content) == (304, b"")
        assert api.call("GET", path, headers={"If-None-Match": '"x"'}).status_code == 200

    def test_a_whole_set_in_one_archive(self, house: Path, api: Api, made: Any) -> None:
        answer = api.call("GET", f"/download/vector_bak/set_{made.backup_id}.tar")
        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(len(answer.content))
        assert f"set_{made.backup_id}.tar" in answer.headers["content-disposition"]
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            names = archive.getnames()
            for name in names:
                member = archive.extractfile(name)
                assert member is not None
                assert member.read() == (house / "vector_bak" / name).read_bytes()
        assert names[-1] == made.manifest_file
        assert set(names) == {path.name for path in (house / "vector_bak").iterdir() if made.backup_id in path.name}
        head = api.call("HEAD", f"/download/vector_bak/set_{made.backup_id}.tar")
        assert (head.headers["content-length"], head.content) == (str(len(answer.content)), b"")

    def test_an_archive_of_a_damaged_set_breaks_off(self, house: Path, api: Api, made: Any, content: bytes) -> None:
        path = house / "vector_bak" / made.tables["langchain_pg_embedding"].file
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        answer = api.call("GET", f"/download/vector_bak/set_{made.backup_id}.tar")
        assert len(answer.content) < int(answer.headers["content-length"])
        assert made.manifest_file.encode() not in answer.content

    def test_an_archive_of_what_is_no_set(self, api: Api, made: Any) -> None:
        data_of(api.call("GET", "/download/vector_bak/set_20200101_000000.tar"), 404)

    def test_compressed_and_binary(self, house: Path, api: Api, database: Database) -> None:
        made = make_set(database, file_format="binary", compression="zstd")
        table = made.tables["langchain_pg_embedding"]
        answer = api.call("GET", f"/download/vector_bak/{table.file}")
        assert answer.headers["content-type"] == "application/zstd"
        assert hashlib.sha256(answer.content).hexdigest() == table.sha256

    @pytest.mark.parametrize(
        "name",
        [
            "..%2F..%2Fsecret.txt",
            "%2e%2e/secret.txt",
            "../secret.txt",
            "..",
            "%00",
            "nothing",
            "secret.txt",
            "%2Fetc%2Fpasswd",
            "link_20250721_234914.csv",
            "langchain_pg_embedding_20250721_234914.csv.tmp",
        ],
    )
    def test_nothing_else_can_be_had(self, house: Path, api: Api, database: Database, name: str) -> None:
        make_set(database, now=datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc))
        here = house / "vector_bak"
        (house / "secret.txt").write_text("secret")
        (here / "secret.txt").write_text("secret")
        (here / "langchain_pg_embedding_20250721_234914.csv.tmp").write_text("secret")
        (here / "link_20250721_234914.csv").symlink_to(house / "secret.txt")
        os.mkfifo(here / "pipe_20250721_234914.csv")
        answer = api.client.get(
            f"{PREFIX}/download/vector_bak/{name}", headers={"Authorization": f"Bearer {api.token}"}
        )
        assert answer.status_code in (400, 404)
        assert "secret" not in json.dumps(answer.json().get("data", {})).replace("secret.txt", "")

    def test_a_manifest_that_names_a_file_elsewhere(self, house: Path, api: Api, made: Any) -> None:
        manifest = house / "vector_bak" / f"manifest_{made.backup_id}.json"
        body = json.loads(manifest.read_bytes())
        body["tables"][0]["file"] = "../secret.txt"
        manifest.write_text(json.dumps(body))
        (house / "secret.txt").write_text("secret")
        (place,) = api.get("/restore/list")["backup_locations"]
        assert "altered" in place["backups"][0]["damaged"]
        data_of(api.call("GET", "/download/vector_bak/..%2Fsecret.txt"), 400)

    def test_a_file_that_is_not_its_manifest_s(self, house: Path, api: Api, made: Any, path: str) -> None:
        file = house / "vector_bak" / made.tables["langchain_pg_embedding"].file
        file.write_bytes(file.read_bytes()[:-1])
        assert data_of(api.call("GET", path), 500)["error_type"] == "INTEGRITY_ERROR"

    def test_a_set_stays_while_it_is_being_sent(self, house: Path, api: Api, database: Database) -> None:
        from pgvector_backup.web import download

        made = make_set(database)
        file = download.find(locate(house, None, "vector_bak"), made.tables["langchain_pg_embedding"].file)
        sending = self._begin(file)
        data_of(api.call("DELETE", f"/sets/vector_bak/{made.backup_id}"), 409)
        assert b"".join(sending) != b""
        data_of(api.call("DELETE", f"/sets/vector_bak/{made.backup_id}"))

    @staticmethod
    def _begin(file: Any) -> Iterator[bytes]:
        """An answer that has been begun and not been read to its end."""
        from starlette.requests import Request

        from pgvector_backup.web import download

        scope = {"type": "http", "method": "GET", "headers": [], "path": "/", "query_string": b""}
        answer = download.send(Request(scope), file)
        return asyncio_iterated(answer)


def asyncio_iterated(answer: Any) -> Iterator[bytes]:
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        parts = aiter(answer.body_iterator)
        while True:
            try:
                yield loop.run_until_complete(anext(parts))
            except StopAsyncIteration:
                return
    finally:
        loop.close()
