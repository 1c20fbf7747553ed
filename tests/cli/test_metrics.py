"""`metrics` for a textfile collector."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.command import Command
from tests.helpers.house import House


def test_the_numbers_of_the_sets(house: House, command: Command) -> None:
    house.langchain()
    house.backup()
    done = command("metrics")
    assert done.code == 0
    families = {family.name: family for family in text_string_to_metric_families(done.out)}
    assert families["pgvector_backup_store_up"].samples[0].value == 1
    rows = {one.labels["table"]: one.value for one in families["pgvector_backup_rows"].samples}
    assert rows["langchain_pg_embedding"] == 58
    told = command("metrics", "--json").json
    assert told["pgvector_backup_store_up"] == [{"labels": {}, "value": 1}]
