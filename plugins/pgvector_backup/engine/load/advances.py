"""Sequences that go on after the rows that came back, so that the next insert works."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql

from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.load.sequences import COUNTING_TYPES, NEXTVAL
from pgvector_backup.engine.postgres.sequences import SequenceState, sequences_of


def advance(conn: Connection[Any], plan: TablePlan) -> None:
    """Let the sequences of a table go on after its rows, and after what they had reached when the set was made.

    A sequence is never set back, for others may have drawn from it. What the role may not set, and what no rows tell,
    is noted with the value that it needs.
    """
    entry = plan.stored.entry
    before = () if entry is None else entry.sequences
    for here in sequences_of(conn, plan.table.oid):
        was = next((one for one in before if set(one.columns) & set(here.columns)), None)
        counted = [name for name in here.columns if _counts(plan, name)]
        if here.columns and not counted and (was is None or was.last_value is None):
            plan.notes.append(
                f"{plan.label}: column {', '.join(here.columns)} draws from sequence {here.label}, and the set does "
                "not tell how far it was; set it beyond what the column holds: "
                f"SELECT setval('{_sql(conn, here)}', …)"
            )
            continue
        wanted = _wanted(conn, plan, here, was, counted)
        if wanted is not None:
            _set(conn, plan, here, *wanted)


def _wanted(
    conn: Connection[Any], plan: TablePlan, here: SequenceState, was: SequenceState | None, counted: list[str]
) -> tuple[int, bool] | None:
    """What to set a sequence to: value, and whether it was given out; None: it is far enough."""
    known = was is not None and was.last_value is not None
    if here.cycle:
        # It begins anew at its end, so that no number is farther than another.
        if was is None or was.last_value is None or plan.rows_kept:
            return None
        return (was.last_value, was.is_called)
    reached = [value for name in counted if (value := _farthest(conn, plan, name, up=here.increment > 0)) is not None]
    if was is not None and was.last_value is not None and was.is_called:
        reached.append(was.last_value)
    current = _current(conn, here)
    if reached:
        farthest = max(reached) if here.increment > 0 else min(reached)
        if current is not None and (current >= farthest if here.increment > 0 else current <= farthest):
            return None
        return (farthest, True)
    # A table that is made may draw from a sequence that was there, and that others have drawn from.
    if current is None and known and plan.created and was is not None and was.last_value is not None:
        return (was.last_value, False)
    return None


def _set(conn: Connection[Any], plan: TablePlan, here: SequenceState, value: int, is_called: bool) -> None:
    statement = f"SELECT setval('{_sql(conn, here)}', {value}, {str(is_called).lower()})"
    if not here.minimum <= value <= here.maximum:
        plan.notes.append(
            f"{plan.label}: sequence {here.label} counts from {here.minimum:,} to {here.maximum:,}, and its column "
            f"holds {value:,}: widen it by ALTER SEQUENCE, then {statement}"
        )
        return
    may = conn.execute(
        "SELECT has_sequence_privilege(to_regclass(%s)::oid, 'UPDATE')",
        [sql.Identifier(here.schema, here.name).as_string(conn)],
    ).fetchone()
    if may != (True,):
        plan.notes.append(
            f"{plan.label}: the next insert needs sequence {here.label} set, which the connection's role may not do: "
            f"{statement}"
        )
        return
    conn.execute(
        sql.SQL("SELECT setval({}::regclass, {}, {})").format(
            sql.Literal(sql.Identifier(here.schema, here.name).as_string(conn)), sql.Literal(value), is_called
        )
    )


def _counts(plan: TablePlan, name: str) -> bool:
    """Whether a column holds the very numbers that its sequence gives."""
    column = next(column for column in plan.table.columns if column.name == name)
    plain = column.identity is not None or NEXTVAL.fullmatch(column.default or "") is not None
    return plain and column.type in COUNTING_TYPES


def _farthest(conn: Connection[Any], plan: TablePlan, name: str, *, up: bool) -> int | None:
    row = conn.execute(
        sql.SQL("SELECT {}({})::bigint FROM {}").format(
            sql.SQL("max" if up else "min"), sql.Identifier(name), plan.table.source
        )
    ).fetchone()
    return None if row is None else row[0]


def _current(conn: Connection[Any], here: SequenceState) -> int | None:
    """What a sequence has given out last; None where it has not, or where nobody may know."""
    if here.last_value is not None:
        return here.last_value if here.is_called else None
    row = conn.execute(
        "SELECT pg_sequence_last_value(s.oid) FROM (SELECT to_regclass(%s)::oid AS oid) AS s"
        " WHERE has_sequence_privilege(s.oid, 'USAGE')",
        [sql.Identifier(here.schema, here.name).as_string(conn)],
    ).fetchone()
    return None if row is None else row[0]


def _sql(conn: Connection[Any], here: SequenceState) -> str:
    return sql.Identifier(here.schema, here.name).as_string(conn).replace("'", "''")
