"""What a green result must not keep quiet: rows that are elsewhere, a table that has lost most of its rows."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone

import pytest

from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.contract.backup_result import RunReport
from tests.helpers.database import Database, contents
from tests.helpers.house import House

FAMILY = """
CREATE TABLE parent (id int PRIMARY KEY, v vector(2));
CREATE TABLE child (more text) INHERITS (parent); CREATE TABLE grandchild (even_more text) INHERITS (child);
CREATE TABLE "Idle one" () INHERITS (parent);
INSERT INTO child SELECT n, ARRAY[n, 1]::vector, 'x' FROM generate_series(1, 50) AS n;
INSERT INTO grandchild SELECT n, ARRAY[n, 1]::vector, 'x', 'y' FROM generate_series(51, 60) AS n;
"""
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def family(house: House) -> House:
    for statement in filter(str.strip, FAMILY.split(";")):
        house.database.run(statement)
    house.configure(tables="parent", truncate_tables="parent")
    return house


def test_rows_of_children_that_are_not_in_the_set_are_told_of(family: House, caplog: pytest.LogCaptureFixture) -> None:
    result = family.backup()
    (note,) = result.tables["parent"].notes
    assert "NOT IN THE SET" in note
    assert "public.child" in note
    assert "include_children" in note
    assert result.tables["parent"].rows == 0
    assert note in caplog.text
    assert any(record.levelno == logging.WARNING and note in record.message for record in caplog.records)
    told = RunReport(result.to_json(), None, truncate_asked=False, timestamp=NOON)
    assert told.to_json()["notes"] == [note]
    assert f"note:      {note}" in told.log_section(task_id=None, run_id="run")


def test_children_without_rows_or_with_a_file_of_their_own_are_not(family: House) -> None:
    family.configure(tables='parent,child,grandchild,"Idle one"')
    assert all(table.notes == () for table in family.backup().tables.values())
    family.database.run("TRUNCATE child, grandchild")
    family.configure(tables="parent")
    assert not any("NOT IN" in note for note in family.backup(now=NOON).tables["parent"].notes)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_children_are_taken_along(family: House, elsewhere: Database, file_format: str) -> None:
    family.configure(include_children=True)
    family.database.run("INSERT INTO parent VALUES (99, '[9,9]')")
    rows = family.database.run("SELECT id, v::text FROM parent ORDER BY id")
    result = family.backup(file_format=file_format)
    assert result.tables["parent"].rows == 61
    assert "public.grandchild" in " ".join(result.tables["parent"].notes)
    family.restore(into=elsewhere)
    assert elsewhere.run("SELECT id, v::text FROM parent ORDER BY id") == rows

    assert family.truncate(result).rows_before == {"parent": 61}
    assert family.count("parent") == 0
    family.restore()
    assert family.database.run("SELECT id, v::text FROM parent ORDER BY id") == rows
    restored = family.restore(truncate_before_restore=True)
    assert restored.tables["parent"].rows_before == 61
    assert family.database.run("SELECT id, v::text FROM parent ORDER BY id") == rows
    assert family.verify(depth="drill").failure is None


def test_a_row_that_a_child_got_since_forbids_a_truncate(family: House) -> None:
    family.configure(include_children=True)
    result = family.backup()
    family.database.run("INSERT INTO grandchild VALUES (77, '[1,1]')")
    with pytest.raises(Conflict, match="1 of 61 rows"):
        family.truncate(result)


def test_a_child_that_is_listed_is_not_taken_twice(family: House) -> None:
    family.configure(tables="parent,child", include_children=True)
    result = family.backup()
    assert {label: table.rows for label, table in result.tables.items()} == {"parent": 0, "child": 60}


@pytest.mark.parametrize(("left", "word"), [(0, "IS EMPTY"), (9, "has fallen to 9 rows"), (10, None), (30, None)])
def test_a_count_that_falls(house: House, caplog: pytest.LogCaptureFixture, left: int, word: str | None) -> None:
    house.database.run("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 20)")
    house.configure(tables="t")
    first = house.backup(now=NOON)
    assert first.tables["t"].notes == ()
    house.database.run("TRUNCATE t")
    house.database.run(f"INSERT INTO t SELECT generate_series(1, {left})")
    notes = house.backup(now=NOON + timedelta(days=1)).tables["t"].notes
    if word is None:
        assert notes == ()
    else:
        assert word in notes[0]
        assert f"{first.backup_id}, holds 20" in notes[0]
        assert notes[0] in caplog.text


def test_a_set_of_another_database_is_no_measure(house: House, elsewhere: Database) -> None:
    house.database.run("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 20)")
    elsewhere.run("CREATE TABLE t (id int)")
    house.configure(tables="t")
    house.backup(now=NOON)
    house.connect = elsewhere.connect
    assert house.backup(now=NOON + timedelta(days=1)).tables["t"].notes == ()
    house.connect = house.database.connect
    house.database.run("TRUNCATE t")
    assert "IS EMPTY" in house.backup(now=NOON + timedelta(days=2)).tables["t"].notes[0]


RECORDS = """
CREATE TABLE upsertion_record (uuid text PRIMARY KEY, key text, namespace text, group_id text, updated_at float);
INSERT INTO upsertion_record SELECT 'u' || n, 'id-' || n, 'pgvector/it''s', NULL, n FROM generate_series(1, 20) AS n;
"""


def test_a_record_manager_that_lists_what_is_emptied(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.langchain()
    for statement in filter(str.strip, RECORDS.split(";\n")):
        house.database.run(statement)
    result = house.backup()
    (note,) = house.truncate(result).notes
    assert "lists 20 of its documents" in note
    assert "force_update=True" in note
    assert note in caplog.text
    remedy = note[note.index("DELETE FROM") :]
    house.database.run(remedy)
    assert house.count("upsertion_record") == 0
    told = RunReport(result.to_json(), {"notes": [note]}, truncate_asked=True, timestamp=NOON)
    assert told.to_json()["notes"] == [note]
    assert note in told.log_section(task_id=None, run_id="run")


def test_record_managers_of_other_names_and_with_several_namespaces(house: House) -> None:
    house.langchain()
    house.database.run("CREATE SCHEMA app")
    for statement in filter(str.strip, RECORDS.replace("upsertion_record", 'app."Records"').split(";\n")):
        house.database.run(statement)
    house.database.run("UPDATE app.\"Records\" SET namespace = 'second' WHERE uuid > 'u15'")
    house.database.run('CREATE VIEW app.upsertion_record AS SELECT * FROM app."Records"')
    (note,) = house.truncate(house.backup()).notes
    assert "lists 20 of its documents in" in note
    house.database.run(note[note.index("DELETE FROM") :])
    assert house.count('app."Records"') == 0


def test_a_record_manager_of_other_documents_says_nothing(house: House) -> None:
    house.langchain()
    for statement in filter(str.strip, RECORDS.split(";\n")):
        house.database.run(statement)
    house.database.run("UPDATE upsertion_record SET key = 'other ' || key")
    result = house.backup()
    assert house.truncate(result).notes == ()
    assert house.count("langchain_pg_embedding") == 0


def test_a_record_manager_that_the_role_may_not_read(house: House) -> None:
    house.langchain()
    for statement in filter(str.strip, RECORDS.split(";\n")):
        house.database.run(statement)
    result = house.backup()
    house.database.run("DROP ROLE IF EXISTS emptier; CREATE ROLE emptier LOGIN")
    house.database.run(
        "GRANT SELECT, TRUNCATE ON langchain_pg_embedding TO emptier;"
        "GRANT EXECUTE ON FUNCTION pg_control_system, pg_control_checkpoint TO emptier"
    )
    house.connect = lambda: house.database.connect("emptier")
    try:
        (note,) = house.truncate(result).notes
    finally:
        house.database.run("DROP OWNED BY emptier; DROP ROLE emptier")
    assert "may not read" in note
    assert contents(house.database, "langchain_pg_embedding") == {"langchain_pg_embedding": []}
