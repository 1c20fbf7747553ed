"""Each key of `[pgvector_backup]`, set as a user sets it and seen in what a run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.installation import configuration
from tests.helpers.database import Database
from tests.helpers.outcomes import check_error, names
from tests.helpers.own_airflow import HOME, Configure, Run, load


def test_defaults_are_the_documented_ones() -> None:
    settings = configuration.settings()
    assert str(settings.backup_root) == str(HOME / "data_pipeline" / "training_data")
    assert settings.backup_directory == "vector_bak"
    assert [name.label for name in settings.tables] == ["langchain_pg_collection", "langchain_pg_embedding"]
    assert [name.label for name in settings.truncate_tables] == ["langchain_pg_embedding"]
    assert settings.timestamp_format == "%Y%m%d_%H%M%S"
    assert settings.jobs == 2
    assert settings.progress_rows == 50_000
    rules = configuration.connection_rules()
    assert (rules.default, rules.allowed, rules.uri_allowed) == ("pgvector_default", ("pgvector*",), False)
    assert configuration.schedule() == "@daily"


def test_backup_root_and_backup_directory(house: Path, run: Run, configure: Configure) -> None:
    configure(backup_root=house / "with a space", backup_directory="sets-2025")
    # A root that is not there may be a volume that is not mounted: it is not made anew.
    assert run({}).error["error_type"] == "STORAGE_ERROR"
    assert not (house / "with a space").exists()
    (house / "with a space").mkdir()
    result = run({}).result
    assert result["backup_directory"] == str(house / "with a space" / "sets-2025")
    assert result["backup_id"] in "".join(names(Path(result["backup_directory"])))


def test_backup_root_as_file_url(house: Path, run: Run, configure: Configure) -> None:
    configure(backup_root=house.as_uri())
    assert run({}).result["backup_directory"] == str(house / "vector_bak")


def test_connection_id(house: Path, run: Run, configure: Configure, connection: Any, database: Database) -> None:
    connection("postgresql://nobody@127.0.0.1:1/nowhere")
    connection(database.uri(), "main_database")
    configure(connection_id="main_database")
    assert run({}).state == "success"
    # The default may be named as well, whatever the globs are.
    assert run({"db_connection": "main_database"}).state == "success"


def test_allowed_connections(house: Path, run: Run, configure: Configure, connection: Any, database: Database) -> None:
    connection(database.uri(), "warehouse_2")
    configure(allowed_connections="nothing, warehouse_*")
    assert run({"db_connection": "warehouse_2"}).state == "success"
    with pytest.raises(ValueError, match="pgvector_other"):
        run({"db_connection": "pgvector_other"})


def test_allow_connection_uri(house: Path, run: Run, configure: Configure, connection: Any, database: Database) -> None:
    connection("postgresql://nobody@127.0.0.1:1/nowhere")
    with pytest.raises(ValueError, match="db_connection"):
        run({"db_connection": database.uri()})
    configure(allow_connection_uri=True)
    assert run({"db_connection": database.uri()}).result["backup_performed"] is True


def test_tables_and_truncate_tables(house: Path, run: Run, configure: Configure, database: Database) -> None:
    database.run('CREATE SCHEMA "Ünï"; CREATE TABLE "Ünï"."my ""docs""" (v vector(2))')
    database.run('INSERT INTO "Ünï"."my ""docs""" VALUES (\'[1,2]\')')
    configure(tables='langchain_pg_embedding, "Ünï"."my ""docs"""', truncate_tables='"Ünï"."my ""docs"""')
    result = run({"truncate_vector_tables": True}).result
    assert result["errors"] == []
    label = next(label for label in result["tables_backed_up"] if "docs" in label)
    assert set(result["tables_backed_up"]) == {"langchain_pg_embedding", label}
    assert result["truncate_results"][label]["rows_before"] == 1
    assert database.run('SELECT count(*) FROM "Ünï"."my ""docs"""') == [(0,)]
    assert database.run("SELECT count(*) FROM langchain_pg_embedding") == [(58,)]


def test_timestamp_format(house: Path, run: Run, configure: Configure) -> None:
    configure(timestamp_format="%Y-%m-%dT%H%M%S")
    result = run({}).result
    assert len(result["backup_id"]) == len("2025-07-21T234914")
    assert result["backup_id"][10] == "T"
    assert result["manifest_file"] == f"manifest_{result['backup_id']}.json"


def test_a_doubled_percent_sign_as_in_airflow_cfg_means_one(house: Path, run: Run, configure: Configure) -> None:
    configure(timestamp_format="%%Y%%m%%d%%H%%M%%S")
    assert len(run({}).result["backup_id"]) == len("20250721234914")


def test_jobs_are_connections(house: Path, run: Run, configure: Configure, connection: Any, database: Database) -> None:
    role = f"few_{database.name}"
    database.run(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 3")
    database.run(f"GRANT pg_read_all_data TO {role}")
    try:
        for number in range(8):
            database.run(f"CREATE TABLE t{number} (v vector(1))")
        connection(database.uri(role))
        configure(tables=",".join(f"t{number}" for number in range(8)), jobs=1)
        assert run({}).state == "success"
        configure(jobs=8)
        assert "too many connections" in run({}).error["response"]
    finally:
        database.run(f"DROP OWNED BY {role}")
        database.run(f"DROP ROLE {role}")


def test_progress_rows(
    house: Path, run: Run, configure: Configure, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.run("INSERT INTO langchain_pg_embedding SELECT 'more-' || n FROM generate_series(1, 942) AS n")
    configure(progress_rows=500)
    assert run({}).state == "success"
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pgvector_backup")]
    assert any("langchain_pg_embedding: 1,000 rows, 100% of about" in line and "MB/s" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("jobs", "many"),
        ("jobs", "0"),
        ("jobs", "1.5"),
        ("jobs", "inf"),
        ("progress_rows", "-1"),
        ("progress_rows", ""),
        ("lock_timeout", "nan"),
        ("lock_timeout", "inf"),
        ("tables", ","),
        ("tables", '"unbalanced'),
        ("tables", "a.b.c.d"),
        ("truncate_tables", "something_else"),
        ("backup_directory", "../out"),
        ("backup_directory", ""),
        ("timestamp_format", "%Y"),
        ("timestamp_format", "../%Y%m%d_%H%M%S"),
        ("backup_root", "nosuchscheme://bucket/x"),
    ],
)
def test_a_bad_value_is_named(house: Path, run: Run, configure: Configure, key: str, value: str) -> None:
    configure(**{key: value})
    outcome = run({})
    assert outcome.state == "failed"
    text = check_error(outcome.xcoms["backup", "error"], "INVALID_PARAMS")
    assert key in text or value.strip(",") in text
    assert outcome.tries["backup"] == 1
    assert outcome.result["errors"] == [text]


@pytest.mark.parametrize("key", ["jobs", "tables", "timestamp_format", "backup_directory"])
def test_a_bad_value_of_a_run_does_not_take_the_dag_away(configure: Configure, key: str) -> None:
    configure(**{key: "../?"})
    assert load().import_errors == {}


def test_an_emptied_list_means_none_may_be_emptied(
    house: Path, run: Run, configure: Configure, database: Database
) -> None:
    configure(truncate_tables="")
    assert run({}).state == "success"
    outcome = run({"truncate_vector_tables": True})
    assert outcome.state == "failed"
    assert database.run("SELECT count(*) FROM langchain_pg_embedding") == [(58,)]
    text = check_error(outcome.error, "INVALID_PARAMS")
    assert "truncate_tables" in text


def test_tables_without_the_default_ones_need_no_truncate_tables(
    house: Path, run: Run, configure: Configure, database: Database
) -> None:
    configure(tables="langchain_pg_collection")
    assert run({}).state == "success"
    assert check_error(run({"truncate_vector_tables": True}).error, "INVALID_PARAMS")
    assert database.run("SELECT count(*) FROM langchain_pg_collection") == [(4,)]
