"""What cannot be made is left out with a note and never stops the data; what would change rows is found out."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgvector_backup.engine.base.errors import Conflict, IntegrityFault
from tests.engine.test_by_hand import by_hand
from tests.engine.test_restore_states import rows, script
from tests.helpers.database import Database, definitions
from tests.helpers.house import House


def notes(result: Any) -> str:
    return " ".join(note for table in result.tables.values() for note in table.notes)


GIVEN_UP = (
    "CREATE UNIQUE INDEX CONCURRENTLY one ON t (id)",
    "CREATE INDEX CONCURRENTLY mixed ON t USING hnsw ((v::vector(2)) vector_l2_ops)",
)


@pytest.fixture
def given_up(house: House) -> House:
    """A table with indexes that the server gave up on, for its rows do not allow them."""
    house.database.run("CREATE TABLE t (id int, v vector)")
    house.database.run("INSERT INTO t VALUES (1, '[1,2]'), (1, '[1,2,3]'), (2, NULL)")
    house.database.run("CREATE INDEX good ON t (id)")
    for statement in GIVEN_UP:
        with pytest.raises(psycopg.DatabaseError):
            house.database.run(statement)
    house.configure(tables="t", truncate_tables="t")
    return house


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("how", ["emptied by the restore", "emptied before", "deleted before"])
def test_an_index_that_the_server_gave_up_on(given_up: House, how: str, file_format: str) -> None:
    before = rows(given_up.database, "t")
    result = given_up.backup(file_format=file_format)
    if how == "emptied before":
        given_up.truncate(result)  # which makes both of them valid
    elif how == "deleted before":
        given_up.database.run("DELETE FROM t")
    restored = given_up.restore(truncate_before_restore=how == "emptied by the restore")
    assert rows(given_up.database, "t") == before
    for name in ("one", "mixed"):
        assert f"index {name} was left out" in notes(restored)
    assert given_up.database.run("SELECT indexname FROM pg_indexes WHERE tablename = 't'") == [("good",)]


def test_an_index_that_the_server_gave_up_on_elsewhere(given_up: House, elsewhere: Database) -> None:
    before = rows(given_up.database, "t")
    given_up.backup()
    for request in ({"into": elsewhere}, {"schema": "copy"}):
        told = notes(given_up.restore(**request))
        assert "index one was left out" in told
        assert "index mixed was left out" in told
    assert rows(elsewhere, "t") == rows(given_up.database, "copy.t") == before
    assert given_up.verify(depth="drill").failure is None


def test_rows_that_join_a_table_with_such_an_index(given_up: House) -> None:
    given_up.backup()
    given_up.database.run("DELETE FROM t WHERE id = 2")
    given_up.restore(on_conflict="error")
    assert given_up.count("t") == 5


def test_keys_whose_triggers_are_disabled(house: House, elsewhere: Database) -> None:
    script(
        house,
        "CREATE TABLE p (id int PRIMARY KEY);\nCREATE TABLE t (id int REFERENCES p, v vector(2));\n"
        "ALTER TABLE t DISABLE TRIGGER ALL;\nINSERT INTO t SELECT n, '[1,2]' FROM generate_series(1, 1500) AS n",
    )
    house.configure(tables="p,t")
    house.backup()
    before, shape = rows(house.database, "t"), definitions(house.database)
    house.restore(truncate_before_restore=True)
    assert rows(house.database, "t") == before
    assert definitions(house.database) == shape
    assert house.database.run("SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE tgrelid = 't'::regclass") == [
        ("D",)
    ]
    told = notes(house.restore(into=elsewhere))
    assert rows(elsewhere, "t") == before
    assert "t_id_fkey is not valid now" in told
    assert house.verify(depth="drill").failure is None


MEDDLING = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN UPDATE t SET w = 'meddled' WHERE id = 7 AND w <> 'meddled'; RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER meddling AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION meddle()
"""


@pytest.mark.parametrize(
    ("key", "left", "request_"),
    [
        ("PRIMARY KEY", "true", {"truncate_before_restore": True}),
        ("", "true", {"truncate_before_restore": True}),
        ("PRIMARY KEY", "id <> 7", {"on_conflict": "skip"}),
        ("PRIMARY KEY", "id <> 7", {"on_conflict": "update"}),
        ("PRIMARY KEY", "id = 0", {}),
        ("", "id = 0", {}),
        ("", "id = 0", {"on_conflict": "skip"}),
    ],
    ids=str,
)
def test_a_deferred_trigger_that_alters_rows(house: House, key: str, left: str, request_: dict[str, Any]) -> None:
    script(
        house, f"CREATE TABLE t (id int {key}, w text);\nINSERT INTO t SELECT n, 'w' FROM generate_series(1, 20) AS n"
    )
    house.configure(tables="t")
    house.backup()
    house.database.run("INSERT INTO t VALUES (0, 'came later')")
    house.database.run(f"DELETE FROM t WHERE NOT ({left})")
    script(house, MEDDLING)
    before = rows(house.database, "t")
    with pytest.raises(IntegrityFault, match="trigger"):
        house.restore(**request_)
    assert rows(house.database, "t") == before


def test_a_deferred_check_that_fails_is_told_of(house: House) -> None:
    script(
        house,
        "CREATE TABLE d (id int PRIMARY KEY);\n"
        "CREATE TABLE e (id int PRIMARY KEY, d int REFERENCES d DEFERRABLE INITIALLY DEFERRED);\n"
        "INSERT INTO d VALUES (1);\nINSERT INTO e VALUES (1, 1)",
    )
    house.configure(tables="d,e")
    house.backup()
    script(house, "TRUNCATE d, e")
    with pytest.raises(Conflict, match="restore the other table too"):
        house.restore(tables=["e"])
    assert house.count("e") == 0


def test_what_a_set_names_and_does_not_keep(house: House, elsewhere: Database) -> None:
    house.database.run("DROP ROLE IF EXISTS reader; CREATE ROLE reader")
    script(
        house,
        "CREATE FUNCTION ours() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'x'$$;\n"
        "CREATE TABLE t (id int, w text DEFAULT ours(), g text GENERATED ALWAYS AS (ours()) STORED, v vector(2));\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;\n"
        "CREATE TRIGGER watcher BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();\n"
        "CREATE RULE quiet AS ON DELETE TO t DO ALSO NOTHING;\nCREATE PUBLICATION news FOR TABLE t (id);\n"
        "CREATE INDEX ours ON t (ours());\nGRANT SELECT ON t TO reader;\n"
        "CREATE POLICY seen ON t FOR SELECT TO reader USING (id > 0);\nALTER TABLE t ENABLE ROW LEVEL SECURITY;\n"
        'CREATE COLLATION "our own" (provider = libc, locale = \'C\');\nALTER TABLE t ADD c text COLLATE "our own";\n'
        "INSERT INTO t (id, v) VALUES (1, '[1,2]')",
    )
    house.configure(tables="t")
    house.backup()
    before = house.database.run("SELECT id, w, v::text, c FROM t")
    try:
        house.database.run("DROP OWNED BY reader; DROP ROLE reader")
        told = notes(house.restore(into=elsewhere))
    finally:
        house.database.run("DROP ROLE IF EXISTS reader")
    assert elsewhere.run("SELECT id, w, v::text, c FROM t") == before
    assert elsewhere.run("SELECT relrowsecurity FROM pg_class WHERE relname = 't'") == [(True,)]
    for word in (
        "default",
        "generated column g",
        "watcher",
        "quiet",
        "news",
        "index ours",
        "granted",
        "seen",
        "our own",
    ):
        assert word in told, word


# --- partitions, policies, rules, triggers, keys ---


def test_a_partition_that_is_being_detached_is_no_part_any_more(house: House) -> None:
    script(
        house,
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);\n"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);\n"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (99);\nINSERT INTO t SELECT generate_series(1, 30);\n"
        # As DETACH CONCURRENTLY leaves it when it is interrupted.
        "UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 't1'::regclass",
    )
    house.configure(tables="t", truncate_tables="t")
    result = house.backup()
    assert result.tables["t"].rows == house.count("t") == 21
    before = rows(house.database, "t")
    house.truncate(result)
    house.restore()
    assert rows(house.database, "t") == before
    assert house.count("t1") == 9


@pytest.mark.parametrize("listed", ["t", "t1", "t,u1"])
def test_partitions_under_constraints_that_are_not_valid(house: House, listed: str) -> None:
    script(
        house,
        "CREATE TABLE q (id int PRIMARY KEY);\nCREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);\n"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);\n"
        "CREATE TABLE u (LIKE t) PARTITION BY RANGE (id);\n"
        "CREATE TABLE u1 PARTITION OF u FOR VALUES FROM (0) TO (100);\n"
        "INSERT INTO t SELECT n, -n FROM generate_series(1, 9) AS n;\nINSERT INTO u TABLE t;\n"
        "ALTER TABLE t ADD CONSTRAINT pos CHECK (n > 0) NOT VALID;\n"
        "ALTER TABLE t ADD CONSTRAINT fk FOREIGN KEY (n) REFERENCES q NOT VALID;\n"
        "ALTER TABLE u ADD CONSTRAINT pos CHECK (n > 0) NOT VALID",
    )
    house.configure(tables=listed)
    house.backup()
    before, shape = {name: rows(house.database, name) for name in ("t", "u")}, definitions(house.database)
    house.restore(truncate_before_restore=True)
    assert {name: rows(house.database, name) for name in ("t", "u")} == before
    assert definitions(house.database) == shape


@pytest.mark.apart
def test_a_drill_of_a_table_whose_owner_is_held_to_its_policies(house: House) -> None:
    script(
        house,
        "CREATE TABLE t (id int);\nINSERT INTO t SELECT generate_series(1, 9);\n"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\nCREATE POLICY p ON t USING (id > 5)",
    )
    house.configure(tables="t")
    house.backup()
    result = house.verify(depth="drill")
    assert result.errors == []
    assert result.sets[0].tables["t"].drill is not None
    assert result.sets[0].tables["t"].drill["rows"] == 9


@pytest.mark.parametrize("rule", ["INSERT TO t DO INSTEAD NOTHING", "UPDATE TO t DO ALSO NOTHING"])
def test_rules_that_rewrite_what_is_written(house: House, rule: str) -> None:
    script(house, f"CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1), (2);\nCREATE RULE r AS ON {rule}")
    house.configure(tables="t")
    house.backup()
    house.database.run("DELETE FROM t WHERE id = 1")
    for dry_run in (True, False):
        with pytest.raises(Conflict, match='DISABLE RULE "r"') as caught:
            house.restore(on_conflict="skip", dry_run=dry_run)
        assert not caught.value.can_retry
    house.database.run("ALTER TABLE t DISABLE RULE r")
    house.restore(on_conflict="skip")
    assert rows(house.database, "t") == ["(1)", "(2)"]
    house.database.run("ALTER TABLE t ENABLE RULE r")
    house.restore(truncate_before_restore=True)
    assert rows(house.database, "t") == ["(1)", "(2)"]


def test_a_trigger_that_alters_rows_is_named_and_the_set_is_not_blamed(house: House) -> None:
    script(
        house,
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz);\nINSERT INTO t VALUES (1, now());\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.at = clock_timestamp(); RETURN NEW; END$$;"
        '\nCREATE TRIGGER "Updated At" BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()',
    )
    house.configure(tables="t")
    house.backup()
    before = rows(house.database, "t")
    for request in ({"truncate_before_restore": True}, {"on_conflict": "update"}):
        with pytest.raises(IntegrityFault) as caught:
            house.restore(**request)
        told = caught.value.message
        assert "could take its place" not in told
        house.database.run(told[told.index("ALTER TABLE") : told.index(". Nothing was changed")])
        house.restore(**request)
        assert rows(house.database, "t") == before
        house.database.run('ALTER TABLE t ENABLE TRIGGER "Updated At"')


def test_rows_without_a_key_are_there_twice_and_the_result_says_so(house: House) -> None:
    script(house, "CREATE TABLE t (w text);\nINSERT INTO t VALUES ('a')")
    house.configure(tables="t")
    house.backup()
    assert "there twice now" in notes(house.restore())
    assert rows(house.database, "t") == ["(a)", "(a)"]
    assert "twice" not in notes(house.restore(truncate_before_restore=True))
    house.database.run("CREATE UNIQUE INDEX ON t (w)")
    assert "twice" not in notes(house.restore(on_conflict="skip"))


# --- sequences ---


def test_the_next_insert_works(house: House, elsewhere: Database) -> None:
    script(
        house,
        "CREATE SEQUENCE doc_seq;\nCREATE SEQUENCE down INCREMENT -1 MINVALUE -1000 MAXVALUE -1;\n"
        "CREATE SCHEMA s;\nCREATE SEQUENCE s.late;\n"
        "CREATE TABLE t (id bigserial PRIMARY KEY, k text UNIQUE DEFAULT 'doc-' || nextval('doc_seq'), "
        "d int UNIQUE DEFAULT nextval('down'), l text UNIQUE DEFAULT nextval('s.late'::text)::text, "
        "i int UNIQUE GENERATED ALWAYS AS IDENTITY (INCREMENT 10), x int);\n"
        "INSERT INTO t (x) SELECT generate_series(1, 25)",
    )
    house.configure(tables="t")
    house.backup()
    house.database.run("DROP TABLE t CASCADE; DROP SEQUENCE doc_seq, down, s.late")
    for where, into, request in (
        ("t", house.database, {}),
        ("t", elsewhere, {}),
        ("copy.t", house.database, {"schema": "copy"}),
    ):
        house.restore(into=into, **request)
        for _ in range(3):
            into.run(f"INSERT INTO {where} (x) VALUES (0)")
        assert into.run(f"SELECT count(*) FROM {where}") == [(28,)]
        assert into.run(f"SELECT max(id), min(d), max(i) FROM {where}") == [(28, -28, 271)]
    # In place, over a sequence that has fallen behind and one that is ahead.
    script(house, "SELECT setval('doc_seq', 1);\nSELECT setval('t_id_seq', 500);\nALTER SEQUENCE down RESTART")
    house.restore(truncate_before_restore=True)
    house.database.run("INSERT INTO t (x) VALUES (0)")
    assert house.database.run("SELECT k, id, d FROM t WHERE x = 0") == [("doc-26", 501, -26)]


def test_a_sequence_that_two_tables_draw_from(house: House, elsewhere: Database) -> None:
    script(
        house,
        "CREATE TABLE a (id serial PRIMARY KEY, x int);\n"
        "CREATE TABLE b (id int PRIMARY KEY DEFAULT nextval('a_id_seq'), x int);\n"
        "INSERT INTO a (x) VALUES (1), (2);\nINSERT INTO b (x) VALUES (1), (2), (3)",
    )
    for order in ("a,b", "b,a"):
        house.configure(tables=order)
        house.backup()
        house.restore(into=elsewhere)
        for table in ("a", "b"):
            elsewhere.run(f"INSERT INTO {table} (x) VALUES (9)")
        assert elsewhere.run("SELECT array_agg(id) FROM (TABLE a UNION ALL TABLE b ORDER BY 1) AS t") == [
            ([1, 2, 3, 4, 5, 6, 7],)
        ]
        assert elsewhere.run("SELECT pg_get_serial_sequence('a', 'id')") == [("public.a_id_seq",)]
        elsewhere.run("DROP TABLE a, b CASCADE")


def test_the_sequence_of_an_old_table_that_was_kept(house: House) -> None:
    script(house, "CREATE TABLE t (id serial PRIMARY KEY, x int);\nINSERT INTO t (x) SELECT generate_series(1, 9)")
    house.configure(tables="t")
    house.backup()
    script(house, "ALTER TABLE t RENAME TO t_old;\nALTER INDEX t_pkey RENAME TO t_old_pkey")
    told = notes(house.restore())
    assert "belongs to public.t_old" in told
    house.database.run("INSERT INTO t (x) VALUES (0)")
    house.database.run("DROP TABLE t_old CASCADE")
    house.database.run("INSERT INTO t (x) VALUES (0)")
    assert house.database.run("SELECT max(id) FROM t") == [(11,)]


def test_a_sequence_that_the_role_may_not_set(house: House) -> None:
    script(
        house,
        "CREATE SEQUENCE doc_seq;\nCREATE TABLE t (k text DEFAULT 'doc-' || nextval('doc_seq'), x int);\n"
        "INSERT INTO t (x) SELECT generate_series(1, 9)",
    )
    house.configure(tables="t")
    house.backup()
    script(house, "TRUNCATE t;\nSELECT setval('doc_seq', 1);\nDROP ROLE IF EXISTS clerk;\nCREATE ROLE clerk LOGIN")
    house.database.run("GRANT ALL ON t TO clerk; GRANT USAGE ON SEQUENCE doc_seq TO clerk")
    house.connect = lambda: house.database.connect("clerk")
    try:
        told = notes(house.restore())
    finally:
        house.database.run("DROP OWNED BY clerk; DROP ROLE clerk")
    assert house.count("t") == 9
    house.database.run(told[told.index("SELECT setval") :])
    assert house.database.run("SELECT nextval('doc_seq')") == [(10,)]


def test_a_cycling_and_a_bounded_sequence(house: House, elsewhere: Database) -> None:
    script(
        house,
        "CREATE SEQUENCE round MAXVALUE 5 CYCLE;\nCREATE SEQUENCE few MAXVALUE 9;\n"
        "CREATE TABLE t (r int DEFAULT nextval('round'), f int DEFAULT nextval('few'), x int);\n"
        "INSERT INTO t (x) SELECT generate_series(1, 7);\nINSERT INTO t (r, f) VALUES (1, 50)",
    )
    house.configure(tables="t")
    house.backup()
    told = notes(house.restore(into=elsewhere))
    assert "few counts from 1 to 9" in told
    assert elsewhere.run("SELECT nextval('round')") == [(3,)]


def test_a_parent_is_replaced_with_its_children(house: House) -> None:
    script(
        house,
        "CREATE TABLE p (id int, v vector(2));\nCREATE TABLE c () INHERITS (p);\n"
        "INSERT INTO p VALUES (1, '[1,2]');\nINSERT INTO c VALUES (2, '[1,2]')",
    )
    house.configure(tables="p", include_children=True)
    house.backup()
    result = house.restore(truncate_before_restore=True)
    assert (result.tables["p"].rows_before, result.tables["p"].rows_after) == (2, 2)
    assert house.database.run("SELECT p::text FROM p ORDER BY id") == [('(1,"[1,2]")',), ('(2,"[1,2]")',)]


@pytest.mark.parametrize("hand", [False, True])
def test_comments_on_sequences_and_policies_come_back(house: House, elsewhere: Database, hand: bool) -> None:
    house.database.run("CREATE SEQUENCE alone")
    house.database.run("CREATE TABLE t (id serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY)")
    house.database.run("ALTER TABLE t ADD n int DEFAULT nextval('alone'); CREATE POLICY p ON t USING (id > 0)")
    house.database.run(
        "COMMENT ON SEQUENCE alone IS 'it''s 1'; COMMENT ON SEQUENCE t_id_seq IS '2';"
        " COMMENT ON SEQUENCE t_i_seq IS '3'; COMMENT ON POLICY p ON t IS '4'"
    )
    house.configure(tables="t")
    result = house.backup()
    if hand:
        assert by_hand(house, elsewhere, str(result.backup_id)).returncode == 0
    else:
        house.restore(into=elsewhere)
    query = "SELECT description FROM pg_description WHERE objoid >= 16384 ORDER BY 1"
    told = [one[0] for one in elsewhere.run(query)]
    assert [one for one in told if len(one) < 8] == ["2", "3", "4", "it's 1"]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("CREATE UNIQUE INDEX ON t (id) WHERE id > 100", True),
        ("CREATE UNIQUE INDEX ON t (n)", True),
        ("CREATE UNIQUE INDEX ON t ((n + 1))", True),
        ("CREATE UNIQUE INDEX ON t (id) INCLUDE (n)", False),
        ("CREATE UNIQUE INDEX ON t (id, m) NULLS NOT DISTINCT", False),
    ],
)
def test_a_key_of_some_rows_tells_not_all_of_them_apart(house: House, key: str, told: bool) -> None:
    house.database.run("CREATE TABLE t (id int NOT NULL, n int, m int)")
    house.database.run("INSERT INTO t VALUES (1, NULL, 1), (2, NULL, NULL)")
    house.database.run(key)
    house.configure(tables="t")
    house.backup()
    house.database.run("DELETE FROM t WHERE id = 1")
    result = house.restore(on_conflict="skip")
    assert ("may be there twice now" in notes(result)) is told
    assert house.count("t") == (3 if told else 2)
