"""A set as JSON: the one description that the page, HTTP and the command line give of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.sets.collection_entry import collections_json
from pgvector_backup.engine.sets.found import FoundSet, FoundTable
from pgvector_backup.engine.store.naming import LOG_FILE


def describe_set(one: FoundSet, *, has_log: bool) -> dict[str, Any]:
    """First the fields that clients of the older API know, then what we know more. Bytes; times in ISO 8601.

    :param has_log: whether its location has a log file
    """
    collection = _table(one.tables, "langchain_pg_collection")
    embedding = _table(one.tables, "langchain_pg_embedding")
    return {
        "timestamp": one.backup_id,
        "collection_file": collection.file if collection else None,
        "embedding_file": embedding.file if embedding else None,
        "collection_size": human_size(collection.bytes) if collection else None,
        "embedding_size": human_size(embedding.bytes) if embedding else None,
        "backup_date": datetime.fromisoformat(one.created_at).strftime("%Y-%m-%d %H:%M:%S"),
        "has_log": has_log,
        "log_file": LOG_FILE if has_log else None,
        "type": kind_of_place(one.task_id),
        "task_id": one.task_id,
        "relative_path": one.relative_path,
        "manifest_file": one.manifest_file,
        "backup_id": one.backup_id,
        "created_at": one.created_at,
        "mode": one.mode,
        "base_backup_id": one.base_backup_id,
        "chain_length": one.chain_length,
        "chain": list(one.chain),
        "full_because": one.full_because,
        "saved_before": one.saved_before,
        "rows": one.rows,
        "bytes": one.bytes,
        "size": human_size(one.bytes),
        "tables": {table.name: _table_json(table) for table in one.tables},
        "collections": collections_json(one.collections),
        "failed_tables": dict(one.failed_tables or {}),
        "run_id": one.run_id,
        "verified": _verified(one.verification),
        "damaged": one.damaged,
        "whole": one.whole,
        "fault": one.fault,
        "good": one.good,
        "pin": None if one.pin is None else one.pin.to_json(),
        "database": None if one.source is None else one.source.database,
        "server": _server_json(one),
    }


def kind_of_place(task_id: str | None) -> str:
    """``global`` for the root's own directory, ``task`` for a task's."""
    return "global" if task_id is None else "task"


def _server_json(one: FoundSet) -> dict[str, Any] | None:
    if one.source is None:
        return None
    return {
        "server_version": one.source.server_version,
        "pgvector_version": one.source.pgvector_version,
        "system_identifier": one.source.system_identifier,
    }


def _table_json(table: FoundTable) -> dict[str, Any]:
    return {
        "file": table.file,
        "rows": table.rows,
        "rows_written": table.rows_written,
        "rows_deleted": table.rows_deleted,
        "rows_unchanged": _unchanged(table),
        "bytes": table.bytes,
        "raw_bytes": table.raw_bytes,
        "size": human_size(table.bytes),
        "format": table.format,
        "compression": table.compression,
        "sha256": table.sha256,
        "has_keys": table.keys is not None,
    }


def _unchanged(table: FoundTable) -> int | None:
    return None if table.rows is None or table.rows_written is None else table.rows - table.rows_written


def _table(tables: Sequence[FoundTable], name: str) -> FoundTable | None:
    """A table by its bare name, in whatever schema."""
    return next((table for table in tables if table.name.rsplit(".", 1)[-1] == name), None)


def _verified(verification: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The last verification in short."""
    if verification is None:
        return None
    names = {"when": "verified_at", "depth": "depth", "ok": "ok", "run_id": "run_id"}
    return {name: verification.get(key) for name, key in names.items()}
