"""Rows that are loaded into a table of the session's own first, because the target holds rows already.

They are proven there, and go from there into the target by one INSERT, whose RETURNING tells what the target took.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, IntegrityFault
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.formats import BINARY, CSV, Format
from pgvector_backup.engine.load.copy_in import Loaded
from pgvector_backup.engine.load.merges import merge
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.load.read_back import summed
from pgvector_backup.engine.postgres.binary_forms import lacking
from pgvector_backup.engine.postgres.keys import same_key
from pgvector_backup.engine.postgres.session import on_own_path
from pgvector_backup.engine.postgres.tables import Table, count_rows

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watch:
    """What a table has to hold once every trigger has run.

    :param staging: the staged rows; they stay for as long
    :param same: how many of them it holds, to the last bit; where no key tells which to compare, its rows and the sum
        of their fingerprint numbers
    """

    staging: Destination
    same: int | tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """What came of a table's rows: how many are new, took another's place, or gave way to one."""

    loaded: Loaded
    inserted: int
    updated: int = 0
    skipped: int = 0
    watch: Watch | None = None


def may_be_changed(conn: Connection[Any], oids: Sequence[int]) -> bool:
    """Whether triggers or rules of these tables may change rows after the tables have taken them."""
    return conn.execute(_CHANGED, {"oids": list(oids)}).fetchone() == (True,)


def create(conn: Connection[Any], label: str, into: Destination) -> Destination:
    """A temporary table of the same columns, gone with the transaction."""
    name = sql.Identifier("pg_temp", f"pgvector_backup_{fingerprint.of_sum(fingerprint.SHA256.of_row(label.encode()))}")
    conn.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            name, into.column_list, into.source
        )
    )
    return Destination(name, name, into.columns)


def rows_to_write(
    conn: Connection[Any], table: Table, staging: Destination, *, into: Destination, on_conflict: str
) -> int:
    """How many rows an insert will write, new ones and new versions: what its indexes will have to take."""
    rows = count_rows(conn, staging.source)
    if on_conflict != "skip" or not table.primary_key:
        return rows
    same = same_key(conn, table, "s", "t")
    return rows - count_rows(conn, sql.SQL("{} AS s JOIN {} AS t ON {}").format(staging.source, into.source, same))


def insert(
    conn: Connection[Any],
    table: Table,
    staging: Destination,
    into: Destination,
    loaded: Loaded,
    *,
    label: str,
    on_conflict: str,
    coming: int | None,
    changed: bool,
    watched: bool,
    cancel: Cancel,
) -> Outcome:
    """Take the rows over, and prove that the target took them as they are.

    :param on_conflict: ``error``, ``skip`` or ``update``
    :param coming: as `rows_to_write` has it
    :param changed: whether the staged rows were changed since they were loaded
    :param watched: whether `prove` is to be called once every trigger has run
    :raises IntegrityFault: when the target took other rows than it was given
    :raises Conflict: when two of the rows have one key
    """
    algorithm, form = fingerprint.best(), _form(conn, into)
    staged = summed(conn, _copy_of(staging, form), form, algorithm, cancel)
    if not changed and staged[0] != loaded.rows_sent:
        raise IntegrityFault(f"{label}: {loaded.rows_sent:,} rows were sent and {staged[0]:,} staged")
    before = count_rows(conn, into.source)
    sum_before = (
        summed(conn, _copy_of(into, form), form, algorithm, cancel) if watched and not table.primary_key else None
    )
    same_before = _same(conn, table, staging, into) if on_conflict == "skip" else 0
    # The rows as the target has them, after its triggers and rules.
    statement = merge(conn, table, staging, into, on_conflict)
    with on_own_path(conn):
        returned = summed(
            conn,
            sql.SQL("COPY ({}) TO STDOUT ({})").format(statement, sql.SQL(form.options)),
            form,
            algorithm,
            cancel,
        )
    inserted = count_rows(conn, into.source) - before
    if on_conflict == "skip":
        skipped = staged[0] - returned[0]
        # Which rows were inserted is not known one by one; that none was altered shows in how many are the same
        # now as in the set: as many more as were inserted.
        proven = returned[0] == inserted
        if table.primary_key:
            proven = proven and _same(conn, table, staging, into) - same_before == inserted
    else:
        skipped = 0
        proven = (returned[0], returned[1] % (1 << 128)) == (staged[0], staged[1] % (1 << 128))
    # Fewer than the keys that were not there: either another constraint is in the way, or they are too few keys.
    if on_conflict == "skip" and table.primary_key and returned[0] != coming and _key_twice(conn, table, staging):
        raise Conflict(f"{label}: the set holds two rows with one key of the table; nothing was changed")
    if not proven:
        raise altered(conn, table, label)
    watch = None
    if not watched:
        conn.execute(sql.SQL("DROP TABLE {}").format(staging.table))
    elif sum_before is not None:
        watch = Watch(staging, (sum_before[0] + returned[0], sum_before[1] + returned[1]))
    else:
        watch = Watch(staging, same_before + inserted if on_conflict == "skip" else staged[0])
    return Outcome(loaded, inserted=inserted, updated=staged[0] - skipped - inserted, skipped=skipped, watch=watch)


def prove(conn: Connection[Any], table: Table, into: Destination, watch: Watch, *, label: str, cancel: Cancel) -> None:
    """Prove that no trigger has changed what the target took.

    :raises IntegrityFault: when one has
    """
    if isinstance(watch.same, int):
        proven = _same(conn, table, watch.staging, into) == watch.same
    else:
        form = _form(conn, into)
        rows, total = summed(conn, _copy_of(into, form), form, fingerprint.best(), cancel)
        proven = (rows, total % (1 << 128)) == (watch.same[0], watch.same[1] % (1 << 128))
    if not proven:
        raise altered(conn, table, label)
    conn.execute(sql.SQL("DROP TABLE {}").format(watch.staging.table))


def altered(conn: Connection[Any], table: Table, label: str, *, counts: str = "") -> IntegrityFault:
    """What to raise where a table took other rows than it was sent: with the triggers and rules that may do that.

    :param counts: rows sent and there, in brackets
    """
    found = conn.execute(_ALTERING, [table.oid, table.oid]).fetchone()
    switches = f": ALTER TABLE {table.identifier.as_string(conn)} {found[0]}" if found and found[0] else ""
    fault = IntegrityFault(
        f"{label}: the table did not take the rows as they are in the set{counts}: a trigger, a rule or a generated "
        f"value alters them; disable it for the restore{switches}. Nothing was changed"
    )
    fault.of_set = False
    return fault


def _form(conn: Connection[Any], into: Destination) -> Format:
    """What rows are compared in: binary, unless a type has no such form."""
    return CSV if lacking(conn, into.table.as_string(conn)) else BINARY


def _copy_of(into: Destination, form: Format) -> sql.Composed:
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT ({})").format(
        into.column_list, into.source, sql.SQL(form.options)
    )


def _same(conn: Connection[Any], table: Table, staging: Destination, into: Destination) -> int:
    """How many of the staged rows are in the target, to the last bit; 0 where no key tells which to compare."""
    if not table.primary_key:
        return 0
    key = same_key(conn, table, "s", "t")
    row = conn.execute(
        sql.SQL(
            # The stored bytes, of any type: there is no `=` for json.
            "SELECT count(*) FROM {} AS s JOIN {} AS t ON {} WHERE record_image_eq(ROW({}), ROW({}))"
        ).format(staging.source, into.source, key, _columns_of("s", into), _columns_of("t", into))
    ).fetchone()
    assert row is not None
    return int(row[0])


def _key_twice(conn: Connection[Any], table: Table, staging: Destination) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {0} AS s JOIN {0} AS t ON {1} AND s.ctid <> t.ctid)")
    return conn.execute(query.format(staging.source, same_key(conn, table, "s", "t"))).fetchone() == (True,)


def _columns_of(alias: str, into: Destination) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in into.columns)


_ALTERING: Final = """
SELECT pg_catalog.string_agg(switch, ', ' ORDER BY switch) FROM (
    SELECT 'DISABLE TRIGGER ' || pg_catalog.quote_ident(t.tgname) AS switch FROM pg_catalog.pg_trigger t
     WHERE t.tgrelid = %s AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
    UNION ALL SELECT 'DISABLE RULE ' || pg_catalog.quote_ident(r.rulename) FROM pg_catalog.pg_rewrite r
     WHERE r.ev_class = %s AND r.rulename <> '_RETURN' AND r.ev_enabled IN ('O', 'A')) AS switches
"""

_CHANGED: Final = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = ANY(%(oids)s::oid[]) AND NOT t.tgisinternal
                AND t.tgenabled IN ('O', 'A'))
    OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = ANY(%(oids)s::oid[]) AND r.rulename <> '_RETURN')
"""
