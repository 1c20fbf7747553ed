"""However the folder is copied and whatever the ignore syntax is, Airflow's loader runs nothing of ours but the plugin.

Each question is asked of Airflow's own loaders, the server's and the SDK's, in a fresh process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup import plugin
from tests.helpers.own_airflow import HOME, PLUGINS

LOAD = """
import json, logging, sys
logging.basicConfig(stream=sys.stderr)
main = sys.modules["__main__"].__dict__
from airflow import plugins_manager
from airflow.sdk import plugins_manager as of_the_sdk
loaded = [manager._get_plugins() for manager in (plugins_manager, of_the_sdk)]
folder = {folder!r}
ours = {{
    name: module.__file__.removeprefix(folder)
    for name, module in list(sys.modules.items())
    if (getattr(module, "__file__", None) or "").startswith(folder)
}}
import csv, io
"""

TELL = """
print(json.dumps({
    "names": [sorted(plugin.name for plugin in plugins) for plugins, _ in loaded],
    "errors": [errors for _, errors in loaded],
    "ours": ours,
    "main": sys.modules["__main__"].__dict__.get("LOAD_ID"),
    "rows": list(csv.reader(io.StringIO("a,b"))),
}))
"""


def load(plugins: Path, syntax: str, *, then: str = "", dags: Path | None = None) -> dict[str, Any]:
    """Have a fresh Airflow load a plugins folder; what it came to, and what was logged."""
    code = LOAD.format(folder=str(plugins)) + then + TELL
    done = subprocess.run(
        [sys.executable, "-c", "LOAD_ID = 'the program that runs'\n" + code],
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags or plugins / "no_dags"),
            "AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX": syntax,
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW_HOME": str(HOME),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "log": done.stdout + done.stderr}


def copied(to: Path, *, without: str | None = None, top_only: bool = False, name: str = "pgvector_backup") -> Path:
    """A plugins folder with a copy of the package in it.

    :param without: names that the copy leaves out
    :param top_only: they are left out at the top alone, as a shell's ``*`` does
    """
    source = PLUGINS / "pgvector_backup"

    def left_out(folder: str, names: list[str]) -> set[str]:
        out = {one for one in names if one == "__pycache__"}
        if without is not None and (not top_only or Path(folder) == source):
            out |= {one for one in names if one == without}
        return out

    shutil.copytree(source, to / name, ignore=left_out)
    return to


def check_nothing_but_the_plugin(found: dict[str, Any]) -> None:
    assert found["names"] == [["pgvector_backup"], ["pgvector_backup"]], found["log"]
    assert found["errors"] == [{}, {}]
    assert set(found["ours"].values()) <= {
        "/pgvector_backup/plugin.py",
        "/pgvector_backup/__init__.py",
        "/pgvector_backup/__main__.py",
        "/pgvector_backup/provider.py",
    }
    assert found["main"] == "the program that runs"
    assert found["rows"] == [["a", "b"]]
    assert "usage:" not in found["log"]


@pytest.mark.parametrize("syntax", ["glob", "regexp"])
def test_of_a_whole_copy_the_plugin_alone_is_run(tmp_path: Path, syntax: str) -> None:
    found = load(copied(tmp_path), syntax)
    check_nothing_but_the_plugin(found)
    assert set(found["ours"].values()) == {"/pgvector_backup/plugin.py"}
    assert "WARNING" not in found["log"]


@pytest.mark.parametrize(
    ("top_only", "syntax"),
    [(True, "regexp"), (True, "glob"), (False, "glob"), (False, "regexp")],
    ids=["cp of a star, regexp", "cp of a star, glob", "no hidden file, glob", "no hidden file, regexp"],
)
def test_of_a_copy_without_hidden_files_too(tmp_path: Path, syntax: str, top_only: bool) -> None:
    found = load(copied(tmp_path, without=".airflowignore", top_only=top_only), syntax)
    check_nothing_but_the_plugin(found)
    assert "was copied without its hidden files" in found["log"]
    assert "cp -a pgvector_backup" in found["log"]


def test_of_the_whole_checkout_too(tmp_path: Path) -> None:
    # plugins/ of the checkout below the plugins folder: nothing of ours can be imported, and that is said once.
    (tmp_path / "checkout").mkdir()
    copied(tmp_path / "checkout")
    found = load(tmp_path, "glob", then="loaded[0][0][0].fastapi_apps\n")
    assert found["errors"] == [{}, {}]
    assert set(found["ours"].values()) == {"/checkout/pgvector_backup/plugin.py"}
    assert "the API and the page cannot be made" in found["log"]
    assert "under the name pgvector_backup" in found["log"]


def test_every_module_by_its_bare_stem_is_gone_when_airflow_has_loaded_all(tmp_path: Path) -> None:
    """A loader that shows its walk to nobody executes all of them; nothing of it is left, and nothing has happened."""
    plugins = copied(tmp_path, without=".airflowignore")
    then = """
import airflow._shared.plugins_manager.plugins_manager as loader
import airflow._shared.module_loading as found_by
import os, threading
before = set(threading.enumerate())
all_files = sorted(
    os.path.join(root, file) for root, _, files in os.walk(folder) for file in files
)
found_by.find_path_from_directory = lambda *_, **__: iter(all_files)
plugins, errors = loader._load_plugins_from_plugin_directory(folder)
assert {"errors", "rows", "cancel", "tables", "app", "main"} <= set(sys.modules), sorted(sys.modules)
assert errors == {}, errors
for plugin in plugins:
    plugin.on_load()
ours = {
    name: module.__file__.removeprefix(folder)
    for name, module in list(sys.modules.items())
    if (getattr(module, "__file__", None) or "").startswith(folder) and not name.startswith("pgvector_backup")
}
assert set(threading.enumerate()) == before
"""
    found = load(plugins, "glob", then=then)
    assert set(found["ours"]) <= {"plugin", "__main__"}
    assert found["main"] == "the program that runs"
    assert found["rows"] == [["a", "b"]]


@pytest.mark.parametrize(
    ("without", "syntax"),
    [(None, "regexp"), (".airflowignore", "glob")],
    ids=["whole, regexp", "no hidden file, glob"],
)
def test_a_copy_in_the_dags_folder_is_no_dag(tmp_path: Path, syntax: str, without: str | None) -> None:
    plugins, dags = copied(tmp_path / "plugins"), copied(tmp_path / "dags", without=without)
    then = f"""
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder={str(dags)!r}, bundle_path=None)
assert bag.dags == {{}}, bag.dags
assert bag.import_errors == {{}}, bag.import_errors
"""
    found = load(plugins, syntax, then=then, dags=dags)
    assert found["names"] == [["pgvector_backup"], ["pgvector_backup"]]
    assert found["main"] == "the program that runs"


def test_an_older_airflow_is_told_once_and_goes_on_without_us(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for version in ("3.0.6", "3.1.8", "2.11.0"):
        caplog.clear()
        monkeypatch.setattr(plugin, "airflow_version", version)
        ours = plugin.PgVectorBackupPlugin()
        ours.on_load()
        assert (ours.fastapi_apps, ours.external_views) == ([], [])
        (record,) = caplog.records
        assert f"it needs Airflow 3.2 or newer, this is {version}; upgrade Airflow" in record.getMessage()
        assert record.exc_info is None
    assert not any(plugin.too_old(version) for version in ("3.2.0", "3.3.2", "4.0.0", "main"))


@pytest.mark.parametrize("error", [ImportError("no module named fastapi"), ZeroDivisionError("oh"), SyntaxError("oh")])
def test_whatever_fails_in_our_import_is_logged_and_airflow_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> Any:
        raise error

    monkeypatch.setattr(plugin, "_apps", fail)
    ours = plugin.PgVectorBackupPlugin()
    assert (ours.fastapi_apps, ours.external_views) == ([], [])
    (record,) = caplog.records
    assert "the API and the page cannot be made and stay off, Airflow goes on without us" in record.getMessage()
    assert "restart the API server" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_the_command_line_still_answers(tmp_path: Path) -> None:
    plugins = copied(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pgvector_backup", "--help"],
        env={**os.environ, "PYTHONPATH": str(plugins)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.startswith("usage: pgvector-backup")) == (0, True), done.stderr
