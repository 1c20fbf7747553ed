"""Whatever is wrong with a set, a request or a target: the error says what, and the tables are as they were."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import (
    BackupError,
    Cancelled,
    Conflict,
    DatabaseFault,
    IntegrityFault,
    InvalidParams,
    MissingParams,
    NotFound,
)
from pgvector_backup.engine.contract.requests import RestoreRequest
from tests.helpers.database import Database, contents, definitions
from tests.helpers.forging import seal
from tests.helpers.hooks import EVERYBODY, terminate
from tests.helpers.house import House
from tests.helpers.langchain import PAIR
from tests.helpers.meeting import at_statement

EMBEDDING = "langchain_pg_embedding"


@pytest.fixture
def backed_up(house: House) -> House:
    """LangChain's pair with a set of it, after which one row was changed."""
    house.langchain()
    house.backup(now=datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc))
    house.database.run("UPDATE langchain_pg_embedding SET document = 'since' WHERE id = 'id-3'")
    return house


def refused(house: House, kind: type[BackupError], *words: str, **request: Any) -> str:
    """A restore that fails, names these words, and leaves everything as it was."""
    into: Database = request.get("into") or house.database
    before = (contents(into, *PAIR), definitions(into)) if into is house.database else definitions(into)
    with pytest.raises(kind) as caught:
        house.restore(**({"truncate_before_restore": True} | request))
    assert type(caught.value) is kind
    message = caught.value.message
    for word in words:
        assert word in message
    assert before == ((contents(into, *PAIR), definitions(into)) if into is house.database else definitions(into)), (
        "something was changed"
    )
    return message


def file_of(house: House, suffix: str, table: str = EMBEDDING) -> Path:
    return house.directory / f"{table}_20250721_234914.{suffix}"


def manifest_of(house: House) -> Path:
    return house.directory / "manifest_20250721_234914.json"


def rewrite(house: House, change: Callable[[dict[str, Any]], None]) -> None:
    """Alter the manifest, and its own checksum to match: as somebody would who means it."""
    body = json.loads(manifest_of(house).read_bytes())
    change(body)
    seal(manifest_of(house), body)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x01
    path.write_bytes(content)


# --- the set ---


def test_a_byte_flipped_in_each_file(backed_up: House) -> None:
    for path in sorted(backed_up.directory.iterdir()):
        kept = path.read_bytes()
        for at in (0, len(kept) // 2, len(kept) - 1):
            if path == manifest_of(backed_up) and at == len(kept) - 1:
                continue  # the line end: a manifest may be spaced otherwise
            flip(path, at)
            refused(backed_up, IntegrityFault, path.name, timestamp="20250721_234914")
            path.write_bytes(kept)


@pytest.mark.parametrize("suffix", ["csv", "csv.idx"])
def test_truncated(backed_up: House, suffix: str) -> None:
    path = file_of(backed_up, suffix)
    path.write_bytes(path.read_bytes()[:-1])
    refused(backed_up, IntegrityFault, path.name, timestamp="20250721_234914")


@pytest.mark.parametrize("suffix", ["csv", "csv.idx"])
def test_extra_bytes(backed_up: House, suffix: str) -> None:
    path = file_of(backed_up, suffix)
    path.write_bytes(path.read_bytes() + b"x")
    refused(backed_up, IntegrityFault, path.name, timestamp="20250721_234914")


@pytest.mark.parametrize("suffix", ["csv", "csv.idx"])
def test_missing(backed_up: House, suffix: str) -> None:
    file_of(backed_up, suffix).unlink()
    refused(backed_up, IntegrityFault, file_of(backed_up, suffix).name, timestamp="20250721_234914")


def test_empty(backed_up: House) -> None:
    file_of(backed_up, "csv").write_bytes(b"")
    refused(backed_up, IntegrityFault, "0 bytes", timestamp="20250721_234914")


def test_two_files_swapped(backed_up: House) -> None:
    one, other = file_of(backed_up, "csv"), file_of(backed_up, "csv", PAIR[0])
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    refused(backed_up, IntegrityFault, other.name, "bytes on disk", timestamp="20250721_234914")


def test_the_file_of_an_earlier_set_in_its_place(backed_up: House) -> None:
    backed_up.backup(now=datetime(2025, 7, 22, tzinfo=timezone.utc))
    later = backed_up.directory / f"{EMBEDDING}_20250722_000000.csv"
    shutil.copy(later, file_of(backed_up, "csv"))
    refused(backed_up, IntegrityFault, file_of(backed_up, "csv").name, timestamp="20250721_234914")


def test_the_index_of_another_file(backed_up: House) -> None:
    shutil.copy(file_of(backed_up, "csv.idx", PAIR[0]), file_of(backed_up, "csv.idx"))
    refused(backed_up, IntegrityFault, file_of(backed_up, "csv.idx").name)


def test_a_file_that_is_a_link(backed_up: House, tmp_path: Path) -> None:
    path = file_of(backed_up, "csv")
    shutil.move(path, tmp_path / "elsewhere.csv")
    path.symlink_to(tmp_path / "elsewhere.csv")
    refused(backed_up, IntegrityFault, "not a regular file", timestamp="20250721_234914")


def test_altered_manifest(backed_up: House) -> None:
    text = manifest_of(backed_up).read_text()
    manifest_of(backed_up).write_text(text.replace('"rows": 58', '"rows": 57'))
    refused(backed_up, IntegrityFault, "altered", timestamp="20250721_234914")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000], ids=range(6))
def test_a_manifest_that_is_none(backed_up: House, content: bytes) -> None:
    manifest_of(backed_up).write_bytes(content)
    refused(backed_up, IntegrityFault, "the manifest is damaged", timestamp="20250721_234914")


def test_a_manifest_of_a_later_version(backed_up: House) -> None:
    rewrite(backed_up, lambda body: body.update(format_version=99))
    refused(backed_up, IntegrityFault, "format version 99", timestamp="20250721_234914")


def test_the_manifest_of_another_set(backed_up: House) -> None:
    rewrite(backed_up, lambda body: body.update(backup_id="20250721_234915"))
    refused(backed_up, IntegrityFault, "20250721_234915", timestamp="20250721_234914")


@pytest.mark.parametrize("key", ["file", "index"])
@pytest.mark.parametrize("name", ["../precious.csv", "/etc/passwd", "..", "", "a/b", "a\\b", "a\0b"], ids=repr)
def test_a_manifest_that_names_paths_outside(backed_up: House, key: str, name: str) -> None:
    (backed_up.root / "precious.csv").write_text("id\n")
    rewrite(backed_up, lambda body: body["tables"][1].update({key: name}))
    refused(backed_up, IntegrityFault, "not a bare file name", timestamp="20250721_234914")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rows": 57}, "it lists 58 rows, the manifest 57"),
        ({"raw_bytes": 1}, "bytes unpacked, the manifest 1"),
        ({"fingerprint": "0" * 32}, "the fingerprint of its rows is not the manifest's"),
        ({"format": "parquet"}, "is 'parquet' and 'none', which nobody here reads"),
        ({"compression": "lz4"}, "is 'csv' and 'lz4', which nobody here reads"),
        ({"compression": "gzip"}, "does not unpack"),
    ],
    ids=str,
)
def test_a_manifest_that_tells_another_story(backed_up: House, change: dict[str, Any], word: str) -> None:
    rewrite(backed_up, lambda body: body["tables"][1].update(change))
    refused(backed_up, IntegrityFault, word, timestamp="20250721_234914")


def test_a_manifest_whose_columns_are_in_another_order(backed_up: House) -> None:
    rewrite(backed_up, lambda body: body["tables"][1]["columns"].reverse())
    refused(backed_up, IntegrityFault, "its header does not name the table's columns", timestamp="20250721_234914")


def test_index_and_manifest_that_lie_together(backed_up: House) -> None:
    """Every checksum matches, and yet the index lists other rows than the file has."""
    import hashlib

    path = file_of(backed_up, "csv.idx")
    content = bytearray(path.read_bytes())
    (rows,) = struct.unpack_from("<I", content, 8 + 16 + 8)
    assert rows == 58
    struct.pack_into("<I", content, 8 + 16 + 8, 57)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    rewrite(backed_up, lambda body: body["tables"][1].update(rows=57, index_sha256=digest))
    refused(backed_up, IntegrityFault, "58 rows", "57", timestamp="20250721_234914")


def test_definitions_cannot_smuggle_a_second_statement(backed_up: House, elsewhere: Database) -> None:
    elsewhere.run("CREATE TABLE precious (id int)")
    for place, text, why in (
        (
            "indexes",
            "CREATE INDEX ix_cmetadata_gin ON public.langchain_pg_embedding USING gin (cmetadata); DROP TABLE precious",
            "not one that a server prints",
        ),
        ("indexes", "DROP TABLE precious", "not one that a server prints"),
        (
            "constraints",
            "FOREIGN KEY (collection_id) REFERENCES langchain_pg_collection(uuid); DROP TABLE precious",
            "not one that a server prints",
        ),
        ("constraints", "PRIMARY KEY (id); DROP TABLE precious", "not one that a server prints"),
        (
            "constraints",
            "UNIQUE (id)",
            "langchain_pg_embedding_pkey: the manifest's definition is not one that a server prints",
        ),
    ):
        kept = manifest_of(backed_up).read_bytes()

        def change(body: dict[str, Any], place: str = place, text: str = text) -> None:
            one = body["tables"][1]
            kind = "foreign key" if "FOREIGN" in text else "primary key"
            found = next(c for c in one[place] if (place == "indexes" and not c["constraint"]) or c.get("type") == kind)
            found["definition"] = text

        rewrite(backed_up, change)
        with pytest.raises(IntegrityFault, match=why):
            backed_up.restore(into=elsewhere)
        assert elsewhere.run("SELECT to_regclass('precious') IS NOT NULL, to_regclass('langchain_pg_embedding')") == [
            (True, None)
        ]
        manifest_of(backed_up).write_bytes(kept)


@pytest.mark.parametrize(
    ("change", "kind", "why"),
    [
        ({"type": "int); DROP TABLE precious; --"}, IntegrityFault, "not one that a server prints"),
        ({"type": "no_such_type"}, NotFound, "column id is of type no_such_type, which this database does not have"),
        ({"default": "1); DROP TABLE precious; --"}, IntegrityFault, "not one that a server prints"),
        (
            {"name": 'x"); DROP TABLE precious; --'},
            IntegrityFault,
            "its primary key is of columns that it does not have",
        ),
    ],
    ids=str,
)
def test_columns_cannot_smuggle_anything(
    backed_up: House, elsewhere: Database, change: dict[str, str], kind: type[BackupError], why: str
) -> None:
    elsewhere.run("CREATE TABLE precious (id int)")
    rewrite(backed_up, lambda body: body["tables"][1]["columns"][0].update(change))
    with pytest.raises(kind, match=why):
        backed_up.restore(into=elsewhere, timestamp="20250721_234914")
    assert elsewhere.run("SELECT to_regclass('precious') IS NOT NULL") == [(True,)]


def test_a_set_that_is_being_removed(backed_up: House) -> None:
    from pgvector_backup.engine.store.root import locate

    with locate(backed_up.root, None, "vector_bak").exclusive_lock(manifest_of(backed_up).name):
        refused(backed_up, Conflict, "in use")


# --- the request ---


@pytest.mark.parametrize(
    ("request_", "kind", "word"),
    [
        ({"timestamp": "20200101_000000"}, NotFound, "20250721_234914"),
        ({"tables": ["nothing"]}, NotFound, EMBEDDING),
        ({"backup_path": "../vector_bak"}, InvalidParams, "backup_path"),
        ({"backup_path": "/etc"}, InvalidParams, "backup_path"),
        ({"backup_path": "task_x/vector_bak"}, NotFound, "task_x"),
        ({"task_id": "task_x"}, NotFound, "task_x"),
        ({"task_id": "../x"}, InvalidParams, "task_id"),
        ({"collections": ["nobody's"]}, NotFound, "collection 1"),
        ({"rename_collection": {"nobody's": "x"}}, NotFound, "collection 1"),
        (
            {
                "collections": ["collection 1", "collection 2"],
                "rename_collection": {"collection 1": "collection 2"},
            },
            InvalidParams,
            "collection 2",
        ),
    ],
    ids=str,
)
def test_what_is_not_there(backed_up: House, request_: dict[str, Any], kind: type[BackupError], word: str) -> None:
    refused(backed_up, kind, word, **request_)


def test_a_request_that_does_not_say_which_set() -> None:
    with pytest.raises(MissingParams):
        RestoreRequest.from_mapping({"backup_path": "vector_bak"})


def test_an_unknown_key() -> None:
    with pytest.raises(InvalidParams, match="truncate_before"):
        RestoreRequest.from_mapping({"truncate_before": True})


# --- the target ---


ALTERED = {
    "other dimensions": ("ALTER COLUMN embedding TYPE vector(4) USING NULL", ("8 dimensions", "4 dimensions")),
    "another type": ("ALTER COLUMN embedding TYPE halfvec(8)", ("vector(8)", "halfvec(8)", "INSERT … SELECT")),
    "json for jsonb": ("ALTER COLUMN cmetadata TYPE json", ("jsonb", "json", "cmetadata")),
    "a renamed column": ("RENAME COLUMN document TO text", ("document", "it is now called text")),
    "a dropped column": ("DROP COLUMN document", ("document",)),
    "a column that must be filled": ("ADD COLUMN extra int NOT NULL", ("extra", "default")),
    "a column that is generated": (
        "DROP COLUMN document, ADD COLUMN document text GENERATED ALWAYS AS ('x') STORED",
        ("document", "generated"),
    ),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_columns_that_do_not_fit(backed_up: House, kind: str) -> None:
    change, words = ALTERED[kind]
    backed_up.database.run(
        f"TRUNCATE langchain_pg_embedding; DROP INDEX ix_cmetadata_gin;ALTER TABLE langchain_pg_embedding {change}"
    )
    refused(backed_up, Conflict, *words)


def test_rows_that_have_other_dimensions(house: House) -> None:
    house.database.run("CREATE TABLE t (v vector); INSERT INTO t VALUES ('[1,2]'), ('[1,2,3]')")
    house.configure(tables="t")
    house.backup()
    house.database.run("TRUNCATE t; ALTER TABLE t ALTER v TYPE vector(2)")
    with pytest.raises(Conflict, match="expected 2 dimensions, not 3"):
        house.restore()
    assert house.count("t") == 0


def test_a_key_that_is_there_already(backed_up: House) -> None:
    message = refused(
        backed_up, Conflict, "Key (id)=(id-", "on_conflict", truncate_before_restore=False, tables=[EMBEDDING]
    )
    assert re.search(r"Key \(id\)=\(id-\d+\) already exists", message)


def test_a_view_in_the_place_of_the_table(backed_up: House) -> None:
    backed_up.database.run(f"ALTER TABLE {EMBEDDING} RENAME TO other; CREATE VIEW {EMBEDDING} AS SELECT * FROM other")
    refused(backed_up, Conflict, "no rows can be restored", truncate_before_restore=False)


def test_a_missing_table_that_may_not_be_made(backed_up: House, elsewhere: Database) -> None:
    elsewhere.run("CREATE EXTENSION vector")
    refused(backed_up, NotFound, "create_missing", into=elsewhere, create_missing=False)


def test_a_foreign_key_from_outside_forbids_emptying(backed_up: House) -> None:
    backed_up.database.run(
        "CREATE TABLE outside (id varchar CONSTRAINT points_inside REFERENCES langchain_pg_embedding)"
    )
    refused(backed_up, Conflict, "points_inside", "outside")


def test_a_parent_that_is_not_there(backed_up: House) -> None:
    backed_up.database.run("TRUNCATE langchain_pg_collection CASCADE")
    refused(backed_up, Conflict, "collection_id", "restore the other table too", tables=[EMBEDDING])


def test_a_trigger_that_alters_rows(backed_up: House) -> None:
    backed_up.database.run(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.id = 'id-7' THEN NEW.document := 'meddled'; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER meddling BEFORE INSERT OR UPDATE ON langchain_pg_embedding"
        " FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    refused(backed_up, IntegrityFault, "trigger")
    backed_up.database.run("DELETE FROM langchain_pg_embedding WHERE id IN ('id-7', 'id-8')")
    for on_conflict in ("skip", "update"):
        refused(
            backed_up,
            IntegrityFault,
            "trigger",
            truncate_before_restore=False,
            on_conflict=on_conflict,
            tables=[EMBEDDING],
        )


def test_a_trigger_that_drops_rows(backed_up: House) -> None:
    backed_up.database.run(
        "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RETURN CASE WHEN NEW.id = 'id-7' THEN NULL ELSE NEW END; END$$;"
        "CREATE TRIGGER dropping BEFORE INSERT ON langchain_pg_embedding FOR EACH ROW EXECUTE FUNCTION drop_it()"
    )
    refused(backed_up, IntegrityFault, "trigger")


def test_a_row_that_breaks_a_check(backed_up: House) -> None:
    backed_up.database.run("ALTER TABLE langchain_pg_embedding ADD CONSTRAINT shorter CHECK (id <> 'id-9') NOT VALID")
    refused(backed_up, Conflict, "shorter")


def test_the_disk_of_the_server_is_full(backed_up: House) -> None:
    """The server's own code and words for it, in the middle of the rows."""
    backed_up.database.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id = 'id-40' THEN"
        " RAISE 'could not extend file \"base/5/16384\": No space left on device' USING ERRCODE = 'disk_full';"
        " END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER filling BEFORE INSERT ON langchain_pg_embedding FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    for request in ({}, {"truncate_before_restore": False, "on_conflict": "skip"}):
        backed_up.database.run("DELETE FROM langchain_pg_embedding WHERE id = 'id-40'")
        refused(backed_up, DatabaseFault, "server's disk is full", "could not extend file", **request)


@pytest.mark.parametrize(
    ("grants", "word"),
    [
        ("", "permission denied"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor", "permission denied"),
    ],
    ids=["none", "reading only"],
)
def test_no_right(backed_up: House, grants: str, word: str) -> None:
    backed_up.database.run(
        "DO $$BEGIN IF to_regrole('visitor') IS NULL THEN CREATE ROLE visitor LOGIN; END IF; END$$;" + grants
    )
    backed_up.connect = lambda: backed_up.database.connect("visitor")
    refused(backed_up, DatabaseFault, word)


def test_a_target_that_is_locked(backed_up: House) -> None:
    backed_up.configure(lock_timeout=0.3)
    with backed_up.database.connect() as holder:
        holder.execute(f"SELECT 1 FROM {EMBEDDING}")
        with pytest.raises(DatabaseFault, match="lock") as caught:
            backed_up.restore(truncate_before_restore=True)
    assert caught.value.can_retry


def test_the_server_is_not_there(backed_up: House) -> None:
    backed_up.connect = lambda: psycopg.connect("host=/nowhere dbname=x")
    with pytest.raises(DatabaseFault, match="数据库连接失败"):
        backed_up.restore()


def test_the_connection_is_cut_in_the_middle(backed_up: House) -> None:
    cut = at_statement(
        backed_up, "^COPY .*langchain_pg_embedding.* FROM STDIN", lambda: terminate(backed_up.database, EVERYBODY)
    )
    said = refused(backed_up, DatabaseFault, "connection")
    assert cut.is_set()
    # The server's word where it came in time, libpq's where it did not.
    words = ("terminating connection due to administrator command", "server closed the connection unexpectedly")
    assert [word in said for word in words].count(True) == 1, said


def test_the_connection_is_cut_on_the_way_to_the_commit(backed_up: House) -> None:
    at_statement(backed_up, "^COMMIT$", lambda: terminate(backed_up.database, EVERYBODY))
    with pytest.raises(DatabaseFault, match="as a whole, or not at all") as caught:
        backed_up.restore(truncate_before_restore=True)
    assert not caught.value.can_retry


def test_a_role_without_temporary_tables_leaves_the_reading_to_the_server(backed_up: House) -> None:
    database = backed_up.database
    database.run(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC")
    database.run("DO $$BEGIN IF to_regrole('loader') IS NULL THEN CREATE ROLE loader LOGIN; END IF; END$$")
    for table in PAIR:
        database.run(f"ALTER TABLE {table} OWNER TO loader")
    backed_up.connect = lambda: database.connect("loader")
    result = backed_up.restore(truncate_before_restore=True)
    assert result.tables[EMBEDDING].method == "csv"
    assert backed_up.count(EMBEDDING) == 58
    database.run("DELETE FROM langchain_pg_embedding WHERE id = 'id-1'")
    refused(backed_up, DatabaseFault, "TEMP", truncate_before_restore=False, on_conflict="skip")
    database.run("DROP OWNED BY loader")


def test_cancelled_in_the_middle(house: House) -> None:
    house.langchain(20_000)
    house.backup()
    before = contents(house.database, *PAIR)
    cancel = Cancel()
    seen = at_statement(house, "^COPY .*langchain_pg_embedding.* FROM STDIN", cancel.ask)
    with pytest.raises(Cancelled):
        house.restore(truncate_before_restore=True, cancel=cancel)
    assert seen.is_set()
    assert contents(house.database, *PAIR) == before
