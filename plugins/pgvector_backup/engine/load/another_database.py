"""Whether a set goes into the database that it is of; into another one only when the request says so.

A server's identity is new after initdb, after an upgrade with pg_upgrade and after a disaster: a database of the same
name on another server is taken for the set's own as long as nothing lies in its tables. Another name is another
database in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.load.places import Place
from pgvector_backup.engine.postgres.source import Source

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
    both = f"the set is of {source.describe()}, and this restore goes into {target.describe()}"
    if source.database != target.database:
        return f"{both}; if that is meant, set {WORD}"
    filled = [place.name.label for place in places if place.exists and _holds_rows(conn, place)]
    if not filled:
        return None
    return (
        f"{both}: of the same name, on another server than the set's (an upgraded or new server is another one), and "
        f"rows lie in {', '.join(filled)}; if that is meant, set {WORD}"
    )


def remark(source: Source | None, target: Source | None) -> str | None:
    """What a result says of the two databases; None where they are one."""
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
    row = conn.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(place.name.identifier)).fetchone()
    return row == (True,)
