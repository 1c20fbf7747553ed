"""A backup and a restore that only tell what they would do, and a restore that keeps what it replaces."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.database import Database
from tests.helpers.outcomes import log, rows
from tests.helpers.own_airflow import Configure, Run

LATEST = {"backup_path": "vector_bak", "timestamp": "latest"}
EMBEDDING = "langchain_pg_embedding"


def test_a_backup_tells_what_it_would_read_and_writes_nothing(house: Path, run: Run, database: Database) -> None:
    outcome = run({"dry_run": True, "truncate_vector_tables": True})
    assert outcome.state == "success"
    assert outcome.states == {"backup": "skipped", "truncate": "skipped", "report": "success"}
    result = outcome.result
    assert (result["dry_run"], result["backup_performed"], result["truncate_performed"]) == (True, False, False)
    assert result["response_en"] == "The backup was rehearsed, nothing was written"
    assert result["tables"][EMBEDDING]["success"] is True
    assert result["needed_bytes"] > 0
    assert result["errors"] == []
    # Nobody is told of a new set, and nothing lies anywhere.
    assert outcome.asset_events == []
    assert list(house.iterdir()) == []
    assert rows(database) == 58


def test_a_backup_that_would_fail_says_so(house: Path, run: Run, configure: Configure) -> None:
    configure(tables=f"{EMBEDDING},absent", truncate_tables="")
    outcome = run({"dry_run": True})
    assert outcome.state == "failed"
    assert outcome.error["error_type"] == "RESOURCE_NOT_FOUND"
    assert outcome.result["tables"][EMBEDDING]["success"] is True
    assert "absent" in outcome.result["tables"]["absent"]["error"]
    assert "absent" in outcome.result["errors"][0]


def test_a_restore_tells_its_rows_and_conflicts_and_changes_nothing(house: Path, run: Run, database: Database) -> None:
    run({})
    database.run(f"DELETE FROM {EMBEDDING} WHERE id > 'id-3'")
    left = rows(database)
    before = log(house / "vector_bak")
    outcome = run({**LATEST, "on_conflict": "skip", "dry_run": True}, dag_id="pgvector_restore")
    assert outcome.states == {"restore": "skipped", "report": "success"}
    assert (outcome.result["dry_run"], outcome.result["restore_performed"]) == (True, False)
    assert outcome.result["restore_results"][EMBEDDING]["rows_after"] == 58
    assert outcome.asset_events == []

    outcome = run({**LATEST, "dry_run": True}, dag_id="pgvector_restore")
    assert outcome.state == "failed"
    assert outcome.error["error_type"] == "CONFLICT"
    assert "skip" in outcome.error["response"]
    assert outcome.result["restore_results"][EMBEDDING]["rows_before"] == left
    assert outcome.result["errors"] == [outcome.error["response"]]
    assert (rows(database), log(house / "vector_bak")) == (left, before)


def test_what_a_restore_replaces_is_kept_as_one_more_set(house: Path, run: Run, database: Database) -> None:
    made = run({}).result["backup_id"]
    database.run(f"UPDATE {EMBEDDING} SET document = 'later' WHERE id = 'id-1'")
    conf = {**LATEST, "truncate_before_restore": True, "backup_before_restore": True}
    outcome = run(conf, dag_id="pgvector_restore")
    result = outcome.result
    assert result["backup_info"]["timestamp"] == made
    saved = result["safety_backup"]
    assert saved["timestamp"] != made
    assert saved["rows"] == {"langchain_pg_collection": 4, EMBEDDING: 58}
    assert f"saved:     the tables as they were, as set {saved['timestamp']}" in log(house / "vector_bak")
    assert database.run(f"SELECT count(*) FROM {EMBEDDING} WHERE document = 'later'") == [(0,)]
    back = {"backup_path": saved["backup_path"], "timestamp": saved["timestamp"], "truncate_before_restore": True}
    assert "safety_backup" not in run(back, dag_id="pgvector_restore").result
    assert database.run(f"SELECT count(*) FROM {EMBEDDING} WHERE document = 'later'") == [(1,)]
