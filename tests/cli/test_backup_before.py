"""The command line's restore keeps what it replaces, by flag or by setting, and says as which set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.helpers.house import House

REPLACING = ("restore", "--timestamp", "latest", "--truncate-before-restore", "--yes")


@pytest.mark.parametrize(
    ("words", "settings", "saved"),
    [
        (["--backup-before"], {}, True),
        (["--backup-before-restore"], {}, True),
        ([], {"AIRFLOW__PGVECTOR_BACKUP__BACKUP_BEFORE_RESTORE": "True"}, True),
        (["--no-backup-before"], {"AIRFLOW__PGVECTOR_BACKUP__BACKUP_BEFORE_RESTORE": "True"}, False),
        ([], {}, False),
    ],
)
def test_it_is_asked_for_by_flag_or_by_setting(
    house: House, command: Command, words: list[str], settings: dict[str, str], saved: bool
) -> None:
    house.langchain(5)
    house.backup()
    before = set(house.files())
    done = command(*REPLACING, *words, **settings)
    assert done.code == 0
    made = [name for name in sorted(set(house.files()) - before) if name.startswith("manifest_")]
    assert len(made) == saved
    assert ("backed up first: set" in done.out) is saved
    if saved:
        backup_id = Path(made[0]).stem.removeprefix("manifest_")
        assert f"backed up first: set {backup_id} of vector_bak" in done.out
        assert f"as set {backup_id} in vector_bak" in (house.directory / "vector_backup_log.txt").read_text()


def test_a_restore_that_fails_after_it_says_as_which_set(house: House, command: Command) -> None:
    house.langchain(5)
    house.backup()
    house.database.run("ALTER TABLE langchain_pg_embedding ADD CHECK (id = 'none') NOT VALID")
    done = command(*REPLACING, "--backup-before")
    assert done.code == 4
    newest = max(house.directory.glob("manifest_*.json")).stem.removeprefix("manifest_")
    assert f"what was backed up first is kept as set {newest} in vector_bak" in done.err
    log = (house.directory / "vector_backup_log.txt").read_text()
    assert f"saved:     the tables as they were, as set {newest} in vector_bak" in log
    listed = command("list").out
    assert "whole, saved before a restore" in listed
    assert "holds      the tables as they were before set" in command("show", "--timestamp", newest).out
