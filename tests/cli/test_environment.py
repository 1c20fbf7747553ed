"""Where a command finds its settings and its database, and that no password gets out."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from pgvector_backup.engine.postgres.session import CONNECT_SECONDS
from tests.helpers.command import Command
from tests.helpers.house import House
from tests.helpers.judge import whole_sets

PASSWORD = "s3cret/wörd"


def words_of(house: House) -> dict[str, str]:
    """libpq's words for the test's database."""
    query = parse_qs(urlsplit(house.database.uri()).query)
    return {"host": query["host"][0], "port": query["port"][0], "user": "postgres", "dbname": house.database.name}


def ways(house: House) -> dict[str, tuple[list[str], dict[str, str | None]]]:
    """Every way to name a database: words of the command, environment."""
    known = words_of(house)
    conninfo = " ".join(f"{name}={value}" for name, value in known.items())
    stored = json.dumps(
        {
            "conn_type": "postgres",
            "host": known["host"],
            "port": int(known["port"]),
            "login": "postgres",
            "schema": known["dbname"],
        }
    )
    nowhere: dict[str, str | None] = {"DATABASE_URL": None}
    return {
        "--dsn URI": (["--dsn", house.database.uri()], {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}),
        "--dsn words": (["--dsn", conninfo], nowhere),
        "DATABASE_URL": ([], {"DATABASE_URL": house.database.uri()}),
        "DATABASE_URL of SQLAlchemy": (
            [],
            {"DATABASE_URL": house.database.uri().replace("postgresql://", "postgresql+psycopg://")},
        ),
        "Airflow's URI": ([], {**nowhere, "AIRFLOW_CONN_PGVECTOR_DEFAULT": house.database.uri()}),
        "Airflow's JSON": ([], {**nowhere, "AIRFLOW_CONN_PGVECTOR_DEFAULT": stored}),
        "Airflow's configured connection": (
            [],
            {
                **nowhere,
                "AIRFLOW__PGVECTOR_BACKUP__CONNECTION_ID": "warehouse",
                "AIRFLOW_CONN_WAREHOUSE": house.database.uri(),
            },
        ),
        "libpq's own": (
            [],
            {
                **nowhere,
                "PGHOST": known["host"],
                "PGPORT": known["port"],
                "PGUSER": "postgres",
                "PGDATABASE": known["dbname"],
            },
        ),
    }


@pytest.mark.parametrize(
    "way",
    [
        "--dsn URI",
        "--dsn words",
        "DATABASE_URL",
        "DATABASE_URL of SQLAlchemy",
        "Airflow's URI",
        "Airflow's JSON",
        "Airflow's configured connection",
        "libpq's own",
    ],
)
def test_a_database_is_named(house: House, command: Command, way: str) -> None:
    house.langchain(5)
    words, environment = ways(house)[way]
    done = command("backup", "-q", *words, **environment)
    assert done.code == 0, done.err
    assert len(whole_sets(house.directory)) == 1


def test_settings_of_airflow_cfg_of_the_environment_and_of_flags(house: House, command: Command) -> None:
    house.langchain(5)
    home = house.root.parent / "airflow"
    home.mkdir()
    (home / "airflow.cfg").write_text(
        "[core]\ndefault_timezone = Asia/Shanghai\n"
        "[pgvector_backup]\n"
        f"backup_root = {house.root}/of_the_file\n"
        "backup_directory = of_the_file\n"
        "timestamp_format = %%Y%%m%%d_%%H%%M%%S\n"
        "tables = langchain_pg_collection\n"
    )
    unset = {"AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT": None}
    result = command("backup", "--json", "--create-root", **unset).json
    assert result["backup_directory"] == f"{house.root}/of_the_file/of_the_file"
    assert result["timestamp"].endswith("+08:00")
    assert list(result["tables_backed_up"]) == ["langchain_pg_collection"]
    by_environment = {**unset, "AIRFLOW__PGVECTOR_BACKUP__BACKUP_DIRECTORY": "of_the_environment"}
    assert command("backup", "--json", **by_environment).json["backup_directory"].endswith("/of_the_environment")
    (house.root / "f").mkdir()
    by_flag = command("backup", "--json", "--directory", "of_the_flag", "--root", f"{house.root}/f", **by_environment)
    assert by_flag.json["backup_directory"] == f"{house.root}/f/of_the_flag"


def test_the_root_is_where_airflow_has_it(house: House, command: Command) -> None:
    done = command("list", "--json", AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT=None)
    assert done.json["backup_root"] == str(house.root.parent / "airflow" / "data_pipeline" / "training_data")


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://keeper:{PASSWORD}@127.0.0.1:1/x",
        f"postgresql://keeper:{PASSWORD}@[/x",
        f"host=127.0.0.1 port=1 password={PASSWORD} frob=1",
        f"postgresql://keeper:{PASSWORD}@127.0.0.1:1/x?nosuchoption=1",
    ],
)
@pytest.mark.parametrize("where", ["--dsn", "DATABASE_URL", "AIRFLOW_CONN_PGVECTOR_DEFAULT"])
def test_a_password_is_never_told(house: House, command: Command, dsn: str, where: str) -> None:
    house.directory.mkdir()
    if where == "--dsn":
        done = command("backup", "--dsn", dsn)
    else:
        done = command("backup", **{"DATABASE_URL": None, where: dsn})
    assert done.code in (2, 7)
    told = done.out + done.err + "".join(path.read_text() for path in house.directory.iterdir())
    for part in (PASSWORD, "s3cret"):
        assert part not in told


def test_a_password_on_the_command_line_is_warned_of(house: House, command: Command) -> None:
    house.langchain(5)
    uri = house.database.uri().replace("postgres@", "postgres:hidden@")
    done = command("backup", "-q", "--dsn", uri)
    assert done.code == 0
    assert "a password in --dsn is seen by everybody" in done.err
    assert "hidden" not in done.err + done.out


def test_a_broken_pipe_is_no_error(house: House) -> None:
    import subprocess
    import sys

    from tests.helpers.command import environment_of

    process = subprocess.Popen(
        [sys.executable, "-m", "pgvector_backup", "list", "--json"],
        env=environment_of(house),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.wait(60)
    process.stderr.close()
    assert b"Traceback" not in error
    assert process.returncode == 141
    assert Path(os.devnull).exists()


STRANGE = {
    "?schema=public&connection_limit=5": ("schema, connection_limit (of Prisma)", "name the schema in `tables`"),
    "?pgbouncer=true": ("pgbouncer (of Prisma)", "leave it out"),
    "?ssl=require&command_timeout=60": ("ssl, command_timeout (of asyncpg)", "write sslmode"),
    "?currentSchema=app": ("currentSchema (of JDBC)", "name the schema in `tables`"),
    "?pool=5": ("pool (of Rails)", "leave it out"),
    "?nosuch=1": ("libpq knows no parameter nosuch;", "leave it out"),
}


@pytest.mark.parametrize("query", STRANGE)
@pytest.mark.parametrize("where", ["--dsn", "DATABASE_URL", "AIRFLOW_CONN_PGVECTOR_DEFAULT"])
def test_what_is_not_libpqs_is_named(house: House, command: Command, query: str, where: str) -> None:
    dsn = f"postgresql://keeper@127.0.0.1:1/x{query}"
    named = {"DATABASE_URL": None, where: dsn}
    done = command("backup", "--dsn", dsn) if where == "--dsn" else command("backup", **named)
    assert done.code == 2
    for text in STRANGE[query]:
        assert text in done.err


def test_uris_of_other_tools(house: House, command: Command) -> None:
    house.langchain(5)
    uri = house.database.uri()
    variable = "AIRFLOW_CONN_PGVECTOR_DEFAULT"
    for given in (f'"{uri}"', f"'{uri}'", f" {uri}\n", uri.replace("postgresql://", "postgresql+asyncpg://")):
        assert command("backup", "-q", DATABASE_URL=given).code == 0
    for environment, words in (
        ({"DATABASE_URL": "jdbc:postgresql://h/d?user=u&password=hush"}, "not with jdbc:postgresql://"),
        ({"DATABASE_URL": "mysql://u:hush@h/d"}, "not with mysql://"),
        ({"DATABASE_URL": None, variable: json.dumps({"conn_type": "mysql", "host": "h"})}, "it is of type 'mysql'"),
        ({"DATABASE_URL": None, variable: "mysql://u:hush@h/d"}, "not with mysql://"),
    ):
        done = command("backup", "-q", **environment)
        assert done.code == 2
        assert words in done.err
        assert "hush" not in done.err
    done = command("backup", "-q", DATABASE_URL=uri, PGCONNECT_TIMEOUT="soon")
    assert done.code == 7
    assert "connect_timeout is no whole number of seconds" in done.err


@pytest.mark.parametrize("form", ["in the query", "as JSON", "as JSON in JSON"])
def test_an_airflow_connections_extra(house: House, command: Command, form: str) -> None:
    house.langchain(5)
    known = words_of(house)
    extra = {"application_name": "told by extra", "cursor": "dictcursor", "iam": False, "connect_timeout": 7}
    uri = f"postgres://postgres@/{known['dbname']}?host={quote(known['host'], safe='')}&port={known['port']}"
    stored = {
        "in the query": f"{uri}&{urlencode({'__extra__': json.dumps(extra)})}",
        "as JSON": json.dumps(
            {
                "conn_type": "postgres",
                "host": known["host"],
                "port": int(known["port"]),
                "login": "postgres",
                "schema": known["dbname"],
                "extra": extra,
            }
        ),
        "as JSON in JSON": json.dumps(
            {
                "conn_type": "postgres",
                "host": known["host"],
                "port": int(known["port"]),
                "login": "postgres",
                "schema": known["dbname"],
                "extra": json.dumps(extra),
            }
        ),
    }[form]
    house.database.run("CREATE VIEW who AS SELECT current_setting('application_name') AS n")
    done = command(
        "backup", "-q", "--tables", "who", DATABASE_URL=None, AIRFLOW_CONN_PGVECTOR_DEFAULT=stored,
        AIRFLOW__PGVECTOR_BACKUP__BACK_UP_VIEWS="True",
    )  # fmt: skip
    assert done.code == 0, done.err
    (file,) = house.directory.glob("who_*.csv")
    assert "told by extra" in file.read_text()


def test_an_extra_that_fetches_a_password_is_refused_by_name(command: Command) -> None:
    stored = 'postgres://keeper@127.0.0.1:1/x?__extra__={"iam": true}'
    done = command("backup", DATABASE_URL=None, AIRFLOW_CONN_PGVECTOR_DEFAULT=stored)
    assert done.code == 2
    assert "its extra iam" in done.err


@pytest.mark.parametrize("where", ["PGCONNECT_TIMEOUT", "service"])
def test_a_timeout_of_libpqs_own_counts(command: Command, tmp_path: Path, where: str) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        port = deaf.getsockname()[1]
        services = tmp_path / "services"
        services.write_text(f"[slow]\nhost=127.0.0.1\nport={port}\nuser=keeper\nconnect_timeout=2\n")
        started = time.monotonic()
        if where == "service":
            done = command("backup", "--dsn", "service=slow", PGSERVICEFILE=str(services))
        else:
            done = command("backup", "--dsn", f"postgresql://keeper@127.0.0.1:{port}/x", PGCONNECT_TIMEOUT="2")
    assert done.code == 7
    assert time.monotonic() - started < CONNECT_SECONDS


def test_a_root_that_is_gone_is_not_made_anew(house: House, command: Command) -> None:
    house.langchain(5)
    gone = house.root.parent / "not_mounted"
    for words in (
        ["list"],
        ["backup"],
        ["backup", "--dry-run"],
        ["verify", "--backup-path", "vector_bak", "--timestamp", "latest"],
        ["restore", "--backup-path", "vector_bak", "--timestamp", "latest", "--yes"],
        ["show", "--backup-path", "vector_bak", "--timestamp", "latest"],
        ["remove", "--backup-path", "vector_bak", "--timestamp", "20260101_000000", "--yes"],
        ["prune", "--yes"],
        ["pin", "--backup-path", "vector_bak", "--timestamp", "20260101_000000", "--reason", "audit"],
        ["copy", "--to", str(house.root.parent / "elsewhere"), "--all"],
        ["diff", "20260101_000000", "20260102_000000"],
        ["find", "--key", "id-1"],
        ["consolidate", "--backup-path", "vector_bak", "--timestamp", "latest"],
    ):
        done = command(*words, "--root", str(gone), AIRFLOW__PGVECTOR_BACKUP__KEEP_LAST="3")
        assert done.code == 6, (words, done.err)
        assert f"{gone}: the backup root does not exist" in done.err
        assert not gone.exists()
    assert command("backup", "--create-root", "--root", str(gone)).code == 0
    assert len(whole_sets(gone / "vector_bak")) == 1


def test_the_default_root_is_made(house: House, command: Command) -> None:
    house.langchain(5)
    unset = {"AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT": None}
    assert command("list", **unset).code == 0
    assert command("backup", **unset).code == 0
