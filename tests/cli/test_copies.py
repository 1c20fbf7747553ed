"""The command `copy`: sets brought to other roots, and made again from them."""

from __future__ import annotations

import shutil

from tests.cli.conftest import Command
from tests.helpers.house import House


def test_sets_are_copied_found_there_and_brought_back(house: House, command: Command) -> None:
    house.langchain()
    backed_up = str(house.backup().backup_id)
    first, second = (house.root.parent / name for name in ("first", "second"))
    second.mkdir()
    missing = command("copy", "--to", str(first), "--json")
    assert missing.code == 6
    assert missing.json["copies"][0]["success"] is False
    assert "--create-root" in missing.json["errors"][0]

    done = command("copy", "--to", str(first), "--to", str(second), "--create-root", "--json")
    assert done.code == 0, done.err
    assert [(one["root"], one["success"], one["timestamp"]) for one in done.json["copies"]] == [
        (str(first), True, backed_up),
        (str(second), True, backed_up),
    ]
    assert command("verify", "--root", str(first), "--json").json["sets"][0]["ok"] is True
    assert "COPY OK" in (house.directory / "vector_backup_log.txt").read_text()

    shutil.rmtree(house.directory)
    back = command("copy", "--root", str(first), "--to", str(house.root), "--all")
    assert back.code == 0, back.err
    assert f"set {backed_up} of vector_bak to {house.root}: whole, 5 files" in back.out
    assert command("copy", "--root", str(first), "--to", str(first)).code == 2
    assert command("copy").code == 2
    assert command("copy", "--to", str(first), "--timestamp", "20000101_000000").code == 3
