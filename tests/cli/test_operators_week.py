"""docs/examples/operators-week.md, played: each command as it stands there, and what it answers.

With ``REWRITE_EXAMPLES=1`` in the environment the page is given what the commands answer now, to be read before it is
committed.
"""

from __future__ import annotations

import os
import re
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.cli.conftest import Command
from tests.helpers.database import Database
from tests.helpers.house import House

PAGE = Path(__file__).parents[2] / "docs" / "examples" / "operators-week.md"
PARTS = re.compile(r"<!-- do: (?P<deed>[\w ]+) -->|^```console\n(?P<block>.*?)^```$", re.DOTALL | re.MULTILINE)
EMBEDDING = "langchain_pg_embedding"

VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[+-]\d\d:\d\d)?"), "…"),
    (re.compile(r"\d+\.\d+ s\b"), "… s"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "…"),
    (re.compile(r"PostgreSQL \d+(?:\.\d+)?"), "PostgreSQL …"),
    (re.compile(r"bytes [\d,]*\d to [\d,]*\d"), "bytes … to …"),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r" +$", re.MULTILINE), ""),
)


class Week:
    """What happens between the commands; the deeds are called as the page calls them."""

    def __init__(self, house: House, elsewhere: Database) -> None:
        self.house, self.elsewhere, self.role = house, elsewhere, f"{house.database.name}_keeper"
        self.uri = house.database.uri(self.role)
        self.sets: list[str] = []

    def sunday(self) -> None:
        self.house.langchain()
        self.house.database.run(f"CREATE ROLE {self.role} LOGIN")
        self.grant()

    def revoke(self) -> None:
        self.house.database.run(f"REVOKE ALL ON {EMBEDDING} FROM {self.role}")

    def grant(self) -> None:
        rights = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE"
        self.house.database.run(f"GRANT {rights} ON langchain_pg_collection, {EMBEDDING} TO {self.role}")

    def flip(self) -> None:
        path = self.house.directory / f"{EMBEDDING}_{self.known()[-1]}.csv"
        content = bytearray(path.read_bytes())
        content[content.index(b"quoted")] ^= 1
        path.write_bytes(content)

    def delete(self) -> None:
        self.house.database.run(f"DELETE FROM {EMBEDDING} WHERE id IN ('id-1', 'id-2', 'id-3', 'id-4', 'id-5')")
        self.house.database.run(f"UPDATE {EMBEDDING} SET document = 'edited' WHERE id = 'id-6'")

    def archive(self) -> None:
        self.elsewhere.run("CREATE EXTENSION vector")
        other = House(self.elsewhere, self.house.root)
        other.langchain(40)
        other.backup(now=datetime.now(timezone.utc) + timedelta(minutes=1))

    def into_archive(self) -> None:
        self.uri = self.elsewhere.uri()

    def unmount(self) -> None:
        self.known()
        self.house.root.rename(self.house.root.parent / "unmounted")

    def known(self) -> list[str]:
        """The sets in the order in which they came, those that are gone too."""
        there = sorted(path.stem.removeprefix("manifest_") for path in self.house.directory.glob("manifest_*.json"))
        self.sets += [one for one in there if one not in self.sets]
        return self.sets

    def plain(self, text: str) -> str:
        """An answer without what differs from one run to the next."""
        for number, backup_id in enumerate(self.known(), start=1):
            text = text.replace(backup_id, f"SET{number}")
        text = text.replace(str(self.house.root), "/backups")
        for database, name in ((self.house.database.name, "library"), (self.elsewhere.name, "archive")):
            text = re.sub(rf"\b{database}\b", name, text)
        (server,) = self.house.database.run("SELECT system_identifier::text FROM pg_control_system()")
        text = text.replace(server[0], "7712…")
        for pattern, other in VARYING:
            text = pattern.sub(other, text)
        return text


def answered(week: Week, command: Command, line: str) -> str:
    for number, backup_id in enumerate(week.known(), start=1):
        line = line.replace(f"SET{number}", backup_id)
    done = command(*shlex.split(line.removeprefix("$ pgvector-backup ")), "--quiet", DATABASE_URL=week.uri)
    lines = [*done.out.splitlines(), *(one for one in done.err.splitlines() if one.startswith("error:"))]
    return week.plain("\n".join(lines) + "\n")


def test_each_day_says_what_the_page_says(house: House, command: Command, elsewhere: Database) -> None:
    week = Week(house, elsewhere)
    week.sunday()
    text = PAGE.read_text(encoding="utf-8")
    commands = 0

    def play(part: re.Match[str]) -> str:
        nonlocal commands
        if part["deed"]:
            getattr(week, part["deed"].replace(" ", "_"))()
            return part[0]
        lines = [line for line in part["block"].splitlines() if line.startswith("$ ")]
        commands += len(lines)
        return "```console\n" + "".join(f"{line}\n{answered(week, command, line)}" for line in lines) + "```"

    try:
        played = PARTS.sub(play, text)
    finally:
        house.database.run(f"DROP OWNED BY {week.role}; DROP ROLE {week.role}")
    if os.environ.get("REWRITE_EXAMPLES"):
        PAGE.write_text(played, encoding="utf-8")
    assert commands > 15
    assert played.splitlines() == text.splitlines(), "run it with REWRITE_EXAMPLES=1, and read what has changed"
