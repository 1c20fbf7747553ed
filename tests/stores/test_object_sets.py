"""Backup sets in buckets of real servers: written, listed, verified, restored, emptied on, removed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import obstore
import pytest

from pgvector_backup.engine.base.errors import Conflict, IntegrityFault, InvalidParams, NotFound, StorageFault
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store import bucket as bucket_module
from pgvector_backup.engine.store import object_listing, object_writer
from pgvector_backup.engine.store.object_writer import part_bytes
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions
from pgvector_backup.engine.store.root import locate, locate_all
from tests.helpers.azurite import Container
from tests.helpers.hooks import WIDE
from tests.helpers.house import House
from tests.helpers.made_sets import days_before, multiply
from tests.helpers.object_stores import S3, Bucket
from tests.helpers.relay import ANSWERS, SLOW, Relay
from tests.stores.conftest import fresh_bucket, fresh_place

NOW = datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc)
FORMAT = "%Y%m%d_%H%M%S"
MEBIBYTE = 1 << 20
SMALL = "langchain_pg_collection,langchain_pg_embedding"

AnyBucket = Bucket | Container


@pytest.fixture(params=["seaweed", "moto", "rclone", "azure"])
def any_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AnyBucket:
    return fresh_place(request.param, request, monkeypatch)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small table is an upload of several parts."""
    monkeypatch.setattr(object_writer, "_SMALLEST_PART", 5 * MEBIBYTE)


def whole(bucket: AnyBucket, result: BackupResult) -> None:
    """The bucket holds the set and nothing else, byte for byte as the manifest says."""
    files = [table.file for table in result.tables.values()]
    assert bucket.names() == sorted(
        [*files, *(f"{file}.idx" for file in files), f"schema_{result.backup_id}.sql", str(result.manifest_file)]
    )
    for table in json.loads(bucket.get(str(result.manifest_file)))["tables"]:
        content = bucket.get(table["file"])
        assert len(content) == table["bytes"]
        assert hashlib.sha256(content).hexdigest() == table["sha256"]


def test_a_set_is_made_listed_verified_restored_emptied_on_and_removed(
    house: House, any_bucket: Bucket | Container
) -> None:
    house.langchain()
    house.configure(backup_root=any_bucket.url)
    catalog = Catalog(house.settings)
    assert catalog.locations() == []  # a bucket that holds nothing

    result = house.backup()
    assert result.failure is None
    assert result.directory == f"{any_bucket.url}/vector_bak"
    whole(any_bucket, result)

    (place,) = catalog.locations()
    assert [(one.backup_id, one.damaged) for one in place.sets] == [(result.backup_id, None)]
    assert house.verify(depth="rows").failure is None
    assert house.truncate(result).rows_before == {"langchain_pg_embedding": 58}
    assert house.count("langchain_pg_embedding") == 0
    house.restore(on_conflict="skip")
    assert house.count("langchain_pg_embedding") == 58
    remove(place.location, place.sets[0])
    assert any_bucket.names() == ["vector_backup_log.txt"]  # of the verification


def test_a_large_table_goes_up_in_parts_and_nothing_lies_on_this_machine(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_parts: None
) -> None:
    house.database.run(WIDE.replace("{rows}", "8000"))
    house.configure(backup_root=bucket.url, tables="wide")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    written: list[str] = []
    opened = os.open

    def watched(path: Any, flags: int, *more: Any, **rest: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            written.append(str(path))
        return opened(path, flags, *more, **rest)

    monkeypatch.setattr(os, "open", watched)
    result = house.backup()
    whole(bucket, result)
    assert result.tables["wide"].bytes is not None
    assert result.tables["wide"].bytes > 15 * MEBIBYTE
    tag = bucket.server.client().head_object(Bucket=bucket.name, Key=f"sets/vector_bak/{result.tables['wide'].file}")
    assert tag["ETag"].strip('"').endswith("-4")
    assert written == []
    assert list(scratch.iterdir()) == []
    assert bucket.uploads() == []


def test_nothing_is_there_before_the_manifest_is(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    location = locate(bucket.url, None, "vector_bak")
    claim = location.claim(NOW, FORMAT)
    file = claim.stage("wide", "csv", expected=20 * MEBIBYTE)
    for _ in range(12):
        file.write(bytearray(os.urandom(MEBIBYTE)))
    file.sync()
    assert bucket.names() == ["manifest_20250721_234914.json.tmp"]
    assert bucket.uploads() == ["sets/vector_bak/wide_20250721_234914.csv"]
    file.publish()
    assert "wide_20250721_234914.csv" in bucket.names()
    assert [entry.name for entry in location.entries()] == ["manifest_20250721_234914.json.tmp"]
    claim.discard()
    assert bucket.names() == []
    assert bucket.uploads() == []


def test_a_writer_keeps_nothing_of_the_memory_that_it_is_given(bucket: Bucket) -> None:
    location = locate(bucket.url, None, "vector_bak")
    claim = location.claim(NOW, FORMAT)
    file, memory, sent = claim.stage("wide", "csv"), bytearray(MEBIBYTE), hashlib.sha256()
    for number in range(20):
        memory[:] = bytes([number]) * MEBIBYTE
        file.write(memoryview(memory))
        sent.update(memory)
    memory.clear()
    file.sync()
    claim.commit(b"{}")
    assert file.sha256 == sent.hexdigest() == hashlib.sha256(bucket.get(file.name)).hexdigest()


def test_a_run_that_fails_gives_its_uploads_up(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    house.database.run(WIDE.replace("{rows}", "4000"))
    house.configure(backup_root=bucket.url, tables="wide")
    sync = object_writer.ObjectWriter.sync

    def failing(self: object_writer.ObjectWriter) -> None:
        sync(self)
        assert bucket.uploads()
        raise StorageFault("out of order")

    monkeypatch.setattr(object_writer.ObjectWriter, "sync", failing)
    assert isinstance(house.backup().failure, StorageFault)
    assert bucket.names() == []
    assert bucket.uploads() == []


def test_large_files_are_hashed_once_and_small_ones_are_signed_whole(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    house.database.run(WIDE.replace("{rows}", "8000"))
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url, tables="wide")
        whole(bucket, house.backup())
        parts = [signed for path, signed in relay.payloads if "partNumber=" in path]
        assert len(parts) > 2
        assert set(parts) == {"UNSIGNED-PAYLOAD"}  # the entity tag, of their MD5 sums, is what proves them
        manifests = [signed for path, signed in relay.payloads if "/manifest_" in path]
        assert len(manifests) > 1
        assert "UNSIGNED-PAYLOAD" not in manifests


def test_a_store_that_wants_every_payload_signed_gets_it_so(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    house.database.run(WIDE.replace("{rows}", "8000"))
    with Relay(bucket.server.endpoint) as relay:
        relay.begin(lambda number, method, path: "403 unless signed")
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url, tables="wide")
        whole(bucket, house.backup())
        signed = [signed for path, signed in relay.payloads if "partNumber=" in path]
        assert len(signed) > 1
        assert "UNSIGNED-PAYLOAD" not in signed


@pytest.mark.parametrize("which", ["partNumber=2", ".pgcopy.idx"])
def test_what_is_altered_on_its_way_up_makes_no_set(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, small_parts: None, which: str
) -> None:
    house.database.run(WIDE.replace("{rows}", "8000"))
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url, tables="wide")
        relay.begin(lambda number, method, path: "altered" if method == "PUT" and which in path else None)
        with pytest.raises(StorageFault, match="not what was sent"):
            house.backup(file_format="binary")
    assert [name for name in bucket.names() if not name.endswith(".txt")] == []


def test_an_altered_object_is_found_before_the_truncate(house: House, bucket: Bucket) -> None:
    house.langchain()
    house.configure(backup_root=bucket.url)
    result = house.backup()
    name = str(result.tables["langchain_pg_embedding"].file)
    bucket.put(name, bucket.get(name).replace(b"id-1", b"id-2", 1))
    with pytest.raises(IntegrityFault, match="SHA-256"):
        house.truncate(result)
    assert house.count("langchain_pg_embedding") == 58


def test_names_that_no_url_would_take_are_kept(house: House, bucket: Bucket) -> None:
    house.database.run('CREATE TABLE "文档 %20 a+b?#" (id int PRIMARY KEY, embedding vector(2))')
    house.database.run("""INSERT INTO "文档 %20 a+b?#" VALUES (1, '[1,2]')""")
    house.configure(backup_root=bucket.url, tables='"文档 %20 a+b?#"')
    result = house.backup()
    whole(bucket, result)
    assert house.verify(depth="rows").failure is None


def test_a_drill_reads_a_set_out_of_the_bucket(house: House, bucket: Bucket) -> None:
    house.langchain()
    house.configure(backup_root=bucket.url)
    house.backup()
    assert house.verify(depth="drill").failure is None


def test_a_task_directory_is_what_something_lies_below(house: House, bucket: Bucket) -> None:
    house.langchain()
    house.configure(backup_root=bucket.url)
    with pytest.raises(NotFound, match="指定的任务目录不存在: task_1"):
        house.backup(task_id="task_1")
    bucket.put("", b"", prefix="sets/task_1/")  # as a console makes a directory
    assert house.backup(task_id="task_1").directory == f"{bucket.url}/task_1/vector_bak"
    assert [place.relative_path for place in locate_all(bucket.url, "vector_bak")] == ["task_1/vector_bak"]


def test_looking_makes_nothing(house: House, bucket: Bucket) -> None:
    assert locate_all(bucket.url, "vector_bak") == []
    location = locate(bucket.url, None, "vector_bak")
    assert location.entries() == []
    assert location.sweep() == []
    with pytest.raises(NotFound):
        location.open("manifest_1.json")
    assert bucket.names("") == []


@pytest.mark.parametrize(
    ("kind", "odd", "where"),
    [
        ("seaweed", "new\nline", "sets/vector_bak/"),
        ("moto", "a//b", "sets/vector_bak/"),
        ("moto", "..", "sets/"),
        ("moto", "/x", "sets/task_1/vector_bak/"),
    ],
)
def test_a_key_that_nobody_should_make_is_in_nobodys_way(
    house: House, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, odd: str, where: str
) -> None:
    bucket = fresh_bucket(request.getfixturevalue(kind), monkeypatch)
    for key in (odd, "plain key+100%é.txt", "deeper/key"):
        bucket.put(key, b"x", prefix=where)
    house.langchain(3)
    house.configure(backup_root=bucket.url)
    result = house.backup()
    assert result.failure is None
    assert house.backup(task_id="task_1", now=NOW).failure is None if "task_1" in where else True
    found = {place.location.relative_path: place.sets for place in Catalog(house.settings).locations()}
    assert [one.fault for one in found["vector_bak"]] == [None]
    assert len(found) == (2 if "task_1" in where else 1)
    assert house.verify(backup_path="vector_bak", timestamp=result.backup_id, depth="files").failure is None
    remove(locate(bucket.url, None, "vector_bak"), found["vector_bak"][0])
    assert bucket.get("plain key+100%é.txt", prefix=where) == b"x"


REFUSALS = {
    "clock": ((403, "RequestTimeTooSkewed", "too large"), "this machine's clock is not the store's"),
    "region": ((400, "AuthorizationHeaderMalformed", "expecting 'eu-central-1'"), "in another region"),
    "redirect": ((301, "PermanentRedirect", "use the specified endpoint"), "in another region"),
    "full": ((403, "QuotaExceeded", "exhausted"), "takes no more"),
    "nameless": ((502, "", "<html>bad gateway</html>"), "502"),
}


@pytest.mark.parametrize("kind", list(REFUSALS))
def test_a_refusal_says_what_to_do(house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    answer, word = REFUSALS[kind]
    monkeypatch.setitem(ANSWERS, kind, answer)
    monkeypatch.setitem(bucket_module._RETRY, "max_retries", 1)  # type: ignore[arg-type]
    house.langchain(3)
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url)
        relay.begin(lambda number, method, path: kind if method == "PUT" else None)
        with pytest.raises(StorageFault, match=word):
            house.backup()
        relay.begin(lambda number, method, path: kind)
        with pytest.raises(StorageFault, match=word):
            Catalog(house.settings).locations()
    assert bucket.names() == []


def test_objects_are_removed_one_by_one_where_the_store_knows_no_other_way(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "501", (501, "NotImplemented", "not here"))
    house.langchain(3)
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url)
        relay.begin(lambda number, method, path: "501" if "?delete" in path else None)
        whole(bucket, house.backup())
        (place,) = Catalog(house.settings).locations()
        remove(place.location, place.sets[0])
    assert bucket.names() == []


@pytest.mark.parametrize("each", [False, True])
def test_what_may_not_be_removed_is_said_so(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, each: bool
) -> None:
    refused = b"<DeleteResult><Error><Key>%s</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    forward = Relay.forward

    def some(self: Relay, handler: Any, body: bytes) -> Any:
        if "?delete" not in handler.path:
            return forward(self, handler, body)
        key = body.split(b"<Key>")[1].split(b"</Key>")[0]
        return 200, [("Content-Type", "application/xml")], refused % key

    house.langchain(3)
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url)
        house.backup()
        (place,) = Catalog(house.settings).locations()
        if each:
            monkeypatch.setattr(Relay, "forward", some)
        else:
            relay.begin(lambda number, method, path: "403" if "?delete" in path else None)
        with pytest.raises(StorageFault, match="refuses the credentials"):
            remove(place.location, place.sets[0])


def test_where_nothing_may_be_read_no_set_is_called_damaged(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain(3)
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url)
        house.backup()
        relay.begin(lambda number, method, path: "403" if method == "GET" and "?" not in path else None)
        with pytest.raises(StorageFault, match="refuses the credentials"):
            house.restore(on_conflict="skip")


def test_a_list_asks_for_many_tasks_at_once_and_once_each(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.langchain(3)
    house.configure(backup_root=bucket.url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bucket.put("x", b"", prefix=f"sets/task_{number}/"), range(40)))
    house.backup(task_id="task_7")
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        catalog = Catalog(house.settings)
        relay.begin(lambda number, method, path: "slow")
        started = time.monotonic()
        (place,) = catalog.locations()
        assert place.location.task_id == "task_7"
        assert time.monotonic() - started < 15 * SLOW  # 42 lists and a manifest
        assert len(relay.seen) < 50


@pytest.mark.parametrize("url", ["s3:/backups/sets", "S3:backups", "gs:/b", "abfss:/c"])
def test_a_url_with_a_slash_too_few_is_no_directory(house: House, url: str) -> None:
    house.langchain(3)
    house.configure(backup_root=url, create_root=True)
    for attempt in (house.backup, Catalog(house.settings).locations):
        with pytest.raises(InvalidParams, match="two slashes"):
            attempt()


def test_a_bucket_that_is_not_there_is_said_to_be_so(house: House, bucket: Bucket) -> None:
    house.configure(backup_root="s3://bucket-of-nobody/sets")
    with pytest.raises(StorageFault, match="there is no bucket 'bucket-of-nobody'; make it"):
        Catalog(house.settings).locations()


def test_credentials_that_are_refused_are_named_and_not_shown(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    house.langchain()
    house.configure(backup_root=bucket.url)
    with pytest.raises(StorageFault, match="the store refuses the credentials") as caught:
        house.backup()
    assert "wrong-and-secret" not in str(caught.value)


def test_credentials_that_run_out_are_asked_for_again(house: House, bucket: Bucket) -> None:
    given: list[datetime] = []
    keys = {"access_key_id": bucket.server.access_key, "secret_access_key": bucket.server.secret_key, "token": None}

    def credentials() -> Mapping[str, Any]:
        given.append(datetime.now(timezone.utc))
        return {**keys, "expires_at": given[-1]}  # good for this one request

    def options() -> StorageOptions:
        return StorageOptions(endpoint=bucket.server.endpoint, region="us-east-1", credentials=credentials)

    house.langchain()
    house.configure(backup_root=RemoteRoot(bucket.url, "renewed", options))
    result = house.backup()
    assert result.failure is None
    assert len(given) > 10
    whole(bucket, result)


def test_twenty_runs_at_once_lose_no_section_of_the_log(any_bucket: AnyBucket) -> None:
    location = locate(any_bucket.url, None, "vector_bak")
    number = 20 if location.store.is_conditional() else 5  # type: ignore[attr-defined]
    sections = [f"==== {one}\n" + f"{one}\n" * 50 for one in range(number)]
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(location.append_log, sections))
    text = any_bucket.get("vector_backup_log.txt").decode()
    assert sorted(f"==== {part}" for part in text.split("==== ")[1:]) == sorted(sections)
    assert any_bucket.names() == ["vector_backup_log.txt"]


def test_a_set_that_is_read_cannot_be_removed_and_the_other_way_round(
    house: House, any_bucket: Bucket | Container
) -> None:
    house.langchain()
    house.configure(backup_root=any_bucket.url)
    manifest = str(house.backup().manifest_file)
    before = any_bucket.names()
    location = locate(any_bucket.url, None, "vector_bak")
    with location.shared_lock(manifest), location.shared_lock(manifest), pytest.raises(Conflict, match="is reading it"):
        location.exclusive_lock(manifest).__enter__()
    with location.exclusive_lock(manifest), pytest.raises(Conflict, match="being removed"):
        location.shared_lock(manifest).__enter__()
    assert any_bucket.names() == before


def test_a_store_without_conditional_writes_takes_one_run_at_a_time(
    house: House, rclone: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = fresh_bucket(rclone, monkeypatch)
    house.langchain()
    house.configure(backup_root=bucket.url)
    first = locate(bucket.url, None, "vector_bak").claim(NOW, FORMAT)
    with pytest.raises(Conflict, match="another backup is at work there") as refused:
        house.backup(now=NOW + timedelta(hours=1))
    assert refused.value.can_retry  # it may have been killed, which shows in minutes
    first.discard()
    assert house.backup(now=NOW).failure is None


def test_encryption_and_storage_class_are_asked_for(house: House, moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = fresh_bucket(moto, monkeypatch)
    house.langchain()
    house.configure(backup_root=RemoteRoot(bucket.url, encryption="AES256", storage_class="STANDARD_IA"))
    result = house.backup()
    assert result.failure is None
    told = {
        name: moto.client().head_object(Bucket=bucket.name, Key=f"sets/vector_bak/{name}") for name in bucket.names()
    }
    assert {one["ServerSideEncryption"] for one in told.values()} == {"AES256"}
    cold = {name for name, one in told.items() if one.get("StorageClass") == "STANDARD_IA"}
    assert cold == set(told) - {str(result.manifest_file)}  # small objects that are asked for often are no archive


@pytest.mark.parametrize("expected", [None, 0, 1, 10**9, 4 * 10**10, 10**12, 5 * 10**12, 40 * 10**12])
def test_parts_suffice_with_room(expected: int | None) -> None:
    size = part_bytes(expected)
    assert 5 * MEBIBYTE <= size <= 5 * 1024 * MEBIBYTE * 2
    assert size % MEBIBYTE == 0
    assert size * 10_000 >= 2 * (expected or 0)


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few objects are a long list; the store's own pages stay what they are."""
    monkeypatch.setattr(object_listing, "_PAGE", 10)
    monkeypatch.setattr(object_listing, "_WORTH_IT", 20)


def test_a_long_list_is_the_next_time_asked_for_by_all_its_parts_at_once(
    request: pytest.FixtureRequest, any_bucket: AnyBucket, short_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = locate(any_bucket.url, None, "vector_bak").store
    keys = [f"t{number:03}_é" for number in range(45)]
    for key in keys:
        store.put(key, b"x")
    asked: list[Any] = []
    listed, by_delimiter = obstore.list, obstore.list_with_delimiter

    def watched(handle: Any, prefix: str, **options: Any) -> Any:
        asked.append(options["offset"])
        return listed(handle, prefix, **options)

    def whole(handle: Any, prefix: str) -> Any:
        asked.append("whole")
        return by_delimiter(handle, prefix)

    monkeypatch.setattr(object_listing.obstore, "list", watched)
    monkeypatch.setattr(object_listing.obstore, "list_with_delimiter", whole)

    def names() -> list[str]:
        asked.clear()
        return sorted(entry.name for entry in store.entries())

    assert names() == keys
    assert asked == ["whole"]
    assert names() == keys
    if request.node.callspec.params["any_bucket"] in ("seaweed", "moto"):
        assert sorted(asked, key=str) == sorted([None, *(f"sets/vector_bak/{key}" for key in keys[9::10])], key=str)
    # What comes and goes at a cut, before, behind and between them.
    for key in (keys[0], keys[9], keys[10], keys[44]):
        store.delete(key)
    for key in ("a", "t005_", "zz"):
        store.put(key, b"x")
    assert names() == sorted({*keys, "a", "t005_", "zz"} - {keys[0], keys[9], keys[10], keys[44]})
    # What lies deeper does not lie here.
    store.below("t003_deeper").put("inside", b"x")
    for _ in range(2):
        assert len(names()) == 44
    assert store.directories() == ["t003_deeper"]
    for entry in store.entries():
        store.delete(entry.name)
    assert names() == []


def test_a_list_asks_for_manifests_many_at_once_and_for_nothing_twice(
    house: House, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house.langchain(3)
    made = house.backup(now=NOW)
    assert made.backup_id is not None
    directory = Path(made.directory)
    multiply(directory, made.backup_id, days_before(NOW - timedelta(days=1), 149))
    client = bucket.server.client()
    with ThreadPoolExecutor(8) as pool:
        key = "sets/vector_bak/"
        list(pool.map(lambda file: client.upload_file(str(file), bucket.name, key + file.name), directory.iterdir()))
    with Relay(bucket.server.endpoint) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        house.configure(backup_root=bucket.url)
        catalog = Catalog(house.settings)
        relay.begin(lambda number, method, path: "slow" if "manifest_" in path else None)
        started = time.monotonic()
        (place,) = catalog.locations()
        taken = time.monotonic() - started
        asked = [line for line in relay.seen if "?" not in line]
        assert len(place.sets) == 150
        assert all(one.whole for one in place.sets)
        assert len(asked) == 150
        assert all("/manifest_" in line for line in asked)
        assert taken < 150 * SLOW / 3  # one after the other, they could not be faster than that
        relay.begin(lambda number, method, path: None)
        (again,) = catalog.locations()
        assert again is place
        assert [line for line in relay.seen if "?" not in line] == []
