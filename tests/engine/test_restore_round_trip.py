"""What was backed up comes back equal, row for row: any format, compression and number of jobs, here or elsewhere."""

from __future__ import annotations

import itertools

import pytest

from tests.helpers.database import Database, contents, definitions
from tests.helpers.house import House
from tests.helpers.kinds import KINDS
from tests.helpers.langchain import PAIR

FORMATS = ("csv", "binary")
COMPRESSIONS = ("none", "zstd", "gzip")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(("file_format", "compression"), list(itertools.product(FORMATS, COMPRESSIONS)))
def test_into_the_same_and_into_an_empty_database(
    house: House, elsewhere: Database, file_format: str, compression: str, jobs: int
) -> None:
    house.langchain(8_000)
    house.configure(jobs=jobs)
    before, shape = contents(house.database, *PAIR), definitions(house.database)
    house.backup(file_format=file_format, compression=compression)

    house.database.run("UPDATE langchain_pg_embedding SET document = 'changed' WHERE id < 'id-5'")
    house.database.run("DELETE FROM langchain_pg_embedding WHERE id LIKE '%7'")
    result = house.restore(truncate_before_restore=True).to_json()
    assert contents(house.database, *PAIR) == before
    assert definitions(house.database) == shape
    assert result["restore_performed"]
    assert result["truncate_performed"]
    assert result["restore_results"]["langchain_pg_embedding"]["rows_restored"] == 8_000

    house.restore(into=elsewhere)
    assert contents(elsewhere, *PAIR) == before
    assert definitions(elsewhere) == shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_kind_of_table(house: House, elsewhere: Database, kind: str, file_format: str) -> None:
    name, script = KINDS[kind]
    house.database.run(script)
    house.configure(tables=name, back_up_views=kind == "view")
    before = contents(house.database, name)
    house.backup(file_format=file_format, compression="zstd")
    house.restore(into=elsewhere)
    assert contents(elsewhere, name) == before
    if "view" not in kind and "foreign" not in kind:
        house.restore(truncate_before_restore=True)
        assert contents(house.database, name) == before
