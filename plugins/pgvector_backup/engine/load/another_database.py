"""Whether a set goes into the database that it is of; among the rows of another one only when the request says so.

Another database is one of another name, or on a server of another identity, which is new after initdb, after an upgrade
with pg_upgrade and after a disaster. Where none of the tables holds a row there, nothing can be mixed up or lost: a
server set up anew, a scratch database, a move. The result says then where the set is from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.postgres.source import Source

_log: Final = logging.getLogger(__name__)

WORD: Final = "into_other_database"


def objection(
    conn: Connection[Any], source: Source | None, target: Source | None, places: Sequence[Place]
) -> str | None:
    """Why a restore there needs the word; None: it does not.

    :param source: the database that the set is of; None: nobody knows, so that nothing speaks against it
    :param target: the one that the connection is to
    :param places: where its tables' rows go
    """
    if source is None or target is None or source.is_database_of(target):
        return None
    filled = [place.name.label for place in places if place.exists and _holds_rows(conn, place)]
    if not filled:
        return None
    difference = "" if source.database != target.database else " of the same name on another server"
    return (
        f"the set is of {source.describe()}, and this restore goes into {target.describe()}, another database"
        f"{difference} in which rows lie in {', '.join(filled)}; if that is meant, set {WORD}"
    )


def remark(source: Source | None, target: Source | None) -> str | None:
    """What result and log say of the two databases; None, and a line of the log alone, where they are one."""
    said = _difference(source, target)
    if said is not None:
        _log.warning("%s", said)
    elif target is not None:
        _log.info("the set is of this database, %s", target.describe())
    return said


def _difference(source: Source | None, target: Source | None) -> str | None:
    if target is None:
        return "the server does not tell which database it is, so it was not held against the set's"
    here = target.describe()
    if source is None:
        return f"nothing tells which database the set is of, so it was not held against the target, {here}"
    if not source.is_database_of(target):
        return f"the set is of another database: of {source.describe()}, and it goes into {here}"
    if None in (source.system_identifier, target.system_identifier):
        return (
            f"the set is of {source.describe()}, the target is {here}: one of the servers does not tell its identity, "
            "so only the names were compared"
        )
    return None


def _holds_rows(conn: Connection[Any], place: Place) -> bool:
    """Whether rows lie there; of what is no table, a view above all, nothing is read, for it runs its owner's code."""
    name = place.name.identifier
    kind = conn.execute(
        "SELECT relkind::text FROM pg_class WHERE oid = %s::regclass", [name.as_string(conn)]
    ).fetchone()
    if kind not in (("r",), ("p",)):
        return True
    row = conn.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(name)).fetchone()
    return row == (True,)
