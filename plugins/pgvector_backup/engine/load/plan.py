"""What a restore does to each table, decided once: a dry run tells of it, a restore carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import Conflict, InvalidParams
from pgvector_backup.engine.contract.requests import OnConflict, RestoreRequest
from pgvector_backup.engine.load import dropped, target
from pgvector_backup.engine.load.dropped import Droppable
from pgvector_backup.engine.load.langchain_pair import Selection
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.load.refusals import in_file
from pgvector_backup.engine.postgres.description import describe
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import WITH_CHILDREN, Table, count_rows, referencing_keys
from pgvector_backup.engine.sets.stored_set import StoredTable


@dataclass
class TablePlan:
    """What is to become of one table.

    :param name: of the table that the rows go into
    :param created: whether this restore makes it
    :param table: as it is, or as it was made just now
    :param emptied: whether the rows that it holds are removed first
    :param renamed: whether rows are changed on the way: their collection gets another name
    :param droppable: its indexes that a load may drop and make anew
    :param notes: what should be known of it; the restore adds to them
    """

    stored: StoredTable
    name: TableName
    created: bool
    table: Table
    rows_before: int
    emptied: bool
    renamed: bool
    droppable: tuple[Droppable, ...]
    on_conflict: OnConflict
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the set calls the table."""
        return self.stored.label

    @property
    def destination(self) -> Destination:
        """Where rows are sent."""
        return Destination(self.table.identifier, self.table.source, self.stored.columns)

    @property
    def rows_kept(self) -> int:
        """Rows of the table that the rows of the set meet."""
        return 0 if self.emptied else self.rows_before

    @property
    def staged(self) -> bool:
        """Whether rows are loaded beside the table first, because they may meet others or have to be changed."""
        return bool(self.rows_kept) or self.renamed

    @property
    def insert_rule(self) -> OnConflict:
        """What an insert does with rows that are there already; where none can be, none are looked for."""
        return self.on_conflict if self.rows_kept else "error"

    def rebuilt(self, coming: int) -> tuple[Droppable, ...]:
        """The table's own indexes that are dropped before the rows go in.

        :param coming: rows that will be written
        """
        if not self.rows_kept:
            return self.droppable
        sure = tuple(one for one in self.droppable if not one.doubtful)
        return sure if dropped.worth_it(coming, self.rows_kept) else ()

    def in_file(self, fault: psycopg.Error, place: str | None = None, column: str | None = None) -> str:
        """Where in its file an error of the server's is, in brackets.

        :param place: the line or row, if that is known
        :param column: likewise; None: as the error says, or the constraint that it names
        """
        name = fault.diag.constraint_name
        of_constraint = [", ".join(one.columns) for one in self.table.constraints if one.name == name]
        return in_file(self.stored.file, place, column or fault.diag.column_name or "".join(of_constraint[:1]))

    @property
    def loose_constraints(self) -> frozenset[str]:
        """The constraints that were not valid when the set was made, so that its rows may break them."""
        entry = self.stored.entry
        return frozenset(() if entry is None else (one.name for one in entry.constraints if not one.validated))

    @property
    def new_indexes(self) -> tuple[str, ...]:
        """Of a table that is made: the names of its indexes that are no constraint's."""
        entry = self.stored.entry
        if not self.created or entry is None:
            return ()
        return tuple(index.name for index in entry.indexes if index.constraint is None and index.valid)


def decide(
    conn: Connection[Any], places: Sequence[Place], request: RestoreRequest, selection: Selection | None
) -> list[TablePlan]:
    """Hold each table against the set and the request, in the caller's transaction; nothing is changed.

    What it says of tables that are there is as lasting as the locks on them.

    :param places: parents first, as `places.find` gives them; what was missing is made
    :raises Conflict: when a column does not fit, or a foreign key forbids emptying
    :raises InvalidParams: when ``on_conflict`` is to go by a key that is not there
    """
    plans = [_decide_one(conn, place, request, selection) for place in places]
    keys = referencing_keys(conn, [one.table.oid for one in plans if one.emptied])
    if keys:
        named = ", ".join(f"{key} of {table}" for key, table in keys)
        raise Conflict(f"a foreign key forbids emptying the table: {named}; restore that table too; nothing changed")
    return plans


def _decide_one(conn: Connection[Any], place: Place, request: RestoreRequest, selection: Selection | None) -> TablePlan:
    stored = place.stored
    family = stored.entry is not None and stored.entry.kind == WITH_CHILDREN
    table = describe(conn, place.name, with_children=family)
    plan = TablePlan(
        stored=stored,
        name=TableName(table.schema, table.table),
        created=place.created,
        table=table,
        rows_before=0,
        emptied=request.truncate_before_restore and not place.created,
        renamed=selection is not None and selection.renames(stored.label),
        droppable=(),
        on_conflict=request.on_conflict,
        notes=list(place.notes),
    )
    plan.notes += target.check(stored, table)
    if place.created:
        if stored.entry is not None and stored.entry.kind != "table":
            plan.notes.append(f"{stored.label}: it was a {stored.entry.kind}, and is an ordinary table now")
        return plan
    plan.rows_before = count_rows(conn, plan.table.source)
    if plan.table.kind in ("table", WITH_CHILDREN):
        doubtful = () if stored.entry is None else [index.name for index in stored.entry.indexes if not index.valid]
        plan.droppable = dropped.droppable_indexes(conn, plan.table, doubtful)
    _require_plain_inserts(conn, plan)
    if plan.rows_kept and not _told_apart(conn, plan.table):
        plan.notes.append(
            f"{stored.label}: no unique key tells all of its rows apart, so rows that are there and in the set may be "
            "there twice now; truncate_before_restore makes the table equal to the set"
        )
    if plan.insert_rule == "update" and not plan.table.primary_key:
        raise InvalidParams(
            f"on_conflict: {stored.label} has no primary key to tell by which rows are to be updated; use error or skip"
        )
    return plan


def _told_apart(conn: Connection[Any], table: Table) -> bool:
    """Whether a unique key holds of every row that is there: NULL is equal to nothing, so that it may come twice."""
    for (nullable,) in conn.execute(_KEYS, [table.oid]).fetchall():
        if not nullable:
            return True
        empty = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in nullable)
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(table.source, empty)
        if conn.execute(query).fetchone() == (False,):
            return True
    return False


def _require_plain_inserts(conn: Connection[Any], plan: TablePlan) -> None:
    """Refuse to let rows join others of a table whose rules rewrite the statement that would do it.

    :raises Conflict: naming the rules and how they are disabled
    """
    if not plan.staged:
        return
    rules = conn.execute(_RULES, [plan.table.oid, plan.insert_rule != "error"]).fetchall()
    if rules:
        names = [sql.Identifier(row[0]).as_string(conn) for row in rules]
        switches = ", ".join(f"DISABLE RULE {name}" for name in names)
        raise Conflict(
            f"{plan.label}: rows cannot join those that are there, for rules rewrite what is written to the table: "
            f"{', '.join(names)}; ALTER TABLE {plan.table.identifier.as_string(conn)} {switches} for the restore, or "
            "set truncate_before_restore; nothing was changed"
        )


# ON CONFLICT is not to be had where there are any for INSERT or UPDATE, nor RETURNING where one takes INSERT's place.
_RULES: Final = """
SELECT r.rulename FROM pg_rewrite r
WHERE r.ev_class = %s AND r.ev_enabled IN ('O', 'A')
  AND (r.ev_type = '3' AND r.is_instead OR r.ev_type IN ('2', '3') AND %s) ORDER BY 1
"""

# A partial key is one of some rows; one of an expression would have to be computed, by whatever its owner wrote.
_KEYS: Final = """
SELECT CASE WHEN coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) THEN '{}'
       ELSE array_agg(a.attname::text) FILTER (WHERE NOT a.attnotnull) END
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND k.position <= i.indnkeyatts
GROUP BY i.indexrelid, to_jsonb(i)
"""
