"""Each command: what it does, what it says, what it would do."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.set_json import describe_set
from tests.helpers.command import Command
from tests.helpers.database import Database
from tests.helpers.house import House
from tests.helpers.judge import leftovers, whole_sets

COLLECTION, EMBEDDING = "langchain_pg_collection", "langchain_pg_embedding"


@pytest.fixture
def backed_up(house: House) -> str:
    """LangChain's tables and one set of them, whose id is returned."""
    house.langchain()
    backup_id = house.backup().backup_id
    assert backup_id is not None
    return backup_id


def damage(house: House) -> Path:
    (path,) = house.directory.glob(f"{EMBEDDING}_*.csv")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    return path


def test_backup(house: House, command: Command) -> None:
    house.langchain()
    done = command("backup", "--json", "--file-format", "binary", "--compression", "zstd")
    assert done.code == 0
    result = done.json
    assert result["response"] == "Vector表备份完成"
    assert result["tables_backed_up"][EMBEDDING]["row_count"] == 58
    assert result["tables_backed_up"][EMBEDDING]["backup_file"].endswith(".pgcopy.zst")
    assert whole_sets(house.directory) == [result["backup_id"]]
    log = (house.directory / "vector_backup_log.txt").read_text()
    assert f"OK  {result['backup_id']}" in log
    assert "run_id:    cli__" in log
    manifest = json.loads((house.directory / result["manifest_file"]).read_bytes())
    assert manifest["run_id"].startswith("cli__")


def test_a_set_is_read_at_a_copy(house: House, backed_up: str, command: Command, tmp_path: Path) -> None:
    root = tmp_path / "other"
    root.mkdir()
    assert command("copy", "--to", str(root), "--backup-path", "vector_bak", "--quiet").code == 0
    for name in house.files():
        (house.directory / name).unlink()
    copies = {"AIRFLOW__PGVECTOR_BACKUP__COPY_ROOTS": str(root)}
    place = ["--backup-path", "vector_bak", "--timestamp", backed_up]
    assert command("verify", *place, "--quiet", **copies).code == 3
    told = command("verify", *place, "--json", "--from-copy", str(root), **copies)
    assert (told.code, told.json["sets"][0]["ok"]) == (0, True)
    planned = command(
        "restore", *place, "--on-conflict", "skip", "--dry-run", "--json", "--from-copy", str(root), **copies
    )
    assert planned.code == 0
    assert command("verify", *place, "--quiet", "--from-copy", str(tmp_path), **copies).code == 2


def test_backup_in_words(house: House, command: Command) -> None:
    house.langchain()
    done = command("backup", "--quiet")
    assert done.code == 0
    assert EMBEDDING in done.out
    assert "58" in done.out
    # The tests' role is a superuser, which is worth a warning.
    assert [line for line in done.err.splitlines() if "is a superuser, which a backup does not need" not in line] == []


def test_a_set_is_described_as_over_http(house: House, command: Command) -> None:
    house.langchain()
    command("backup", "--quiet")
    (place,) = Catalog(house.settings).locations()
    described = describe_set(place.sets[0], has_log=place.has_log)
    for words in (["list"], ["show"]):
        told = command(*words, "--json").json
        told = told["sets"][0] if "sets" in told else told
        assert {name: told[name] for name in described if name != "tables"} == {
            name: value for name, value in described.items() if name != "tables"
        }
        for table in told["tables"]:
            for name, value in described["tables"][table["name"]].items():
                assert table[name] == value


def test_logs_go_to_stderr(house: House, command: Command) -> None:
    house.langchain()
    done = command("backup", "--json")
    assert "backing up database" in done.err
    assert done.json["backup_performed"] is True


def test_a_table_that_fails_fails_the_command(house: House, command: Command) -> None:
    house.langchain()
    done = command("backup", "--json", "--tables", f"{EMBEDDING},absent")
    assert done.code == 3
    assert done.json["tables_backed_up"][EMBEDDING]["success"] is True
    assert done.json["tables_backed_up"]["absent"]["success"] is False
    assert "RESOURCE_NOT_FOUND" in done.err


def test_backup_dry_run(house: House, command: Command) -> None:
    house.langchain(1000)
    done = command("backup", "--dry-run", "--json")
    assert done.code == 0
    assert done.json["dry_run"] is True
    assert 900 < done.json["tables"][EMBEDDING]["rows"] < 1100
    assert done.json["needed_bytes"] > 100_000
    assert done.json["free_bytes"] > 0
    assert list(house.root.iterdir()) == []
    assert "about" in command("backup", "--dry-run").out


def test_backup_dry_run_says_what_would_fail(house: House, command: Command) -> None:
    house.langchain()
    done = command("backup", "--dry-run", "--json", "--tables", f"{EMBEDDING},absent")
    assert done.code == 3
    assert done.json["tables"]["absent"]["success"] is False
    assert command("backup", "--dry-run", "--task-id", "absent").code == 3


def test_list_and_show(house: House, command: Command, backed_up: str) -> None:
    (house.root / "nightly").mkdir()
    house.backup(task_id="nightly")
    listed = command("list", "--json").json["sets"]
    assert {one["backup_path"] for one in listed} == {"vector_bak", "nightly/vector_bak"}
    assert [one["task_id"] for one in command("list", "--json", "--task-id", "nightly").json["sets"]] == ["nightly"]
    assert [one["task_id"] for one in command("list", "--json", "--global-only").json["sets"]] == [None]
    told = command("list").out
    assert backed_up in told
    assert house.database.name in told
    assert house.database.run("SELECT system_identifier::text FROM pg_control_system()")[0][0] in told

    shown = command("show", "--json").json
    assert shown["timestamp"] == backed_up
    assert shown["tables"][1]["columns"]["embedding"] == "vector(8)"
    assert len(shown["tables"][1]["sha256"]) == 64
    assert shown["verification"] is None
    command("verify", "--timestamp", backed_up)
    words = command("show", "--timestamp", backed_up).out
    assert "verified" in words
    assert "CREATE INDEX ix_cmetadata_gin" in words
    assert "rows" in command("list").out


def test_an_empty_root_lists_nothing(house: House, command: Command) -> None:
    assert command("list", "--json").json["sets"] == []
    assert "no sets" in command("list").out


def test_verify(house: House, command: Command, backed_up: str) -> None:
    done = command("verify", "--json")
    assert done.code == 0
    assert done.json["sets"][0]["timestamp"] == backed_up
    assert done.json["sets"][0]["ok"] is True
    path = damage(house)
    done = command("verify", "--json", "--depth", "files")
    assert done.code == 5
    assert done.json["sets"][0]["damaged_tables"] == [EMBEDDING]
    assert path.name in done.err
    words = command("verify").out
    assert f"{EMBEDDING}: DAMAGED" in words
    assert f"{COLLECTION}: whole" in words


def test_verify_by_drill(house: House, command: Command, backed_up: str) -> None:
    done = command("verify", "--depth", "drill", "--json")
    assert done.code == 0
    assert done.json["sets"][0]["tables"][EMBEDDING]["drill"]["fingerprint"] == "equal"
    done = command("verify", "--depth", "drill", "--on-server", "--json")
    assert done.code == 0
    assert done.json["sets"][0]["tables"][EMBEDDING]["drill"]["searches"] == 3


def test_restore_into_an_empty_database(house: House, command: Command, backed_up: str, elsewhere: Database) -> None:
    done = command("restore", "--timestamp", backed_up, "--json", DATABASE_URL=elsewhere.uri())
    assert done.code == 0
    assert done.json["restore_results"][EMBEDDING]["rows_restored"] == 58
    assert f"database {house.database.name} " in done.json["notes"][0]
    assert elsewhere.run(f"SELECT count(*) FROM {EMBEDDING}") == [(58,)]
    assert "RESTORE OK" in (house.directory / "vector_backup_log.txt").read_text()


def test_restore_among_the_rows_of_another_database(
    house: House, command: Command, backed_up: str, elsewhere: Database
) -> None:
    elsewhere.run("CREATE EXTENSION vector")
    House(elsewhere, house.root).langchain(3)
    words = ["restore", "--timestamp", backed_up, "--truncate-before-restore", "--json"]
    for more in (["--yes"], ["--dry-run"]):
        refused = command(*words, *more, DATABASE_URL=elsewhere.uri())
        assert refused.code == 4
        for told in (f"database {house.database.name} ", f"database {elsewhere.name} ", "set into_other_database"):
            assert told in json.dumps(refused.json)
    assert refused.json["needs_into_other_database"] is True
    assert elsewhere.run(f"SELECT count(*) FROM {EMBEDDING}") == [(3,)]
    done = command(*words, "--yes", "--into-other-database", DATABASE_URL=elsewhere.uri())
    assert done.code == 0
    assert elsewhere.run(f"SELECT count(*) FROM {EMBEDDING}") == [(58,)]


def test_restore_dry_run_changes_nothing(house: House, command: Command, backed_up: str, elsewhere: Database) -> None:
    words = ["restore", "--timestamp", "latest", "--dry-run"]
    done = command(*words, "--json", DATABASE_URL=elsewhere.uri())
    assert done.code == 0
    assert done.json["restore_performed"] is False
    assert done.json["restore_results"][EMBEDDING]["created"] is True
    assert elsewhere.run("SELECT 1 FROM pg_class WHERE relname LIKE 'langchain%'") == []
    assert done.json["restore_results"][EMBEDDING]["indexes_built"] == ["ix_cmetadata_gin"]
    told = command(*words, DATABASE_URL=elsewhere.uri()).out
    assert "indexes to be built" in told
    assert f"of database {house.database.name}" in told
    assert f"into database {elsewhere.name}" in told


def test_restore_dry_run_counts_the_keys_that_are_there(house: House, command: Command, backed_up: str) -> None:
    house.database.run(f"DELETE FROM {EMBEDDING} WHERE id > 'id-3'")
    left = house.count(EMBEDDING)
    words = ["restore", "--timestamp", backed_up, "--tables", EMBEDDING, "--dry-run"]
    refused = command(*words)
    assert refused.code == 4
    assert f"{left} of its keys are there already" in refused.out
    skipped = command(*words, "--on-conflict", "skip", "--json")
    assert skipped.code == 0
    planned = skipped.json["restore_results"][EMBEDDING]
    assert (planned["rows_restored"], planned["rows_skipped"], planned["rows_after"]) == (58 - left, left, 58)
    updated = command(*words, "--on-conflict", "update", "--json").json["restore_results"][EMBEDDING]
    assert (updated["rows_restored"], updated["rows_updated"], updated["rows_after"]) == (58, left, 58)
    assert command(*words, "--truncate-before-restore").code == 0
    assert house.count(EMBEDDING) == left
    done = command("restore", "--timestamp", backed_up, "--tables", EMBEDDING, "--on-conflict", "skip", "--json")
    assert done.json["restore_results"][EMBEDDING]["rows_skipped"] == left
    assert house.count(EMBEDDING) == 58


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_restore_dry_run_of_every_format(house: House, command: Command, file_format: str) -> None:
    house.langchain()
    house.backup(file_format=file_format, compression="gzip")
    done = command("restore", "--timestamp", "latest", "--dry-run", "--json")
    assert done.code == 4
    assert "58 of its keys" in done.json["restore_results"][EMBEDDING]["notes"][0]


def test_restore_asks_before_rows_are_replaced(house: House, command: Command, backed_up: str) -> None:
    house.database.run(f"UPDATE {EMBEDDING} SET document = 'new'")
    asked = command("restore", "--timestamp", backed_up, "--truncate-before-restore", stdin="yes\n")
    assert asked.code == 2
    assert "--yes" in asked.err
    assert house.database.run(f"SELECT DISTINCT document FROM {EMBEDDING}") == [("new",)]
    done = command("restore", "--timestamp", backed_up, "--truncate-before-restore", "--yes")
    assert done.code == 0
    assert house.database.run(f"SELECT count(*) FROM {EMBEDDING} WHERE document = 'new'") == [(0,)]


def test_restore_of_one_collection_under_another_name(house: House, command: Command, backed_up: str) -> None:
    done = command(
        "restore",
        "--timestamp",
        backed_up,
        "--collections",
        "collection 1",
        "--rename-collection",
        "collection 1=copy",
        "--json",
    )
    assert done.code == 0
    assert house.database.run(f"SELECT count(*) FROM {COLLECTION} WHERE name = 'copy'") == [(1,)]


def test_restore_meets_a_key_that_is_there(command: Command, backed_up: str) -> None:
    done = command("restore", "--timestamp", backed_up, "--json")
    assert done.code == 4
    assert done.json["error_type"] == "CONFLICT"


def test_truncate(house: House, command: Command, backed_up: str) -> None:
    planned = command("truncate", "--timestamp", backed_up, "--dry-run", "--json")
    assert planned.code == 0
    assert planned.json["truncate_performed"] is False
    assert planned.json["truncate_results"][EMBEDDING]["rows_before"] == 58
    assert house.count(EMBEDDING) == 58
    assert command("truncate", "--timestamp", backed_up).code == 2, "nobody can be asked"
    assert command("truncate").code == 2, "without a set there is nothing to rely on"
    assert house.count(EMBEDDING) == 58
    done = command("truncate", "--timestamp", backed_up, "--yes", "--json")
    assert done.code == 0
    assert done.json["truncate_results"][EMBEDDING]["rows_after"] == 0
    assert house.count(EMBEDDING) == 0
    assert "58 rows -> 0" in (house.directory / "vector_backup_log.txt").read_text()


def test_truncate_is_refused_when_a_row_is_in_no_set(house: House, command: Command, backed_up: str) -> None:
    house.database.run(f"INSERT INTO {EMBEDDING} (id) VALUES ('new')")
    for more in (["--dry-run"], ["--yes"]):
        done = command("truncate", "--timestamp", backed_up, *more)
        assert done.code == 4
        assert "1 of 59 rows" in done.err
    assert house.count(EMBEDDING) == 59


def test_a_truncate_that_is_only_tried_waits_for_nobody(house: House, command: Command, backed_up: str) -> None:
    with house.database.connect() as reader:
        reader.execute(f"SELECT count(*) FROM {EMBEDDING}")
        assert command("truncate", "--timestamp", backed_up, "--dry-run").code == 0


def test_truncate_means_the_latest_of_its_own_database(
    house: House, command: Command, backed_up: str, elsewhere: Database
) -> None:
    elsewhere.run("CREATE EXTENSION vector")
    other = House(elsewhere, house.root)
    other.langchain(3)
    other.backup(now=datetime.now(timezone.utc) + timedelta(minutes=1))
    planned = command("truncate", "--timestamp", "latest", "--dry-run", "--json")
    assert (planned.code, planned.json["backup_id"]) == (0, backed_up)
    done = command("truncate", "--timestamp", "latest", "--yes", "--json", DATABASE_URL=elsewhere.uri())
    assert done.json["truncate_results"][EMBEDDING]["rows_before"] == 3
    assert house.count(EMBEDDING) == 58


def test_a_damaged_set_is_called_so_and_the_next_whole_one_is_named(
    house: House, command: Command, backed_up: str
) -> None:
    newer = house.backup(now=datetime.now(timezone.utc) + timedelta(minutes=1)).backup_id
    path = house.directory / f"{EMBEDDING}_{newer}.csv"
    path.write_bytes(path.read_bytes().replace(b"quoted", b"Quoted", 1))
    assert command("verify", "--depth", "files").code == 5
    (line,) = (line for line in command("list").out.splitlines() if line.startswith(str(newer)))
    assert "DAMAGED" in line
    for words in (["truncate", "--yes"], ["restore", "--on-conflict", "skip"]):
        done = command(*words, "--timestamp", str(newer))
        assert done.code == 5
        assert f"the next whole set is {backed_up} of " in done.err


def test_a_root_that_is_not_there_fails_whatever_reads_it(house: House, command: Command, backed_up: str) -> None:
    house.root.rename(house.root.parent / "unmounted")
    latest = ("--timestamp", "latest")
    for words in (["list"], ["verify"], ["restore", *latest], ["truncate", *latest, "--yes"], ["backup"], ["prune"]):
        done = command(*words, AIRFLOW__PGVECTOR_BACKUP__KEEP_LAST="1")
        assert done.code == 6, words
        assert "mount its volume" in done.err
        assert not house.root.exists()


def test_remove(house: House, command: Command, backed_up: str) -> None:
    command("verify")
    planned = command("remove", "--timestamp", backed_up, "--dry-run", "--json")
    assert planned.json["remove_performed"] is False
    assert len(planned.json["files"]) == 7
    assert whole_sets(house.directory) == [backed_up]
    assert command("remove", "--timestamp", backed_up).code == 2, "nobody can be asked"
    assert command("remove", "--yes").code == 2, "which one has to be said"
    assert command("remove", "--timestamp", "latest", "--yes").code == 2
    assert whole_sets(house.directory) == [backed_up]
    done = command("remove", "--timestamp", backed_up, "--yes", "--json")
    assert done.code == 0
    assert done.json["files"] == planned.json["files"]
    assert house.files() == ["vector_backup_log.txt"]


EXITS = [
    (["backup", "--frob"], {}, 2),
    (["frob"], {}, 2),
    ([], {}, 2),
    (["backup", "--task-id", "../x"], {}, 2),
    (["backup", "--compression", "gzip", "--compression-level", "99"], {}, 2),
    (["backup", "--jobs", "none"], {}, 2),
    (["backup", "--dsn", "mysql://localhost/x"], {}, 2),
    (["verify", "--dsn", "postgresql:///x"], {}, 2),
    (["verify", "--on-server"], {}, 2),
    (["restore"], {}, 2),
    (["restore", "--timestamp", "latest", "--rename-collection", "x"], {}, 2),
    (["backup", "--task-id", "absent"], {}, 3),
    (["show", "--timestamp", "20200101_000000"], {}, 3),
    (["restore", "--timestamp", "20200101_000000"], {}, 3),
    (["backup"], {"AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT": "/proc/nowhere"}, 6),
    (["backup"], {"DATABASE_URL": "postgresql://user:pass@127.0.0.1:1/x"}, 7),
    (["--version"], {}, 0),
    (["restore", "--help"], {}, 0),
]


@pytest.mark.parametrize(("words", "environment", "code"), EXITS, ids=[" ".join(words) for words, _, _ in EXITS])
def test_exit_codes(house: House, command: Command, words: list[str], environment: dict[str, str], code: int) -> None:
    house.directory.mkdir()
    done = command(*words, **environment)
    assert done.code == code, done.err
    assert leftovers(house.directory) == []


def test_every_error_type_has_an_exit_code() -> None:
    from pgvector_backup.cli.main import EXIT_CODES

    def family(one: type[BackupError]) -> set[str]:
        return {one.error_type}.union(*(family(child) for child in one.__subclasses__()))

    assert family(BackupError) - {"CANCELLED"} <= set(EXIT_CODES)


def test_an_error_is_json_where_json_is_asked_for(house: House, command: Command) -> None:
    done = command("show", "--json", "--task-id", "absent")
    assert done.code == 3
    assert set(done.json) == {"response", "error_type", "can_retry", "timestamp"}
    assert done.json["response"] == "指定的任务目录不存在: absent"
