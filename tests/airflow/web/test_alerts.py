"""Rules and board: each metric that they name is one that is told, and the first rule fires when it has to."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml
from airflow.models.dag import DagModel
from airflow.utils.session import create_session

from pgvector_backup.engine.sets.gauges import _HELP, _PREFIX
from tests.airflow.web.test_metrics import scraped
from tests.helpers.api import Api
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.own_airflow import CHECKOUT, Configure, Run

MONITORING = CHECKOUT / "docs" / "monitoring"
NAME = re.compile(r"pgvector_backup_[a-z_]+")
OF_RUNS = {"pgvector_backup_last_success_timestamp_seconds", "pgvector_backup_dag_paused"}
TOLD = {_PREFIX + name for name in _HELP} | OF_RUNS


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"]
    return list(group["rules"])


def test_rules_and_board_name_what_is_told() -> None:
    expressions = [rule["expr"] for rule in rules()]
    board = json.loads((MONITORING / "grafana.json").read_text())
    expressions += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert {name for one in expressions for name in NAME.findall(one)} == TOLD
    assert set(NAME.findall((CHECKOUT / "docs" / "monitoring.md").read_text())) == TOLD


def fires(api: Api) -> bool:
    """Whether the first rule holds of what a scrape tells now: too old, of any database, or absent."""
    rule = rules()[0]
    metric = r'(\w+)\{location="vector_bak"\}'
    same = r'\1\{location="vector_bak"\}'
    shape = rf"\(time\(\) - {metric} > (\d+) \* 3600\)\s+or absent\({same}\)\s*"
    found = re.fullmatch(shape, rule["expr"])
    assert found is not None
    samples = scraped(api.call("GET", "/metrics").text).get(found[1], [])
    moments = [value for labels, value in samples if labels["location"] == "vector_bak"]
    return not moments or time.time() - min(moments) > int(found[2]) * 3600


def test_the_first_rule_fires_from_metrics_alone_after_the_dag_was_paused(
    house: Path, api: Api, database: Database
) -> None:
    assert fires(api)  # nothing to be seen yet
    day = timedelta(days=1)
    make_set(database, now=datetime.now(timezone.utc) - day)
    assert not fires(api)
    with create_session() as session:
        session.get(DagModel, "pgvector_backup").is_paused = True
    try:
        # A day and a half later, on which nothing has run: the same as that the set is so much older.
        for path in (house / "vector_bak").iterdir():
            path.unlink()
        make_set(database, now=datetime.now(timezone.utc) - 1.5 * day)
        told = scraped(api.call("GET", "/metrics").text)
        assert ({"kind": "backup"}, 1.0) in told["pgvector_backup_dag_paused"]
        assert fires(api)
    finally:
        with create_session() as session:
            session.get(DagModel, "pgvector_backup").is_paused = False


def test_the_first_rule_fires_where_the_store_cannot_be_seen(
    house: Path, api: Api, database: Database, configure: Configure
) -> None:
    make_set(database)
    assert not fires(api)
    (house / "file").write_text("")
    configure(backup_root=house / "file" / "below")
    assert fires(api)


def test_runs_are_told_of_by_kind(house: Path, api: Api, run: Run) -> None:
    run({})
    run({}, dag_id="pgvector_prune")
    told = scraped(api.call("GET", "/metrics").text)
    moments = {labels["kind"]: value for labels, value in told["pgvector_backup_last_success_timestamp_seconds"]}
    assert {"backup", "prune"} <= set(moments)
    assert abs(moments["prune"] - time.time()) < 600
    ((labels, seconds),) = told["pgvector_backup_duration_seconds"]
    assert (labels["location"], seconds > 0) == ("vector_bak", True)
    assert told["pgvector_backup_throughput_bytes_per_second"][0][1] > 0
    assert [value for _, value in told["pgvector_backup_chain_length"]] == [1]
