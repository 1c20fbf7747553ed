"""Keys of a set that are in the database already, counted before anything is restored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.load.langchain_pair import RENAMED_COLUMNS, Selection
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.postgres import binary_forms
from pgvector_backup.engine.postgres.keys import same_key, same_row
from pgvector_backup.engine.postgres.tables import count_rows
from pgvector_backup.engine.sets.stored_set import StoredSet

_KEYS: Final = sql.Identifier("pg_temp", "pgvector_backup_keys")
_ROWS_SENT: Final = 1000
"""Keys that go to the server at once."""


@dataclass(frozen=True)
class Meeting:
    """How the rows of a file meet those of a table.

    :param read: rows of the file
    :param wanted: of these, those that are to be restored
    :param same_key: of these, those whose primary key is there already; None where that cannot be told
    :param other_key: of these, those that another unique key keeps out
    :param note: what should be known of renamed rows
    """

    read: int
    wanted: int
    same_key: int | None = 0
    other_key: int = 0
    note: str | None = None


def count(
    conn: Connection[Any], plan: TablePlan, stored_set: StoredSet, selection: Selection | None, cancel: Cancel
) -> Meeting:
    """Read a table's file and hold its keys against the table.

    The keys go into a temporary table of the caller's transaction, which he rolls back.
    """
    stored, table = plan.stored, plan.table
    wanted = None if selection is None else selection.row_filter(stored)
    if not plan.rows_kept:
        if wanted is None and stored.entry is not None:
            return Meeting(stored.entry.rows, stored.entry.rows)
        tally = _Tally()
        for _ in tally.rows(stored_set, plan, selection, cancel):
            pass
        return Meeting(tally.read, tally.wanted)
    primary = table.primary_key if set(table.primary_key) <= set(stored.columns) else ()
    others = [
        (tuple(columns), same_row(conn, index, "k", "t", nulls_equal=nulls_equal))
        for index, columns, nulls_equal in conn.execute(_UNIQUE_KEYS, [table.oid]).fetchall()
        if set(columns) <= set(stored.columns)
    ]
    needed = {*primary, *(name for columns, _ in others for name in columns)}
    if plan.renamed:
        needed |= RENAMED_COLUMNS & set(stored.columns)
    columns = tuple(name for name in stored.columns if name in needed)
    tally = _Tally()
    rows = tally.rows(stored_set, plan, selection, cancel)
    if not columns:
        for _ in rows:
            pass
        return Meeting(tally.read, tally.wanted, same_key=None)
    keys = Destination(_KEYS, _KEYS, columns)
    _stage(conn, plan, keys, rows)
    note = None
    if plan.renamed and selection is not None:
        note = selection.rename(conn, plan.label, keys, plan.destination)
    same = same_key(conn, table, "k", "t") if primary else sql.SQL("false")
    meets = sql.SQL("EXISTS (SELECT FROM {} AS t WHERE {})").format(table.source, same)
    staged = sql.SQL("{} AS k WHERE ").format(keys.source)
    other_key = 0
    if others:
        clashes = sql.SQL(" OR ").join(
            sql.SQL("EXISTS (SELECT FROM {} AS t WHERE {} AND NOT {})").format(table.source, clash, same)
            for _, clash in others
        )
        # An update of one row may still meet another one; a row that is skipped is skipped once.
        once = sql.SQL("true") if plan.on_conflict == "update" else sql.SQL("NOT {}").format(meets)
        other_key = count_rows(conn, staged + sql.SQL("({}) AND {}").format(clashes, once))
    met = count_rows(conn, staged + meets) if primary else None
    conn.execute(sql.SQL("DROP TABLE {}").format(_KEYS))
    return Meeting(tally.read, tally.wanted, met, other_key, note)


@dataclass
class _Tally:
    """Counts rows as they are read."""

    read: int = 0
    wanted: int = 0

    def rows(
        self, stored_set: StoredSet, plan: TablePlan, selection: Selection | None, cancel: Cancel
    ) -> Iterator[list[Field]]:
        """The fields of the rows that are to be restored."""
        wanted = None if selection is None else selection.row_filter(plan.stored)
        for block in stored_set.blocks(plan.stored, cancel):
            for _, fields in plan.stored.format.rows(block.data):
                self.read += 1
                if wanted is None or wanted(fields):
                    self.wanted += 1
                    yield fields


def _stage(conn: Connection[Any], plan: TablePlan, keys: Destination, rows: Iterator[list[Field]]) -> None:
    places = [plan.stored.columns.index(name) for name in keys.columns]
    conn.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            _KEYS, keys.column_list, plan.table.source
        )
    )
    form = plan.stored.format
    retelling = None
    if not form.is_text:
        retelling = binary_forms.retelling(conn, plan.table.identifier.as_string(conn), keys.columns)
    statement = sql.SQL("COPY {} FROM STDIN ({})").format(_KEYS, sql.SQL(form.options))
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(form.header or b"")
        while some := list(islice(rows, _ROWS_SENT)):
            sent = (form.row([fields[at] for at in places]) for fields in some)
            copy.write(b"".join(sent if retelling is None else map(retelling.row, sent)))
        copy.write(form.trailer)


# Over plain columns and all rows: what a partial index or an expression forbids is seen when the rows come.
_UNIQUE_KEYS: Final = """
SELECT i.indexrelid, array_agg(a.attname::text ORDER BY k.position),
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisunique AND NOT i.indisprimary AND i.indpred IS NULL AND i.indexprs IS NULL
  AND k.position <= i.indnkeyatts
GROUP BY i.indexrelid, to_jsonb(i)
"""
