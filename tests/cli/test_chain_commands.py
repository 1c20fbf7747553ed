"""consolidate, diff and find as their users have them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tests.helpers.command import Command
from tests.helpers.house import House


def test_a_chain_on_the_command_line(house: House, command: Command) -> None:
    house.langchain(40)
    first = command("backup", "--mode", "incremental", "--json").json
    assert first["mode"] == "full"
    house.database.run("UPDATE langchain_pg_embedding SET document = 'x' WHERE id = 'id-7'")
    later = datetime.now(timezone.utc) + timedelta(minutes=1)
    second = house.backup(mode="incremental", now=later)
    a, b = first["backup_id"], str(second.backup_id)
    (newest, _) = command("list", "--json").json["sets"]
    assert (newest["mode"], newest["base_backup_id"], newest["chain_length"]) == ("incremental", a, 2)

    compared = command("diff", a, b, "--json")
    assert compared.code == 0
    assert compared.json["tables"]["langchain_pg_embedding"]["keys"]["changed"] == ["id-7"]
    assert "langchain_pg_embedding" in command("diff", a, b).out
    assert command("diff", a, "20000101_000000").code == 3

    found = command("find", "--key", "id-7", "--json").json["tables"]["langchain_pg_embedding"]
    assert [one["sets"] for one in found] == [[a], [b]]
    assert "still there" in command("find", "--key", "id-8").out
    assert command("find", "--key", "nobody", "--json").json["found"] is False

    assert command("remove", "--timestamp", a, "--yes").code == 4
    done = command("consolidate", "--timestamp", b, "--json")
    assert done.code == 0
    assert command("consolidate", "--timestamp", a).code == 2
    assert command("remove", "--timestamp", b, "--yes").code == 0
    assert command("remove", "--timestamp", a, "--yes").code == 0
    verified = command("verify", "--timestamp", done.json["backup_id"], "--depth", "rows", "--json")
    assert verified.code == 0
