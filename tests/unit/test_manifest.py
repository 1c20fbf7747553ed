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
from pgvector_backup.engine.postgres.lineage import KeyColumn
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


# --- what has the right shape and cannot be so: each claim that others build on, at its bound and one beyond ---

KEYS = {
    "file": "rag.t_1.keys.csv",
    "compression": "none",
    "rows": 3,
    "bytes": 9,
    "raw_bytes": 9,
    "sha256": "2" * 64,
    "index": "rag.t_1.keys.csv.idx",
    "index_sha256": "3" * 64,
    "deleted": 0,
    "lineage": {"oid": 1, "key": [{"name": "v", "kind": "text"}], "facts": [], "sendable": True},
}
LINK = {"backup_id": "0", "manifest_sha256": "4" * 64}


def increment() -> dict[str, Any]:
    """The body of a set that stands on another one."""
    body = body_of(make())
    body["tables"][0]["keys"] = json.loads(json.dumps(KEYS))
    body["tables"][0]["keys"]["lineage"]["key"] = [
        {field.name: {"name": "v", "kind": "text"}.get(field.name, "") for field in dataclasses.fields(KeyColumn)}
    ]
    return body | {"format_version": 2, "chain": [dict(LINK)], "script": "schema_1.sql", "script_sha256": "5" * 64}


def changed(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Puts a value where a dotted path ends; ``t`` is the only table."""
    *steps, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        at: Any = body
        for step in steps:
            at = at["tables"][0] if step == "t" else at[int(step) if step.isdigit() else step]
        at[int(last) if last.isdigit() else last] = value

    return change


def twice(path: str) -> Callable[[dict[str, Any]], None]:
    """Puts the first of a list there once more."""

    def change(body: dict[str, Any]) -> None:
        at: Any = body
        for step in path.split("."):
            at = at["tables"][0] if step == "t" else at[step]
        at.append(at[0])

    return change


IMPOSSIBLE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (changed("backup_id", "a/b"), "backup_id: 'a/b'"),
    (changed("backup_id", "x" * 256), "backup_id: "),
    (changed("backup_id", "/" * 80), f"backup_id: {'/' * 80!r}"),
    (changed("backup_id", "/" * 81), f"backup_id: '{'/' * 80}…'"),
    (changed("saved_before", "a/b"), "saved_before: 'a/b'"),
    (changed("saved_before", "x" * 256), "saved_before: "),
    (changed("created_at", "1969-12-31T23:59:59+00:00"), "created_at: "),
    (changed("created_at", "9001-01-01T00:00:00+00:00"), "created_at: "),
    (changed("created_at", "2025-07-21T23:49:14"), "an offset"),
    (changed("created_at", "soon"), "is no time"),
    (changed("task_id", "a-b"), "task_id: 'a-b'"),
    (changed("task_id", "x" * 256), "task_id: "),
    (changed("run_id", "x" * 1025), "run_id: 1,025 characters"),
    (changed("fingerprint_algorithm", "x" * 1025), "fingerprint_algorithm: 1,025 characters"),
    (changed("failed_tables", {"x" * 1025: "why"}), "failed_tables: "),
    (changed("failed_tables", {"x": "y" * ((1 << 20) + 1)}), "failed_tables: "),
    (changed("failed_tables", {"x": 5}), "failed_tables: "),
    (changed("script", None), "its name or its checksum is missing"),
    (changed("script_sha256", None), "its name or its checksum is missing"),
    (changed("script", "schema_2.sql"), "is no file of this set, 1"),
    (changed("script_sha256", "5" * 63 + "g"), "no checksum"),
    (changed("t.file", "manifest_1.json"), "is there twice"),
    (changed("t.index", "rag.t_1.csv"), "is there twice"),
    (changed("t.keys.file", "rag.t_1.csv"), "is there twice"),
    (changed("t.keys.index", "rag.t_1.csv.idx"), "is there twice"),
    (changed("t.file", "rag.t_2.csv"), "which is no file of this set, 1"),
    (changed("t.index", "rag.t_2.csv.idx"), "which is no file of this set, 1"),
    (changed("t.keys.file", "rag.t_2.keys.csv"), "which is no file of this set, 1"),
    (changed("t.keys.index", "rag.t_2.keys.csv.idx"), "which is no file of this set, 1"),
    (changed("t.file", "a_1." + "x" * 252), "a file name of 256 characters"),
    (changed("t.keys.file", "../rag.t_1.keys.csv"), "not a bare file name"),
    (changed("t.name", "u"), "is not the name of table"),
    (changed("t.name", "other.t"), "is not the name of table"),
    (changed("t.schema", ""), "a name: ''"),
    (changed("t.columns.0.name", "x" * 1025), "a name: "),
    (changed("t.columns.0.name", "a\0b"), "a name: "),
    (changed("t.kind", "server"), "kind 'server'"),
    (twice("t.columns"), "column 'v' is there twice"),
    (changed("t.primary_key", ["nothing"]), "its primary key is of columns that it does not have"),
    (changed("t.format", "pickle"), "which nobody here reads"),
    (changed("t.compression", "lzma"), "which nobody here reads"),
    (changed("t.sha256", ""), "no checksum: ''"),
    (changed("t.sha256", "0" * 129), "no checksum: "),
    (changed("t.index_sha256", "X"), "no checksum: 'X'"),
    (changed("t.fingerprint", "X"), "no checksum: 'X'"),
    (twice("tables"), "is there twice"),
    (changed("full_because", "y" * ((1 << 20) + 1)), "full_because: 1,048,577 characters"),
    (changed("chain.0.backup_id", "a/b"), "chain: 'a/b'"),
    (changed("chain.0.backup_id", "x" * 256), "chain: "),
    (changed("chain.0.backup_id", "1"), "chain '1' is there twice"),
    (changed("chain.0.manifest_sha256", "X"), "chain: '0'"),
    (twice("chain"), "chain '0' is there twice"),
    (changed("chain", [LINK | {"backup_id": str(n + 2)} for n in range(10_001)]), "chain: 10,001 sets"),
    (changed("t.keys", None), "an increment without its keys"),
    (changed("t.keys.lineage.key", []), "its keys are of columns that it does not have"),
    (changed("t.keys.lineage.key.0.name", "nothing"), "its keys are of columns that it does not have"),
    (twice("t.keys.lineage.key"), "key column 'v' is there twice"),
    (changed("t.keys.lineage.key.0.kind", "colour"), "a key of a kind that nobody here reads"),
    (changed("t.keys.compression", "lzma"), "its keys are 'lzma', which nobody here reads"),
    (changed("t.keys.rows", 2), "3 rows in its file, 2 keys"),
    (changed("t.keys.sha256", "X"), "no checksum: 'X'"),
    (changed("t.keys.index_sha256", "X"), "no checksum: 'X'"),
]


@pytest.mark.parametrize(("change", "said"), IMPOSSIBLE, ids=lambda one: one[:40] if isinstance(one, str) else "")
def test_what_no_manifest_of_ours_says_is_refused(change: Callable[[dict[str, Any]], None], said: str) -> None:
    body = increment()
    change(body)
    assert said in refused(resealed(body))


POSSIBLE: list[Callable[[dict[str, Any]], None]] = [
    lambda body: None,
    lambda body: body.update(backup_id="x" * 255, tables=[], script=None, script_sha256=None),
    changed("saved_before", None),
    changed("saved_before", "x" * 255),
    changed("created_at", "1970-01-01T00:00:00+00:00"),
    changed("created_at", "9000-12-31T23:59:59+00:00"),
    changed("task_id", "x" * 255),
    changed("run_id", None),
    changed("run_id", "x" * 1024),
    changed("fingerprint_algorithm", "x" * 1024),
    changed("failed_tables", {"x" * 1024: "y" * (1 << 20)}),
    lambda body: body.update(script=None, script_sha256=None),
    changed("t.file", "a_1." + "x" * 251),
    lambda body: body["tables"][0].update(name="t", schema="rag"),
    changed("t.columns.0.name", "v"),
    changed("t.kind", "view"),
    changed("t.primary_key", []),
    changed("t.format", "binary"),
    changed("t.compression", "zstd"),
    changed("t.sha256", "0"),
    changed("t.sha256", "f" * 128),
    changed("full_because", "y" * (1 << 20)),
    changed("chain.0.backup_id", "x" * 255),
    changed("chain", [LINK | {"backup_id": str(n + 2)} for n in range(10_000)]),
    changed("t.keys.lineage.key.0.kind", "other"),
    changed("t.keys.rows", 4),
    lambda body: body["tables"].append(
        body["tables"][0] | {"name": "rag.u", "table": "u", "file": "u_1.csv", "index": "u_1.csv.idx"}
        | {"keys": body["tables"][0]["keys"] | {"file": "u_1.keys.csv", "index": "u_1.keys.csv.idx"}}
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(POSSIBLE)))
def test_what_a_manifest_of_ours_may_say_is_believed(number: int) -> None:
    body = increment()
    POSSIBLE[number](body)
    Manifest.from_bytes(resealed(body))


def test_a_key_that_only_the_server_can_read_is_not_read_in_binary() -> None:
    body = increment()
    changed("t.keys.lineage.key.0.kind", "other")(body)
    changed("t.format", "binary")(body)
    assert "a key that cannot be read in the binary format" in refused(resealed(body))


def test_as_many_columns_as_a_row_may_have() -> None:
    for columns, believed in ((1664, True), (1665, False)):
        body = increment()
        one = body["tables"][0]["columns"][1]
        body["tables"][0]["columns"] += [one | {"name": f"c{number}"} for number in range(columns - 2)]
        if believed:
            Manifest.from_bytes(resealed(body))
        else:
            assert "1,665 columns" in refused(resealed(body))


def test_a_full_set_with_keys_is_held_to_them_too() -> None:
    body = increment()
    body.update(format_version=1)
    del body["chain"]
    Manifest.from_bytes(resealed(body))
    changed("t.keys.rows", 2)(body)
    assert "3 rows in its file, 2 keys" in refused(resealed(body))
    body["tables"][0]["keys"] = None
    Manifest.from_bytes(resealed(body))
