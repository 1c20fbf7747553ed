"""The commands of README and docs/command-line.md, run one after the other as they stand there."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.helpers.house import House

CHECKOUT = Path(__file__).parents[2]
ID = re.compile(r"\d{8}_\d{6}")


def commands(page: str) -> list[str]:
    """What a page's blocks have people type."""
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if "pgvector-backup " in line]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/command-line.md", "docs/retention.md"])
def test_the_commands_of_a_page_do_what_it_says(house: House, command: Command, page: str) -> None:
    house.langchain()
    (house.root / "nightly").mkdir()
    now = datetime.now(timezone.utc)
    house.backup(now=now, task_id="nightly")
    newest = house.backup(now=now).backup_id
    assert newest is not None
    lines = commands(page)
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] != "pgvector-backup":
            continue
        words = [ID.sub(newest, word.replace("/backups", str(house.root))) for word in words[1:]]
        if words[0] in ("restore", "truncate", "prune") and "--dry-run" not in words:
            words.append("--yes")
        done = command(*words)
        assert done.code == 0, (line, done.err)
