"""A set is loaded with psql alone, by the script that lies in it and the words of docs/by-hand.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.engine.test_restore_states import STATES, rows, script
from tests.helpers.database import Database, contents, definitions
from tests.helpers.house import House
from tests.helpers.langchain import PAIR
from tests.helpers.psql import psql_of

PAGE = Path(__file__).parents[2] / "docs" / "by-hand.md"


def by_hand(house: House, into: Database, backup_id: str) -> subprocess.CompletedProcess[str]:
    """The command of the page, letter for letter, with the names filled in."""
    (command,) = re.findall(r"^psql .*-f schema_.*$", PAGE.read_text(), re.MULTILINE)
    words = command.replace("20250721_234914", backup_id).replace("DATABASE", into.uri()).split()
    words[0] = str(psql_of(into.server))
    return subprocess.run(words, cwd=house.directory, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_pair(house: House, elsewhere: Database, file_format: str, compression: str) -> None:
    house.langchain(300)
    house.database.run("CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)")
    result = house.backup(file_format=file_format, compression=compression)
    assert result.backup_id is not None
    done = by_hand(house, elsewhere, result.backup_id)
    assert done.returncode == 0, done.stderr
    assert contents(elsewhere, *PAIR) == contents(house.database, *PAIR)
    assert definitions(elsewhere) == definitions(house.database)


@pytest.mark.parametrize("state", [name for name in STATES if "partitioned" not in name])
def test_every_state(house: House, elsewhere: Database, state: str) -> None:
    names, text = STATES[state]
    script(house, text.replace("{n}", "20"))
    house.configure(tables=names)
    result = house.backup()
    assert result.backup_id is not None
    done = by_hand(house, elsewhere, result.backup_id)
    assert done.returncode == 0, done.stderr
    for name in names.split(","):
        assert rows(elsewhere, name) == rows(house.database, name)
    # What a state has besides the tables that are backed up: a parent stays behind.
    left_out = ("statistics", *({"p"} - set(names.split(","))))
    mine = [one for one in definitions(house.database) if one[0] not in left_out]
    assert [one for one in definitions(elsewhere) if one[0] not in left_out] == mine


def test_names_give_psql_no_orders(house: House, elsewhere: Database, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    name = f'"x\n\\! touch {trap}\n"'
    house.database.run(f"CREATE TABLE t (id int, {name} int); INSERT INTO t VALUES (1, 2)")
    with psycopg.connect(house.database.uri(), autocommit=True) as conn:
        conn.execute(f"COMMENT ON TABLE t IS 'a\n\\! touch {trap}\n'".encode())
    house.configure(tables="t")
    result = house.backup()
    assert result.backup_id is not None
    by_hand(house, elsewhere, result.backup_id)
    assert not trap.exists()


def test_the_script_goes_with_its_set(house: House) -> None:
    from pgvector_backup.engine.remove import files_of
    from pgvector_backup.engine.sets.catalog import Catalog

    house.langchain()
    result = house.backup()
    catalog = Catalog(house.settings)
    location = catalog.place(None, None)
    assert f"schema_{result.backup_id}.sql" in files_of(location, catalog.find(location, "latest"))
