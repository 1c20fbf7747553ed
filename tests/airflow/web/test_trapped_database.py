"""What HTTP asks of a database in which somebody has laid a trap for every name that we use."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.helpers import traps
from tests.helpers.api import Api
from tests.helpers.database import Database


def test_health_and_overview_spring_no_trap(house: Path, api: Api, database: Database) -> None:
    with psycopg.connect(database.uri(), autocommit=True) as conn:
        laid = traps.lay(conn, ["first"])
    assert laid["function"] > 500
    database.run(f"ALTER DATABASE {database.name} SET search_path = first, public, pg_catalog")
    # The traps are sharp: whoever names nothing of the server's in full falls into one.
    with psycopg.connect(database.uri()) as conn:
        try:
            conn.execute("SELECT current_setting('server_version')")
        except psycopg.Error as sprung:
            assert traps.MARK in str(sprung)
        else:
            raise AssertionError("the traps are blunt")
    assert api.get("/health") == {"database": "ok", "storage": "ok"}
    assert traps.MARK not in str(api.get("/overview"))
