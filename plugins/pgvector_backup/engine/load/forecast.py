"""What a restore would do, told from its plan: the same figures that it gives once it has been carried out."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.contract.restore_result import TableRestore
from pgvector_backup.engine.load import key_conflicts
from pgvector_backup.engine.load.key_conflicts import Meeting
from pgvector_backup.engine.load.langchain_pair import Selection
from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.sets.stored_set import StoredSet


def forecast(
    conn: Connection[Any], plan: TablePlan, stored_set: StoredSet, selection: Selection | None, cancel: Cancel
) -> TableRestore:
    """What would become of one table; the caller rolls back.

    What only the server can tell of rows once it has them is not foreseen: foreign keys, checks, triggers.
    """
    meeting = key_conflicts.count(conn, plan, stored_set, selection, cancel)
    same_key = meeting.same_key or 0
    conflicts = same_key + meeting.other_key
    skipped = conflicts if plan.on_conflict == "skip" else 0
    updated = same_key if plan.on_conflict == "update" else 0
    coming = meeting.wanted - (same_key if plan.on_conflict == "skip" else 0)
    return TableRestore(
        duration=0.0,
        file=plan.stored.file,
        bytes=plan.stored.bytes,
        rows=meeting.wanted - skipped,
        updated=updated,
        skipped=skipped,
        left_out=meeting.read - meeting.wanted,
        conflicts=conflicts,
        rows_before=plan.rows_before,
        rows_after=plan.rows_kept + meeting.wanted - skipped - updated,
        target=plan.name.label,
        created=plan.created,
        indexes=(*(index.name for index in plan.rebuilt(coming)), *plan.new_indexes),
        notes=(*plan.notes, *_notes(plan, meeting)),
    )


def _notes(plan: TablePlan, meeting: Meeting) -> list[str]:
    notes = [] if meeting.note is None else [meeting.note]
    if meeting.same_key is None:
        notes.append(f"{plan.label}: without its primary key nothing tells which rows are there already")
    conflicts = (meeting.same_key or 0) + meeting.other_key
    if conflicts and plan.on_conflict == "error":
        notes.append(
            f"{plan.label}: {conflicts:,} of its keys are there already, so the restore would be refused; set "
            "on_conflict to skip, which puts back what is missing and leaves the rows that are there, or to update, "
            "which overwrites them; truncate_before_restore replaces all rows of the table"
        )
    elif meeting.other_key and plan.on_conflict == "update":
        notes.append(
            f"{plan.label}: {meeting.other_key:,} of its rows have a key of another row that is there, by another "
            "constraint than the one that on_conflict goes by, so the restore would be refused; set "
            "truncate_before_restore"
        )
    return notes
