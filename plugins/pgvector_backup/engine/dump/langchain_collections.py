"""LangChain's collections as of a snapshot, counted on the server while the rows are read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.sets.collection_entry import AT_MOST, CollectionEntry

_log: Final = logging.getLogger(__name__)

_PATIENCE: Final = 10
"""Seconds that the server may take to count: a set is as good without the figures."""

_TEXTS: Final = ("character varying", "text")


@contextmanager
def counted(snapshot: Snapshot) -> Iterator[Future[tuple[CollectionEntry, ...] | None]]:
    """Count them over the snapshot's first connection, which has nothing else to do while others read rows.

    The count is None where the tables are not LangChain's, where there are too many, and where it takes too long.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collections") as pool:
        yield pool.submit(_count, snapshot)


def _count(snapshot: Snapshot) -> tuple[CollectionEntry, ...] | None:
    pair = _pair(list(snapshot.described.values()))
    if pair is None:
        return None
    collections, embeddings = pair
    names: dict[str, str] = {}
    rows: Counter[str] = Counter()
    try:
        with snapshot.aside() as conn:
            conn.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{_PATIENCE}s")))
            for table in embeddings:
                for uuid, name, count in _of(conn, collections, table):
                    names[uuid] = name
                    rows[uuid] += count
    except (BackupError, psycopg.Error, UnicodeError, TypeError) as fault:
        _log.info("the set does not list its collections: %s", type(fault).__name__)
        return None
    if len(names) > AT_MOST:
        _log.info("the set does not list its collections: there are more than %s", f"{AT_MOST:,}")
        return None
    return tuple(
        CollectionEntry(name, uuid, rows[uuid])
        for uuid, name in sorted(names.items(), key=lambda item: (item[1], item[0]))
    )


def _pair(tables: list[Table]) -> tuple[Table, list[Table]] | None:
    """The table of collections, and those of embeddings: the same that a restore of collections looks for."""
    types = [{column.name: column.type for column in table.columns} for table in tables]
    embeddings = [table for table, of in zip(tables, types, strict=True) if of.get("collection_id") == "uuid"]
    found = [
        table
        for table, of in zip(tables, types, strict=True)
        if of.get("uuid") == "uuid" and of.get("name", "").startswith(_TEXTS) and "collection_id" not in of
    ]
    if len(found) > 1:
        found = [table for table in found if table.table == "langchain_pg_collection"]
    return (found[0], embeddings) if len(found) == 1 and embeddings else None


def _of(conn: Connection[Any], collections: Table, embeddings: Table) -> Iterator[tuple[str, str, int]]:
    """Each collection with its rows in one table; no vector is read for it."""
    query = sql.SQL(
        "SELECT c.uuid::text, c.name::text, coalesce(e.rows, 0)"
        " FROM (SELECT uuid, name FROM {} WHERE uuid IS NOT NULL LIMIT {}) AS c"
        " LEFT JOIN (SELECT collection_id, count(*) AS rows FROM {} GROUP BY collection_id) AS e"
        " ON e.collection_id = c.uuid"
    ).format(collections.source, sql.Literal(AT_MOST + 1), embeddings.source)
    for uuid, name, rows in conn.execute(query):
        if not isinstance(name, str | None):
            raise TypeError(type(name).__name__)  # of a server without an encoding
        yield uuid, name or "", rows
