"""What owners of a database's objects wrote runs with the rights of the backup's role only where that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pgvector_backup.engine.postgres import description
from tests.helpers.house import House


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("view", "CREATE VIEW t AS SELECT 1 AS id, spy() AS said"),
        (
            "foreign table",
            "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;"
            "CREATE FOREIGN TABLE t (id int) SERVER away",
        ),
    ],
)
def test_what_computes_its_rows_is_read_only_when_told_to(house: House, kind: str, script: str) -> None:
    house.database.run(
        "CREATE TABLE spied (who text); CREATE FUNCTION spy() RETURNS text LANGUAGE sql IMMUTABLE AS"
        " $$ SELECT current_user::text $$;" + script
    )
    house.configure(tables="t")
    failure = house.backup().failure
    assert failure is not None
    assert f"t is a {kind}" in failure.message
    assert "back_up_views" in failure.message
    assert failure.can_retry is False
    house.configure(back_up_views=True)
    told = house.backup().failure
    # The wrapper of this test has nothing behind it: to get as far as that is all.
    assert told is None if kind == "view" else "foreign-data wrapper" in str(told)


def test_a_view_that_takes_the_place_of_a_table_is_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its schema may be renamed while the table is locked."""
    house.database.run(
        "CREATE SCHEMA one; CREATE TABLE one.t (id int); CREATE SCHEMA other;CREATE VIEW other.t AS SELECT 666 AS id"
    )
    house.configure(tables="one.t")
    described = description.describe

    def describe(*args: Any, **kwargs: Any) -> Any:
        found = described(*args, **kwargs)
        house.database.run("ALTER SCHEMA one RENAME TO gone; ALTER SCHEMA other RENAME TO one")
        return found

    monkeypatch.setattr(description, "describe", describe)
    failure = house.backup().failure
    assert failure is not None
    assert "access to non-system view" in failure.message
