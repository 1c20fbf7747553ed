"""A manifest comes back as it was written, and one that was not written by us is refused: a test per kind of damage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec.compression import Compression
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Column, Constraint, Index, Table
from pgvector_backup.engine.postgres.transactions import TransactionIds
from pgvector_backup.engine.sets.blocks import FileFacts
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry


def make() -> Manifest:
    """A manifest in which every kind of field has something to say."""
    table = Table(
        name=TableName("rag", "t"),
        oid=1,
        schema="rag",
        table="t",
        kind="table",
        columns=(
            Column("v", "vector(3)", 3, True, None, False, None),
            Column("文", "text", None, False, "''", False, None),
        ),
        primary_key=("v",),
        constraints=(Constraint("t_pkey", "primary key", "PRIMARY KEY (v)"),),
        indexes=(Index("t_pkey", "btree", "CREATE UNIQUE INDEX …", "t_pkey"),),
        heaps=(),
        relations=(1,),
        planned_rows=None,
    )
    facts = FileFacts(
        name="rag.t_1.csv",
        rows=3,
        bytes=30,
        raw_bytes=30,
        sha256="0" * 64,
        fingerprint="0" * 32,
        index="rag.t_1.csv.idx",
        index_sha256="1" * 64,
    )
    return Manifest(
        backup_id="1",
        created_at="2025-07-21T23:49:14+08:00",
        task_id=None,
        run_id="manual__1",
        source=Source("18.0", 180000, "0.8.1", "db", 5, "7", 1),
        snapshot=TransactionIds(700, 710),
        tables=(TableEntry.of(table, facts, FileKind(FORMATS["csv"], Compression("none")), [703]),),
        failed_tables={"other": "table other does not exist"},
        fingerprint_algorithm="sha256-sum128",
    )


@pytest.fixture
def manifest() -> Manifest:
    return make()


def resealed(body: dict[str, Any]) -> bytes:
    """A manifest with the checksum that its content would have: what somebody could forge."""
    body = {key: value for key, value in body.items() if key != "manifest_sha256"}
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()
    return json.dumps(body | {"manifest_sha256": checksum}).encode()


def body_of(manifest: Manifest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(manifest.to_bytes())
    return body


def refused(content: bytes) -> str:
    with pytest.raises(IntegrityFault) as caught:
        Manifest.from_bytes(content)
    assert caught.value.error_type == "INTEGRITY_ERROR"
    assert caught.value.can_retry is False
    return caught.value.message


def test_it_comes_back_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(8999, 12, 31), timezones=st.timezones()).map(datetime.isoformat),
    st.none() | st.text(st.characters(exclude_categories=("Cs",))),
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",))), st.text(st.characters(exclude_categories=("Cs",)))
    ),
    st.integers(0, 1 << 63),
)
def test_it_comes_back_whatever_it_holds(
    created_at: str, run_id: str | None, failed: dict[str, str], xmin: int
) -> None:
    manifest = dataclasses.replace(
        make(), created_at=created_at, run_id=run_id, failed_tables=failed, snapshot=TransactionIds(xmin, xmin + 1)
    )
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_its_spacing_is_nobodys_concern(manifest: Manifest) -> None:
    assert Manifest.from_bytes(json.dumps(body_of(manifest), sort_keys=True).encode()) == manifest


def test_an_empty_file(manifest: Manifest) -> None:
    assert "damaged" in refused(b"")


def test_one_that_ends_anywhere_before_its_end(manifest: Manifest) -> None:
    content = manifest.to_bytes().rstrip()
    for end in range(0, len(content), 7):
        refused(content[:end])


def test_any_one_byte_changed(manifest: Manifest) -> None:
    content = manifest.to_bytes()
    for at in range(0, len(content), 3):
        altered = bytearray(content)
        altered[at] ^= 0x01
        if altered[at : at + 1].isspace() or content[at : at + 1].isspace():
            continue
        refused(bytes(altered))


def test_bytes_behind_its_end(manifest: Manifest) -> None:
    refused(manifest.to_bytes() + b"{}")


def test_binary_rubbish() -> None:
    refused(bytes(range(256)))


def test_another_json_document() -> None:
    for content in (b"[]", b"null", b"1", b'"text"', b"{}", b'{"tables": []}', b'{"manifest_sha256": "x"}'):
        assert "damaged" in refused(content)


def test_a_depth_that_no_reader_stands() -> None:
    refused(b"[" * 200_000)


def test_a_number_that_no_reader_stands() -> None:
    refused(b'{"manifest_sha256": ' + b"9" * 10_000 + b"}")


def test_a_checksum_that_is_missing(manifest: Manifest) -> None:
    body = body_of(manifest)
    del body["manifest_sha256"]
    refused(json.dumps(body).encode())


def test_a_checksum_of_another_type(manifest: Manifest) -> None:
    refused(json.dumps(body_of(manifest) | {"manifest_sha256": None}).encode())


def test_one_field_altered(manifest: Manifest) -> None:
    body = body_of(manifest)
    body["tables"][0]["rows"] += 1
    assert "altered" in refused(json.dumps(body).encode())


def test_a_table_taken_out(manifest: Manifest) -> None:
    assert "altered" in refused(json.dumps(body_of(manifest) | {"tables": []}).encode())


def test_a_lone_surrogate(manifest: Manifest) -> None:
    refused(json.dumps(body_of(manifest) | {"run_id": "\ud800"}).encode())
    refused(resealed(body_of(manifest) | {"run_id": "\ud800"}))


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, 1.5, [1]])
def test_another_format_version(manifest: Manifest, version: object) -> None:
    assert "format version" in refused(resealed(body_of(manifest) | {"format_version": version}))


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field missing": lambda body: body.pop("source"),
    "no tables": lambda body: body.pop("tables"),
    "tables that are a number": lambda body: body.update(tables=5),
    "a table that is a list": lambda body: body.update(tables=[[1]]),
    "a table without a file": lambda body: body["tables"][0].pop("file"),
    "a table with a field more": lambda body: body["tables"][0].update(surprise=1),
    "a source with a field more": lambda body: body["source"].update(surprise=1),
    "a snapshot that is null": lambda body: body.update(snapshot=None),
    "a column that is text": lambda body: body["tables"][0].update(columns=["x"]),
    "a file that climbs": lambda body: body["tables"][0].update(file="../../etc/passwd"),
    "an absolute file": lambda body: body["tables"][0].update(file="/etc/passwd"),
    "a file with a backslash": lambda body: body["tables"][0].update(file="..\\x"),
    "a file with a NUL": lambda body: body["tables"][0].update(file="a\0b"),
    "the directory itself": lambda body: body["tables"][0].update(file="."),
    "a file that is a number": lambda body: body["tables"][0].update(file=5),
    "an index that climbs": lambda body: body["tables"][0].update(index="../x"),
    "a file that is null": lambda body: body["tables"][0].update(file=None),
    "rows that are text": lambda body: body["tables"][0].update(rows="5"),
    "bytes that are null": lambda body: body["tables"][0].update(bytes=None),
    "rows below zero": lambda body: body["tables"][0].update(rows=-1),
    "a snapshot of text": lambda body: body.update(snapshot={"xmin": "1", "xmax": "2"}),
    "late transactions of text": lambda body: body["tables"][0].update(late_transactions=["1"]),
    "late transactions that are a number": lambda body: body["tables"][0].update(late_transactions=1),
    "a fingerprint algorithm that is a number": lambda body: body.update(fingerprint_algorithm=1),
    "failed tables in a list": lambda body: body.update(failed_tables=["t"]),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forgery_with_a_checksum_that_matches(manifest: Manifest, kind: str) -> None:
    body = body_of(manifest)
    FORGERIES[kind](body)
    refused(resealed(body))


def test_no_host_and_no_user_has_a_place_in_it(manifest: Manifest) -> None:
    assert set(body_of(manifest)["source"]) <= {
        "server_version",
        "server_version_num",
        "pgvector_version",
        "database",
        "database_oid",
        "system_identifier",
        "timeline",
        "pgvector_schema",
        "standby",
    }


def test_fields_of_a_later_revision_are_left_alone(manifest: Manifest) -> None:
    body = body_of(manifest)
    body["format_revision"] += 1
    body["tables"][0]["surprise"] = {"of": "tomorrow"}
    body["tables"][0]["columns"][0]["surprise"] = 1
    body["tables"][0]["properties"]["surprise"] = []
    body["source"]["surprise"] = None
    assert Manifest.from_bytes(resealed(body)) == manifest


def test_a_manifest_of_the_first_release_has_fewer_fields(manifest: Manifest) -> None:
    body = body_of(manifest)
    del body["format_revision"]
    for name in ("properties", "sequences"):
        del body["tables"][0][name]
    for column in body["tables"][0]["columns"]:
        for name in set(column) - {"name", "type", "dimensions", "not_null", "default", "generated", "identity"}:
            del column[name]
    entry = Manifest.from_bytes(resealed(body)).tables[0]
    assert (entry.properties, entry.sequences) == (None, ())
    assert entry.columns == manifest.tables[0].columns


@pytest.mark.parametrize(
    "change",
    [
        {"sequences": [{"name": "s"}]},
        {"properties": {"unlogged": "yes"}},
        {"properties": {"parents": [["only a schema"]]}},
        {"properties": {"options": "fillfactor=70"}},
        {"indexes": [{"name": 1, "method": "hnsw", "definition": "", "constraint": None}]},
        {"columns": [{"name": "v", "type": "vector(3)", "dimensions": "3"}]},
    ],
)
def test_a_value_of_another_type_is_refused(manifest: Manifest, change: dict[str, Any]) -> None:
    body = body_of(manifest)
    body["tables"][0].update(change)
    refused(resealed(body))
