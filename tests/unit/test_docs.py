"""README and docs: every link leads somewhere, every command can be read by the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pgvector_backup.cli.arguments import parser

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted(
    [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "bench").glob("*.md")],
    key=str,
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^(?:\$ |  )?(pgvector-backup [^`\n]+)$", re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page: Path) -> None:
    gone = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert gone == []


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_a_readme_can_be_read_in_one_sitting(name: str) -> None:
    assert len((CHECKOUT / name).read_text(encoding="utf-8").splitlines()) <= 120


def commands() -> list[tuple[str, str]]:
    return [
        (named(page), line.strip())
        for page in PAGES
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for line in COMMAND.findall(block)
    ]


def test_there_are_commands() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_is_one_that_the_command_line_reads(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if any(word.startswith(("COMMAND", "<", "…")) for word in words):
        return
    parser().parse_args(words[1:])


def test_what_the_docs_tell_of_is_all_in_the_readme_s_tables() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for page in (CHECKOUT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, f"README does not lead to {page.name}"
