"""The tables that rows go into are made, locked, emptied."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.load.definitions import create_extension, create_table
from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.load.plan import TablePlan
from pgvector_backup.engine.load.refusals import load_fault
from pgvector_backup.engine.postgres.locks import holders_named
from pgvector_backup.engine.postgres.tables import count_rows

_log: Final = logging.getLogger(__name__)


def make(conn: Connection[Any], places: Sequence[Place], request: RestoreRequest) -> dict[str, list[str]]:
    """Make pgvector's extension and the tables that are missing.

    :return: by label, what of a table could not be made, or is otherwise now
    """
    notes: dict[str, list[str]] = {}
    entries = [place.stored.entry for place in places if place.stored.entry is not None]
    if request.create_missing and create_extension(conn, entries):
        _log.info("created extension vector")
    for place in places:
        if not place.exists:
            entry = place.stored.entry
            assert entry is not None
            with load_fault(place.stored.label, on_conflict=request.on_conflict):
                notes[place.stored.label] = create_table(conn, entry, place.name)
            place.exists = True
            _log.info("%s: created table %s", place.stored.label, place.name.label)
    return notes


def lock(conn: Connection[Any], places: Sequence[Place], request: RestoreRequest) -> None:
    """Keep everybody out who could change the tables."""
    existing = [place for place in places if not place.created]
    if not existing:
        return
    # Without an emptying, who only reads may go on; an index that is dropped keeps them out later.
    mode = "ACCESS EXCLUSIVE" if request.truncate_before_restore else "SHARE ROW EXCLUSIVE"
    names = sql.SQL(", ").join(place.name.identifier for place in existing)
    labels = ", ".join(place.stored.label for place in existing)
    with load_fault(labels, on_conflict=request.on_conflict):
        try:
            with holders_named(conn, [place.name for place in existing], mode, label=labels):
                conn.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(names, sql.SQL(mode)))
        except psycopg.errors.WrongObjectType:
            raise Conflict(
                f"{', '.join(place.name.label for place in existing)}: not all of them are tables, so no rows can be "
                "restored; name another `schema` to have tables made there"
            ) from None


def empty(conn: Connection[Any], plans: Sequence[TablePlan]) -> dict[str, tuple[int, int]]:
    """Empty the tables that are to be emptied.

    :return: rows before and after, by label
    """
    emptied = [one for one in plans if one.emptied]
    if not emptied:
        return {}
    conn.execute(sql.SQL("TRUNCATE TABLE {}").format(sql.SQL(", ").join(one.table.source for one in emptied)))
    return {one.label: (one.rows_before, count_rows(conn, one.table.source)) for one in emptied}
