"""Each default is told once: pages, requests, command line and Airflow's reference say what the code does."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.cli.arguments import parser
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, PRUNE_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.engine.contract.requests import BackupRequest, PruneRequest, RestoreRequest, VerifyRequest
from pgvector_backup.engine.contract.settings import (
    SECTION,
    AirflowSettings,
    Settings,
    read_settings,
    reference,
    value_of,
)
from pgvector_backup.provider import get_provider_info

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> Any:
    found = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "keys.md", "errors.md", "examples/retention-year.md"])
def test_a_reference_page_says_what_the_code_does(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == generator().PAGES[name](), "run `make docs`"


@pytest.mark.parametrize(
    ("keys", "request_type"),
    [
        (BACKUP_KEYS, BackupRequest),
        (RESTORE_KEYS, RestoreRequest),
        (VERIFY_KEYS, VerifyRequest),
        (PRUNE_KEYS, PruneRequest),
    ],
)
def test_a_request_without_keys_has_the_defaults_of_the_keys(keys: tuple[Key, ...], request_type: Any) -> None:
    told = {key.name: key.default for key in keys}
    given = {one.name: one.default for one in fields(request_type) if one.name in told}
    assert set(told) == set(given)
    # Where nothing has to be said, the form shows nothing.
    assert {name: default for name, default in given.items() if told[name] is not None} == {
        name: default for name, default in told.items() if default is not None
    }


def test_no_key_is_told_twice_and_each_has_a_meaning() -> None:
    keys = [one.key for one in reference()]
    assert len(keys) == len(set(keys))
    assert all(one.meaning and not one.meaning.endswith(".") for one in reference())


def test_what_nobody_wrote_down_is_the_default_that_is_told() -> None:
    settings = read_settings(lambda _: None, home="/home")
    for one in fields(Settings):
        if one.name != "backup_root":
            assert getattr(settings, one.name) == one.metadata["kind"].parse(one.metadata["default"]) == one.default
    assert settings.backup_root == "/home/data_pipeline/training_data"


def test_writing_the_defaults_down_changes_nothing() -> None:
    told = {one.key: one.default for one in reference()}
    assert read_settings(told.get, home="/home") == read_settings(lambda _: None, home="/home")
    for one in fields(AirflowSettings):
        assert value_of(AirflowSettings, one.name, told.get) == one.default


@pytest.mark.parametrize(
    ("group", "key", "text", "said"),
    [
        (Settings, "jobs", "many", "not a number: 'many'"),
        (Settings, "jobs", "1.5", "not a whole number: '1.5'"),
        (Settings, "lock_timeout", "inf", "not a finite number: 'inf'"),
        (Settings, "tables", '"a', "unbalanced double quotes in the table list '\"a'"),
        (AirflowSettings, "allow_connection_uri", "maybe", "neither True nor False: 'maybe'"),
        (AirflowSettings, "verify_depth", "deep", "not one of files, rows, drill: 'deep'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_key(group: Any, key: str, text: str, said: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        value_of(group, key, {key: text}.get)
    assert refused.value.message == f"[{SECTION}] {key}: {said}"


def test_flags_of_the_command_line_say_what_the_settings_do() -> None:
    told = {one.key: one for one in reference()}
    seen = set()
    (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    for command in commands.choices.values():
        for action in command._actions:
            if action.dest.startswith("setting_"):
                key = action.dest.removeprefix("setting_")
                seen.add(key)
                assert action.help is not None
                assert action.help.replace("%%", "%").startswith(told[key].meaning)
                assert action.default is None
    assert {"backup_root", "backup_directory", "tables", "jobs", "lock_timeout"} <= seen


def test_a_flag_of_the_command_line_has_no_default_of_its_own() -> None:
    (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    keys = {key.name for key in (*BACKUP_KEYS, *RESTORE_KEYS, *VERIFY_KEYS)}
    for name in ("backup", "restore", "verify"):
        for action in commands.choices[name]._actions:
            if action.dest in keys:
                assert action.default is None


def test_airflow_is_told_every_setting_with_its_default() -> None:
    options = get_provider_info()["config"][SECTION]["options"]
    assert {key: (one["type"], one["default"].replace("%%", "%")) for key, one in options.items()} == {
        one.key: (one.kind, one.default) for one in reference()
    }
