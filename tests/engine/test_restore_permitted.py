"""Which tables a restore may fill: the configuration's and the request's; what only the set names stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from pgvector_backup.engine.base.errors import InvalidParams
from tests.helpers.house import House

TABLES = "a", "b", "s.t", "public.t"


@pytest.fixture
def filled(house: House) -> House:
    """Four tables of one row each, all in one set; each row is another one since."""
    house.database.run("CREATE SCHEMA s")
    for table in TABLES:
        house.database.run(f"CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1)")
    return house


def set_of(house: House, *tables: str) -> None:
    house.configure(tables=",".join(tables))
    house.backup()
    for table in TABLES:
        house.database.run(f"UPDATE {table} SET id = 2")


def rows(house: House) -> dict[str, int]:
    """The row of each table: 1 where it was restored."""
    return {table: int(house.database.run(f"SELECT id FROM {table}")[0][0]) for table in TABLES}


def restored(house: House, **request: Any) -> set[str]:
    house.restore(truncate_before_restore=True, **request)
    return {table for table, row in rows(house).items() if row == 1}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("held", "configured", "refused"),
    [
        (("a", "b"), "a", "public.b"),
        (("s.t",), "t", "s.t"),  # the name without a schema is that of the role's own path
        (("s.t",), "public.t", "s.t"),
        (("public.t",), "s.t", "public.t"),
        (("a", "s.t"), "a,t", "s.t"),
    ],
)
def test_a_table_that_only_the_set_names_is_refused_and_nothing_is_changed(
    filled: House, held: tuple[str, ...], configured: str, refused: str, dry_run: bool
) -> None:
    set_of(filled, *held)
    filled.configure(tables=configured)
    with pytest.raises(InvalidParams, match=f"^tables: the set would be restored into {refused}, which"):
        filled.restore(truncate_before_restore=True, dry_run=dry_run)
    assert rows(filled) == dict.fromkeys(TABLES, 2)


@pytest.mark.parametrize(
    ("held", "configured"),
    [(("a", "b"), "b,a"), (("s.t",), "s.t"), (("public.t",), "t"), (("public.t", "s.t"), "s.t,t")],
)
def test_the_configurations_tables_are_restored(filled: House, held: tuple[str, ...], configured: str) -> None:
    set_of(filled, *held)
    filled.configure(tables=configured)
    assert restored(filled) == set(held)


def test_what_the_request_names_is_restored_whatever_the_configuration_lists(filled: House) -> None:
    set_of(filled, "a", "b", "s.t")
    filled.configure(tables="a")
    assert restored(filled, tables=["b", "s.t"]) == {"b", "s.t"}


def test_a_schema_that_the_request_names_says_where_but_not_what(filled: House) -> None:
    set_of(filled, "a", "b")
    filled.configure(tables="a")
    with pytest.raises(InvalidParams, match=r"restored into copy\.b, which"):
        filled.restore(schema="copy")
    filled.restore(schema="copy", tables=["a"])
    assert filled.database.run("SELECT id FROM copy.a") == [(1,)]
    assert rows(filled) == dict.fromkeys(TABLES, 2)


def test_a_table_that_is_not_there_is_made_where_its_name_is_configured_without_a_schema(filled: House) -> None:
    set_of(filled, "s.t")
    filled.configure(tables="t")
    filled.database.run("DROP TABLE s.t")
    filled.restore()
    assert filled.database.run("SELECT id FROM s.t") == [(1,)]
