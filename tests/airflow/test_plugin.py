"""How Airflow finds the package below `plugins/`; each question is asked in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.own_airflow import DAGS, PLUGINS


def ask(code: str) -> Any:
    """Run code in a Python of its own, which prints JSON as its last line."""
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_only_the_entry_point_is_discovered() -> None:
    found = ask(
        """
import json, sys
before = set(sys.modules)
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
ours = {
    name: module.__file__
    for name, module in list(sys.modules.items())
    if name not in before and "/plugins/pgvector_backup/" in (getattr(module, "__file__", None) or "")
}
import csv, io
rows = list(csv.reader(io.StringIO("a,b")))
print(json.dumps({"plugins": [p.name for p in plugins], "errors": errors, "ours": ours, "rows": rows}))
"""
    )
    assert "pgvector_backup" in found["plugins"]
    assert found["plugins"].count("pgvector_backup") == 1
    assert found["errors"] == {}
    imported = {path.removeprefix(str(PLUGINS)) for path in found["ours"].values()}
    assert imported <= {"/pgvector_backup/plugin.py", "/pgvector_backup/__init__.py"}
    assert found["rows"] == [["a", "b"]]


def test_no_module_of_the_standard_library_is_shadowed() -> None:
    stems = {path.stem for path in (PLUGINS / "pgvector_backup").glob("*.py")} - {"__init__", "__main__"}
    assert not stems & set(sys.stdlib_module_names)


def test_what_every_task_imports_is_light() -> None:
    imported = ask(
        """
import json, sys
import airflow.plugins_manager
before = set(sys.modules)
import pgvector_backup.plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    )
    assert imported == ["pgvector_backup", "pgvector_backup.plugin"]


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda file: file.stem)
def test_a_dag_s_file_is_read_without_what_only_a_working_task_needs(file: Path) -> None:
    # Every task's process reads it anew, and three of them in a row are one backup.
    imported = ask(
        f"""
import json, runpy, sys
assert runpy.run_path({str(file)!r})["dag"].tasks
print(json.dumps(list(sys.modules)))
"""
    )
    assert "pgvector_backup.operators.task" in imported
    heavy = {"psycopg", "psycopg2", "airflow.providers.postgres.hooks.postgres", "numpy"}
    assert heavy.intersection(imported) == set()


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda file: file.stem)
def test_a_schedule_is_in_the_zone_that_names_of_sets_are_in(file: Path) -> None:
    zone = ask(
        f"""
import json, os, runpy
os.environ["AIRFLOW__CORE__DEFAULT_TIMEZONE"] = "Asia/Shanghai"
print(json.dumps(str(runpy.run_path({str(file)!r})["dag"].timezone.name)))
"""
    )
    assert zone == "Asia/Shanghai"
