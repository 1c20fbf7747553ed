"""Indexes and foreign keys that are set aside while a table is loaded, and made anew from their definitions after.

An HNSW index takes each row by a search of its graph, and a foreign key looks up each row by itself: building the index
at once and checking all rows by one join takes a fraction of that. An IVFFlat index that is built before there are rows
would have no centroids to speak of. What could not be made anew exactly as it was stays in place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import Connection, sql
from psycopg.rows import dict_row

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.load.definitions import execute_one
from pgvector_backup.engine.postgres.session import Connect, session
from pgvector_backup.engine.postgres.tables import Table

_log: Final = logging.getLogger(__name__)

_VECTOR_METHODS: Final = ("hnsw", "ivfflat")

_WORTH_IT: Final = 1000
"""Rows below which nothing is gained by setting anything aside."""

_GROWTH: Final = 3
"""Into a table that holds rows, an index is made anew when the table grows to at most so many times what is loaded:
building takes about a third of the time a row that adding to it does."""

_POLL_SECONDS: Final = 2.0
_MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True)
class SetAside:
    """An index or a foreign key that has to be made again.

    :param table: that it belongs to
    :param make: the statements that make it exactly as it was
    """

    table: Table
    name: str
    kind: str
    make: tuple[sql.Composed, ...]

    @property
    def is_index(self) -> bool:
        """Whether it is an index, by whatever method."""
        return self.kind != "foreign key"


def worth_it(rows: int, rows_before: int) -> bool:
    """Whether a load is so large that indexes are better made after it."""
    return rows >= _WORTH_IT and rows + rows_before <= rows * _GROWTH


def set_aside_indexes(conn: Connection[Any], table: Table, *, anyway: Sequence[str] = ()) -> list[SetAside]:
    """Drop a table's indexes that hold no constraint, as far as they can be made anew exactly.

    The caller holds the table's ACCESS EXCLUSIVE lock.

    :param anyway: methods to drop; empty: every method
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_INDEXES, [table.oid]).fetchall()
    dropped = []
    for row in found:
        if anyway and row["method"] not in anyway:
            continue
        identifier = sql.Identifier(table.schema, row["name"])
        make = [sql.SQL("{}").format(sql.SQL(row["definition"]))]
        if row["tablespace"] is not None:
            make.append(
                sql.SQL("ALTER INDEX {} SET TABLESPACE {}").format(identifier, sql.Identifier(row["tablespace"]))
            )
        if row["comment"] is not None:
            make.append(sql.SQL("COMMENT ON INDEX {} IS {}").format(identifier, sql.Literal(row["comment"])))
        for target in row["statistics"] or ():
            make.append(
                sql.SQL("ALTER INDEX {} ALTER COLUMN {} SET STATISTICS {}").format(
                    identifier, sql.SQL(str(int(target[0]))), sql.SQL(str(int(target[1])))
                )
            )
        conn.execute(sql.SQL("DROP INDEX {}").format(identifier))
        dropped.append(SetAside(table, row["name"], row["method"], tuple(make)))
    return dropped


def set_aside_foreign_keys(conn: Connection[Any], tables: Sequence[Table]) -> list[SetAside]:
    """Drop the foreign keys between these tables; the caller holds their ACCESS EXCLUSIVE locks."""
    by_oid = {table.oid: table for table in tables}
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_FOREIGN_KEYS, [list(by_oid), list(by_oid)]).fetchall()
    dropped = []
    for row in found:
        table = by_oid[row["oid"]]
        name = sql.Identifier(row["name"])
        make = [
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(table.identifier, name, sql.SQL(row["definition"]))
        ]
        if row["comment"] is not None:
            make.append(
                sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
                    name, table.identifier, sql.Literal(row["comment"])
                )
            )
        conn.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table.identifier, name))
        dropped.append(SetAside(table, row["name"], "foreign key", tuple(make)))
    return dropped


def make_again(conn: Connection[Any], one: SetAside) -> None:
    """Make an index or a foreign key exactly as it was."""
    for statement in one.make:
        execute_one(conn, statement)


def prepare_builds(conn: Connection[Any], *, memory_mb: int, bytes_loaded: int) -> None:
    """Give the index builds of this transaction memory and workers.

    :param memory_mb: that ``maintenance_work_mem`` may be raised to, in mebibytes
    :param bytes_loaded: of the rows; a graph takes about as much as its vectors and their neighbours
    """
    row = conn.execute(
        "SELECT pg_size_bytes(current_setting('maintenance_work_mem')), current_setting('max_parallel_workers')::int,"
        " current_setting('max_parallel_maintenance_workers')::int"
    ).fetchone()
    assert row is not None
    given, workers, maintenance_workers = row
    wanted = min(memory_mb, bytes_loaded * 3 // 2 // _MEBIBYTE + 64)
    if wanted * _MEBIBYTE > given:
        conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", [f"{wanted}MB"])
    conn.execute(
        "SELECT set_config('max_parallel_maintenance_workers', %s, true),"
        # The server would count the pages of the table, and vectors lie beside it, in its TOAST table.
        " set_config('min_parallel_table_scan_size', '0', true)",
        [str(max(maintenance_workers, min(workers, 4)))],
    )


def build(conn: Connection[Any], label: str, name: str, make: Callable[[], None]) -> None:
    """Build an index; without workers if the server lacks the shared memory that they need.

    A container's ``/dev/shm`` has 64 MB as a rule, and pgvector's workers share the whole graph there.
    """
    conn.execute("SAVEPOINT an_index")
    try:
        make()
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as fault:
        if "shared memory" not in str(fault.diag.message_primary):
            raise
        conn.execute("ROLLBACK TO SAVEPOINT an_index")
        _log.warning(
            "%s: building index %s without parallel workers: %s", label, name, str(fault.diag.message_primary).strip()
        )
        conn.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        make()
    conn.execute("RELEASE SAVEPOINT an_index")


@contextmanager
def watched(connect: Connect, pid: int, cancel: Cancel, *, label: str, index: str) -> Iterator[None]:
    """Tell in the log, by a connection of its own, how far the index build of a backend is."""
    over = threading.Event()

    def watch() -> None:
        if over.wait(_POLL_SECONDS):
            return
        try:
            with session(connect, cancel, lock_timeout=1) as conn:
                while not over.is_set():
                    row = conn.execute(_PROGRESS, [pid]).fetchone()
                    if row is not None:
                        phase, done, total, unit = row
                        share = f", {done / total:.0%} of {total:,} {unit}" if total else ""
                        _log.info("%s: index %s: %s%s", label, index, phase, share)
                    over.wait(_POLL_SECONDS)
        except Exception as fault:  # telling is a courtesy
            _log.debug("progress of index %s is not told: %s", index, type(fault).__name__)

    teller = threading.Thread(target=watch, name="index", daemon=True)
    started = time.monotonic()
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
    _log.info("%s: index %s built in %.3f s", label, index, time.monotonic() - started)


# Left in place: what a constraint owns, unique ones (an ON CONFLICT may need them), and what DROP and CREATE would not
# bring back: a part of a partitioned index, CLUSTER ON, REPLICA IDENTITY, an index that depends on an extension or that
# something depends on, another role's, and those that the role may drop but not make.
_INDEXES: Final = """
SELECT c.relname AS name, am.amname AS method, pg_get_indexdef(c.oid) AS definition,
       t.spcname AS tablespace, obj_description(c.oid, 'pg_class') AS comment,
       (SELECT array_agg(ARRAY[a.attnum::int, a.attstattarget::int] ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attstattarget >= 0) AS statistics
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class r ON r.oid = i.indrelid
JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE i.indrelid = %s AND c.relkind = 'i' AND NOT c.relispartition
  AND NOT i.indisunique AND NOT i.indisexclusion AND NOT i.indisclustered AND NOT i.indisreplident
  AND i.indisvalid AND i.indisready
  AND pg_has_role(r.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE')
  AND (t.oid IS NULL OR has_tablespace_privilege(t.oid, 'CREATE'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype IN ('x', 'e'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                  AND d.deptype <> 'i')
ORDER BY c.relname
"""

_FOREIGN_KEYS: Final = """
SELECT k.conrelid::bigint AS oid, k.conname AS name, pg_get_constraintdef(k.oid) AS definition,
       obj_description(k.oid, 'pg_constraint') AS comment
FROM pg_constraint k
JOIN pg_class r ON r.oid = k.conrelid
JOIN pg_class p ON p.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
  AND k.conrelid = ANY(%s::oid[]) AND k.confrelid = ANY(%s::oid[])
  AND r.relkind = 'r' AND p.relkind = 'r'
  AND pg_has_role(r.relowner, 'USAGE') AND has_table_privilege(p.oid, 'REFERENCES')
  AND pg_has_role(p.relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                  AND d.deptype IN ('x', 'e'))
ORDER BY k.conname
"""

_PROGRESS: Final = """
SELECT phase,
       CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
       CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END,
       CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'pages' END
FROM pg_stat_progress_create_index WHERE pid = %s
"""
