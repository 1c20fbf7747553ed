"""The rules of `docs/monitoring`, judged over what a scrape of this very installation says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from airflow.models.dag import DagModel
from airflow.utils.session import create_session

from tests.helpers.api import Api
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.own_airflow import CHECKOUT, Configure, Run
from tests.helpers.promql import Judge

RULES: Final = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((CHECKOUT / "docs" / "monitoring" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
NOW: Final = datetime.now(timezone.utc)


def fired(text: str | None, *, yesterday: str = "", later: timedelta = timedelta(0)) -> set[str]:
    """The rules that fire."""
    judge = Judge(text, (NOW + later).timestamp(), yesterday)
    return {name for name, expression in RULES.items() if judge.fires(expression)}


def scrape(api: Api) -> str:
    answer = api.call("GET", "/metrics")
    assert answer.status_code == 200
    return str(answer.text)


@pytest.fixture
def paused() -> Iterator[None]:
    """The DAG of backups, paused as the page of Airflow pauses it."""

    def pause(value: bool) -> None:
        with create_session() as session:
            dag = session.get(DagModel, "pgvector_backup")
            assert dag is not None
            dag.is_paused = value

    pause(True)
    yield
    pause(False)


def proven(database: Database, run: Run, *, age: timedelta = timedelta(0)) -> None:
    """A set of that age that a verify has read back."""
    make_set(database, now=NOW - age)
    run({"timestamp": "latest", "backup_path": "vector_bak", "depth": "rows"}, dag_id="pgvector_verify")


def test_nothing_fires_while_all_is_well(house: Path, api: Api, database: Database, run: Run) -> None:
    proven(database, run)
    assert fired(scrape(api)) == set()


@pytest.mark.usefixtures("paused")
def test_a_paused_dag_is_told_by_the_metrics_alone(house: Path, api: Api, database: Database, run: Run) -> None:
    """Nobody triggers anything, nothing fails: the newest set just gets older."""
    proven(database, run)
    text = scrape(api)
    assert fired(text) == {"VectorBackupPaused"}
    assert fired(text, later=timedelta(hours=25)) == {"VectorBackupPaused"}
    assert fired(text, later=timedelta(hours=27)) == {"VectorBackupPaused", "VectorBackupTooOld"}
    assert "VectorBackupNotProven" in fired(text, later=timedelta(days=9))


def test_what_cannot_be_seen_fires_too(house: Path, api: Api, database: Database, configure: Configure) -> None:
    assert "VectorBackupTooOld" in fired(scrape(api)), "there never was a set"
    assert "VectorBackupTooOld" in fired(None), "the scrape fails"
    (house / "file").write_text("")
    configure(backup_root=house / "file" / "below")
    assert {"VectorBackupTooOld", "VectorBackupStoreAway"} <= fired(scrape(api))


def test_a_damaged_newest_set_makes_the_one_before_it_the_newest_good(
    house: Path, api: Api, database: Database, run: Run
) -> None:
    proven(database, run, age=timedelta(hours=30))
    made = make_set(database, now=NOW)
    (house / "vector_bak" / f"langchain_pg_embedding_{made.backup_id}.csv").unlink()
    assert fired(scrape(api)) == {"VectorBackupTooOld", "VectorBackupDamaged"}


def test_a_database_that_is_backed_up_hides_none_beside_it(house: Path, api: Api, database: Database, run: Run) -> None:
    proven(database, run)
    text = scrape(api)
    fresh = next(line for line in text.splitlines() if line.startswith("pgvector_backup_last_good_timestamp_seconds{"))
    name = fresh.split('database="')[1].split('"')[0]
    stale = fresh.replace(name, "another").rsplit(" ", 1)[0] + f" {(NOW - timedelta(days=3)).timestamp()}"
    (told,) = Judge(f"{stale}\n{fresh}\n", NOW.timestamp()).fires(RULES["VectorBackupTooOld"])
    assert told["database"] == "another"


def test_rows_that_fell_fire(house: Path, api: Api, database: Database, run: Run) -> None:
    proven(database, run)
    text = scrape(api)
    fell = text.replace('table="langchain_pg_embedding"} 58.0', 'table="langchain_pg_embedding"} 28.0')
    assert fell != text
    assert fired(fell, yesterday=text) == {"VectorBackupRowsFell"}
    assert fired(text, yesterday=fell) == set()


def test_a_full_disk_fires(house: Path, api: Api, database: Database, run: Run) -> None:
    proven(database, run)
    lines = scrape(api).splitlines()
    full = [
        line.rsplit(" ", 1)[0] + " 100.0" if line.startswith("pgvector_backup_free_bytes{") else line for line in lines
    ]
    assert fired("\n".join(full) + "\n") == {"VectorBackupSpace"}


def test_rules_and_board_name_gauges_that_there_are(house: Path, api: Api, database: Database, run: Run) -> None:
    proven(database, run)
    run({})
    text = scrape(api)
    board = json.loads((CHECKOUT / "docs" / "monitoring" / "grafana.json").read_text())
    asked: list[Any] = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    names = {word for expression in [*RULES.values(), *asked] for word in _names(expression)}
    not_here = {name for name in names if f"\n{name}{{" not in text and f"\n{name} " not in text}
    # Of what has not happened here: a drill.
    assert not_here <= {"pgvector_backup_last_drilled_timestamp_seconds"}


def _names(expression: str) -> list[str]:
    import re

    return re.findall(r"pgvector_backup_[a-z_]+", expression)
