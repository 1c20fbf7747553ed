"""What a manifest has to be beyond its shape: the claims in it that others build on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from pgvector_backup.engine.codec.compression import NAMES as COMPRESSIONS
from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.postgres.lineage import KEY_KINDS
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN
from pgvector_backup.engine.store.naming import SAFE, check_bare, manifest_name, script_name

_HEX: Final = re.compile(r"[0-9a-f]{1,128}")
_LONGEST_NAME: Final = 1024
_LONGEST_TEXT: Final = 1 << 20
_LONGEST_CHAIN: Final = 10_000
_COLUMNS: Final = 1664
"""Of one row, in any server."""

_KINDS: Final = ("table", "partitioned table", "view", "materialized view", "foreign table", WITH_CHILDREN)


def check(manifest: Any) -> None:
    """Refuse a manifest that says what none of ours can say.

    :param manifest: a `manifest.Manifest`, of whose shape it is already
    :raises ValueError: naming what
    """
    if not SAFE.fullmatch(manifest.backup_id) or len(manifest.backup_id) > 255:
        raise ValueError(f"backup_id: {_short(manifest.backup_id)}")
    before = manifest.saved_before
    if before is not None and (not SAFE.fullmatch(before) or len(before) > 255):
        raise ValueError(f"saved_before: {_short(before)}")
    _check_moment(manifest.created_at)
    if manifest.task_id is not None and not re.fullmatch(r"[A-Za-z0-9_]{1,255}", manifest.task_id):
        raise ValueError(f"task_id: {_short(manifest.task_id)}")
    for name, text in (("run_id", manifest.run_id or ""), ("fingerprint_algorithm", manifest.fingerprint_algorithm)):
        if len(text) > _LONGEST_NAME:
            raise ValueError(f"{name}: {len(text):,} characters")
    for label, why in manifest.failed_tables.items():
        if type(why) is not str or len(label) > _LONGEST_NAME or len(why) > _LONGEST_TEXT:
            raise ValueError(f"failed_tables: {_short(label)}")
    _check_script(manifest)
    own = manifest_name(manifest.backup_id)
    files = [name for entry in manifest.tables for name in _files(entry)]
    _check_once("file", (own, *files))
    _check_once("table", (entry.name for entry in manifest.tables))
    _check_once("table", (f"{entry.schema}.{entry.table}" for entry in manifest.tables))
    for entry in manifest.tables:
        _check_entry(entry)
        for name in _files(entry):
            if f"_{manifest.backup_id}." not in name:
                raise ValueError(f"it names {_short(name)}, which is no file of this set, {manifest.backup_id}")
    _check_chain(manifest)


def _files(entry: Any) -> list[str]:
    keys = entry.keys
    return [entry.file, entry.index, *(() if keys is None else (keys.file, keys.index))]


def _check_chain(manifest: Any) -> None:
    if len(manifest.full_because or "") > _LONGEST_TEXT:
        raise ValueError(f"full_because: {len(manifest.full_because):,} characters")
    if len(manifest.chain) > _LONGEST_CHAIN:
        raise ValueError(f"chain: {len(manifest.chain):,} sets")
    for link in manifest.chain:
        if not SAFE.fullmatch(link.backup_id) or len(link.backup_id) > 255 or not _HEX.fullmatch(link.manifest_sha256):
            raise ValueError(f"chain: {_short(link.backup_id)}")
    _check_once("chain", (manifest.backup_id, *(link.backup_id for link in manifest.chain)))
    for entry in manifest.tables:
        if entry.keys is not None:
            _check_keys(entry, entry.keys)
        elif manifest.chain:
            raise ValueError(f"{entry.name}: an increment without its keys")


def _check_keys(entry: Any, keys: Any) -> None:
    stored = {column.name for column in entry.stored_columns}
    names = [column.name for column in keys.lineage.key]
    if not names or not set(names) <= stored:
        raise ValueError(f"{entry.name}: its keys are of columns that it does not have")
    _check_once(f"{entry.name}: key column", names)
    if not FORMATS[entry.format].is_text and any(column.kind == "other" for column in keys.lineage.key):
        raise ValueError(f"{entry.name}: a key that cannot be read in the binary format")
    if any(column.kind not in KEY_KINDS for column in keys.lineage.key):
        raise ValueError(f"{entry.name}: a key of a kind that nobody here reads")
    if keys.compression not in COMPRESSIONS:
        raise ValueError(f"{entry.name}: its keys are {_short(keys.compression)}, which nobody here reads")
    if keys.rows < entry.rows:
        raise ValueError(f"{entry.name}: {entry.rows:,} rows in its file, {keys.rows:,} keys")
    for digest in (keys.sha256, keys.index_sha256):
        if not _HEX.fullmatch(digest):
            raise ValueError(f"{entry.name}: no checksum: {_short(digest)}")


def _check_script(manifest: Any) -> None:
    if (manifest.script is None) != (manifest.script_sha256 is None):
        raise ValueError("script: its name or its checksum is missing")
    if manifest.script is not None:
        if manifest.script != script_name(manifest.backup_id):
            raise ValueError(f"script: {_short(manifest.script)} is no file of this set, {manifest.backup_id}")
        if not _HEX.fullmatch(manifest.script_sha256):
            raise ValueError(f"script: no checksum: {_short(manifest.script_sha256)}")


def _check_entry(entry: Any) -> None:
    for name in (entry.schema, entry.table, *(column.name for column in entry.columns)):
        if not 0 < len(name) <= _LONGEST_NAME or "\0" in name:
            raise ValueError(f"a name: {_short(name)}")
    # What it is called is where its rows go: a label of one table must not stand for another.
    if entry.name not in (TableName(None, entry.table).label, TableName(entry.schema, entry.table).label):
        raise ValueError(f"{_short(entry.name)} is not the name of table {_short(entry.schema)}.{_short(entry.table)}")
    if entry.kind not in _KINDS:
        raise ValueError(f"{entry.name}: kind {_short(entry.kind)}")
    if len(entry.columns) > _COLUMNS:
        raise ValueError(f"{entry.name}: {len(entry.columns):,} columns")
    names = [column.name for column in entry.columns]
    _check_once(f"{entry.name}: column", names)
    if not set(entry.primary_key) <= set(names):
        raise ValueError(f"{entry.name}: its primary key is of columns that it does not have")
    for one in _files(entry):
        check_bare(one)
        if len(one.encode()) > 255:
            raise ValueError(f"{entry.name}: a file name of {len(one):,} characters")
    if entry.format not in FORMATS or entry.compression not in COMPRESSIONS:
        raise ValueError(
            f"{entry.name} is {_short(entry.format)} and {_short(entry.compression)}, which nobody here reads"
        )
    for digest in (entry.sha256, entry.index_sha256, entry.fingerprint):
        if not _HEX.fullmatch(digest):
            raise ValueError(f"{entry.name}: no checksum: {_short(digest)}")


def _check_moment(text: str) -> None:
    """A moment that can be sorted, shown in any zone and added to."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"created_at: {_short(text)} is no time") from None
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise ValueError(f"created_at: {_short(text)}: a year from 1970 on, and an offset, are needed")


def _check_once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {_short(name)} is there twice")
        seen.add(name)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
