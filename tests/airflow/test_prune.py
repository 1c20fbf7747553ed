"""The DAG `pgvector_prune`, and its operator in a DAG of the user's own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.observability import stats

from pgvector_backup.engine.contract.request_keys import PRUNE_KEYS
from tests.helpers.outcomes import check_error
from tests.helpers.own_airflow import Configure, Run, load_dag

OWN_DAG = '''
"""A DAG of somebody's own."""
from airflow.sdk import DAG
from pgvector_backup.operators.prune import PgVectorPruneOperator

with DAG(dag_id="own", schedule=None):
    PgVectorPruneOperator(task_id="tidy", dry_run=True, force=True, backup_root="{root}")
'''


def pruned(run: Run, key: str = "return_value", **conf: Any) -> dict[str, Any]:
    """What the task left."""
    return dict(run(conf, dag_id="pgvector_prune").xcoms["prune", key])


def manifests(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("manifest_*.json"))


def test_the_dag_as_airflow_reads_it() -> None:
    dag = load_dag("pgvector_prune")
    assert [task.task_id for task in dag.tasks] == ["prune"]
    assert "`prune`" in str(dag.doc_md)
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert "Asset(name='pgvector_backup'" in repr(dag.schedule)
    assert set(dag.params) == {key.name for key in PRUNE_KEYS}
    dag.params.validate()
    (asset,) = dag.get_task("prune").outlets
    assert isinstance(asset, Asset)


def test_without_a_policy_nothing_goes(house: Path, run: Run) -> None:
    for _ in range(3):
        run({})
    before = manifests(house / "vector_bak")
    result = pruned(run, force=True)
    assert result["prune_performed"] is False
    assert manifests(house / "vector_bak") == before


def test_the_policy_of_the_settings_is_carried_out(house: Path, run: Run, configure: Configure) -> None:
    for _ in range(3):
        run({})
    before = manifests(house / "vector_bak")
    configure(keep_last=1)
    planned = pruned(run, dry_run=True)
    assert manifests(house / "vector_bak") == before
    done = pruned(run, force=True)
    assert manifests(house / "vector_bak") == before[-1:]
    assert len(planned["locations"][0]["removed"]) == len(done["locations"][0]["removed"]) == 2


def test_a_policy_that_makes_no_sense_fails_with_the_key(house: Path, run: Run, configure: Configure) -> None:
    configure(keep_within="soon")
    assert "keep_within" in check_error(pruned(run, "error"), "INVALID_PARAMS")


def test_an_unknown_key_is_refused(house: Path, run: Run) -> None:
    assert "did you mean 'force'?" in check_error(pruned(run, "error", forse=True), "INVALID_PARAMS")


def test_airflow_s_own_metrics_count_each_step(
    house: Path, run: Run, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, object]] = []
    monkeypatch.setattr(stats.Stats, "incr", lambda name, *more, **options: told.append((name, 1)))
    monkeypatch.setattr(stats.Stats, "timing", lambda name, value, **options: told.append((name, value)))
    run({})
    configure(keep_within="soon")
    pruned(run, "error")
    ours = dict(one for one in told if one[0].startswith("pgvector_backup."))
    assert {name for name in ours if not name.endswith(".duration")} == {
        "pgvector_backup.backup.success",
        "pgvector_backup.report.success",
        "pgvector_backup.prune.failed",
    }
    assert ours["pgvector_backup.backup.duration"] > timedelta(0)  # type: ignore[operator]


def test_metrics_that_cannot_be_told_fail_no_step(house: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an Airflow whose statistics have another shape."""
    monkeypatch.delattr(stats, "Stats")
    run({})
    assert len(manifests(house / "vector_bak")) == 1
