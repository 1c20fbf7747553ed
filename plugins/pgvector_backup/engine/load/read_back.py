"""What a table holds now, read back in order to be compared with what was sent."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.load.open_copy import Destination


def allow_workers(conn: Connection[Any], workers: int) -> None:
    """Let the server's parallel workers share in reading back, for as long as the transaction lasts."""
    conn.execute(
        "SELECT set_config(name, value, true) FROM (VALUES ('max_parallel_workers_per_gather', %s),"
        " ('min_parallel_table_scan_size', '0'), ('parallel_setup_cost', '0'), ('parallel_tuple_cost', '0'))"
        " AS wanted(name, value)",
        [str(workers)],
    )


def read_back(
    conn: Connection[Any],
    into: Destination,
    form: Format,
    algorithm: Algorithm,
    cancel: Cancel,
    *,
    without: sql.Composable | None = None,
) -> tuple[int, int]:
    """What a table holds now: its rows, and the sum of their fingerprint numbers.

    In binary, vectors are asked for as the bytes that their type's send function gives, which are the ones that COPY
    would send for the vectors themselves. That is an expression, and so the server's workers evaluate it, each on its
    own processor, where COPY itself would leave it all to one.

    :param without: a condition of rows that are compared otherwise
    """
    columns = into.column_list
    if not form.is_text:
        sends = dict(conn.execute(_SEND_FUNCTIONS, [into.table.as_string(conn)]).fetchall())
        columns = sql.SQL(", ").join(
            sql.SQL("{}({})").format(sql.SQL(sends[name]), sql.Identifier(name))
            if name in sends
            else sql.Identifier(name)
            for name in into.columns
        )
    source = into.source if without is None else sql.SQL("{} WHERE NOT ({})").format(into.source, without)
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT ({})").format(columns, source, sql.SQL(form.options))
    return summed(conn, query, form, algorithm, cancel)


_SEND_FUNCTIONS: Final = """
SELECT a.attname, t.typsend::regproc::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vector'
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND t.typsend <> 0
  AND t.typtype = 'b' AND t.typelem = 0
"""
"""Of the columns of pgvector's types."""


def summed(
    conn: Connection[Any], query: sql.Composed, form: Format, algorithm: Algorithm, cancel: Cancel
) -> tuple[int, int]:
    """The rows that a ``COPY … TO STDOUT`` sends, and the sum of their fingerprint numbers."""
    rows = total = 0
    number_of = algorithm.of_row
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        for row in form.copied(copy):
            rows += 1
            total += number_of(row)
            if not rows & 0xFFF:
                cancel.check()
    return rows, total
