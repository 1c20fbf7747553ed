"""The DAG `pgvector_verify`, and its operator in a DAG of the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

from pgvector_backup.engine.contract.request_keys import VERIFY_KEYS
from tests.helpers.database import Database
from tests.helpers.outcomes import check_error, log
from tests.helpers.own_airflow import Configure, Outcome, Run, load, load_dag

RESULT = {"response", "response_en", "verify_performed", "depth", "sets", "errors", "notes", "duration", "timestamp"}

OWN_DAG = '''
"""A DAG of somebody's own."""
from airflow.sdk import DAG
from pgvector_backup.operators.verify import PgVectorVerifyOperator

with DAG(dag_id="own", schedule=None, params={{"where": "nightly"}}):
    PgVectorVerifyOperator(
        task_id="look", backup_task_id="{{{{ params.where }}}}", depth="files", backup_root="{root}"
    )
'''


def verified(run: Run, **conf: Any) -> Outcome:
    return run(conf, dag_id="pgvector_verify")


def times_of(dag: DAG) -> list[str]:
    """The cron expressions that a DAG runs by."""
    timetable = getattr(dag.timetable, "timetable", dag.timetable)
    return [timetable.expression] if hasattr(timetable, "expression") else []


def announces(dag: DAG) -> list[str]:
    """The assets whose events begin a run."""
    condition = getattr(dag.timetable, "asset_condition", None)
    return [] if condition is None else [asset.name for asset in condition.objects]


def damage(directory: Path) -> Path:
    (path,) = directory.glob("langchain_pg_embedding_*.csv")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def test_the_dag_as_airflow_reads_it() -> None:
    dag = load_dag("pgvector_verify")
    assert [task.task_id for task in dag.topological_sort()] == ["verify", "report"]
    assert isinstance(dag.schedule, AssetOrTimeSchedule)
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.get_task("report").trigger_rule.value == "all_done"
    assert dag.get_task("report").retries == 2
    for task in dag.tasks:
        assert f"`{task.task_id}`" in str(dag.doc_md)
    assert set(dag.params) == {key.name for key in VERIFY_KEYS}
    dag.params.validate()
    (asset,) = dag.get_task("verify").outlets
    assert isinstance(asset, Asset)


def test_schedule_and_depth_are_settings(configure: Configure) -> None:
    configure(verify_schedule="@daily", verify_depth="drill")
    dag = load_dag("pgvector_verify")
    assert times_of(dag) == ["0 0 * * *"]
    assert announces(dag) == ["pgvector_backup"]
    assert dag.params["depth"] == "drill"
    configure(verify_schedule="none")
    dag = load_dag("pgvector_verify")
    assert times_of(dag) == []
    assert announces(dag) == ["pgvector_backup"]
    configure(verify_schedule="@daily", verify_after="none")
    dag = load_dag("pgvector_verify")
    assert dag.schedule == "@daily"
    assert announces(dag) == []
    configure(verify_schedule="none")
    assert load_dag("pgvector_verify").schedule is None


def test_the_weekly_one_leaves_midnight_to_the_backup() -> None:
    midnight, weekly = (load_dag(dag_id) for dag_id in ("pgvector_backup", "pgvector_verify"))
    assert midnight.schedule == "@daily"
    assert times_of(weekly) == ["0 4 * * 0"]


@pytest.mark.parametrize(
    ("key", "value"), [("verify_schedule", "weakly"), ("verify_depth", "deep"), ("verify_after", "deep")]
)
def test_a_setting_that_cannot_be_used_is_named(configure: Configure, key: str, value: str) -> None:
    configure(**{key: value})
    errors = [text for name, text in load().import_errors.items() if "verify" in name]
    assert len(errors) == 1
    assert f"[pgvector_backup] {key}" in errors[0]


def test_an_empty_conf_verifies_the_newest_set_of_every_location(house: Path, run: Run) -> None:
    (house / "nightly").mkdir()
    run({})
    run({"task_id": "nightly"})
    outcome = verified(run)
    assert outcome.states == {"verify": "success", "report": "success"}
    result = outcome.result
    assert set(result) == RESULT
    assert result["response"] == "Vector表备份校验完成"
    assert result["verify_performed"] is True
    assert result["depth"] == "rows"
    assert [one["backup_path"] for one in result["sets"]] == ["vector_bak", "nightly/vector_bak"]
    for one in result["sets"]:
        assert one["ok"] is True
        assert one["tables"]["langchain_pg_embedding"]["rows"] == 58
        told = json.loads((house / one["backup_path"] / f"verified_{one['timestamp']}.json").read_bytes())
        assert told["ok"] is True
        assert told["run_id"] == outcome.run_id
        assert "VERIFY OK" in log(house / one["backup_path"])
    assert outcome.declared_results == {"report"}
    (event,) = outcome.asset_events
    assert all(event["sets"].values())


def test_damage_fails_at_once_and_says_what_is_whole(house: Path, run: Run) -> None:
    run({})
    path = damage(house / "vector_bak")
    outcome = verified(run, depth="files")
    assert outcome.states == {"verify": "failed", "report": "failed"}
    assert outcome.tries["verify"] == 1, "what is damaged stays so"
    text = check_error(outcome.error, "INTEGRITY_ERROR")
    assert path.name in text
    assert "whole are langchain_pg_collection" in text
    (one,) = outcome.result["sets"]
    assert one["damaged_tables"] == ["langchain_pg_embedding"]
    assert one["whole_tables"] == ["langchain_pg_collection"]
    assert path.name in outcome.result["errors"][0]
    assert outcome.result["response"] == "Vector表备份校验失败"
    assert "VERIFY FAILED" in log(house / "vector_bak")


def test_nothing_to_verify_is_a_success_that_says_so(house: Path, run: Run) -> None:
    outcome = verified(run)
    assert outcome.state == "success"
    assert outcome.result["verify_performed"] is False
    assert outcome.result["response"] == "没有可校验的备份"


def test_a_drill_on_an_embedded_server(house: Path, run: Run, database: Database) -> None:
    run({})
    database.run("DROP TABLE langchain_pg_embedding")
    outcome = verified(run, depth="drill")
    assert outcome.state == "success"
    (one,) = outcome.result["sets"]
    assert one["tables"]["langchain_pg_embedding"]["drill"]["rows"] == 58
    assert one["tables"]["langchain_pg_embedding"]["drill"]["fingerprint"] == "equal"


def test_a_drill_on_a_named_server(house: Path, run: Run, database: Database, connection: Callable[..., None]) -> None:
    run({})
    connection(database.uri(), "pgvector_scratch")
    outcome = verified(run, depth="drill", db_connection="pgvector_scratch")
    assert outcome.state == "success"
    assert outcome.result["sets"][0]["depth"] == "drill"
    assert database.run("SELECT 1 FROM pg_database WHERE datname LIKE 'pgvector_drill_%'") == []


@pytest.mark.parametrize(
    ("conf", "error_type"),
    [
        ({"dept": "rows"}, "INVALID_PARAMS"),
        ({"timestamp": "20250101_000000"}, "INVALID_PARAMS"),
        ({"task_id": "absent"}, "RESOURCE_NOT_FOUND"),
        ({"backup_path": "../elsewhere"}, "INVALID_PARAMS"),
        ({"depth": "drill", "db_connection": "pgvector_absent"}, "RESOURCE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_verified_fails_at_once(house: Path, run: Run, conf: dict[str, Any], error_type: str) -> None:
    run({})
    outcome = verified(run, **conf)
    assert outcome.states == {"verify": "failed", "report": "failed"}
    assert outcome.tries["verify"] == 1
    text = check_error(outcome.error, error_type)
    assert outcome.result["errors"] == [text]
    # What the contract says in Chinese stands there in English too.
    assert set(outcome.result) == (RESULT if text.isascii() else RESULT | {"errors_en"})
    (english,) = outcome.result.get("errors_en", [text])
    assert english.isascii()
    assert outcome.result["verify_performed"] is False


def test_the_operator_in_a_dag_of_ones_own(house: Path, run: Run, tmp_path: Path) -> None:
    (house / "nightly").mkdir()
    run({"task_id": "nightly"})
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "own.py").write_text(OWN_DAG.format(root=house))
    outcome = run({}, dags=dags, dag_id="own")
    assert outcome.state == "success"
    result = outcome.xcoms["look", "return_value"]
    assert [one["backup_path"] for one in result["sets"]] == ["nightly/vector_bak"]
    assert result["depth"] == "files"


class TestAfterABackup:
    """A run that the asset of backups has called for: `verify_after` deep, what was announced and nothing else."""

    @pytest.fixture
    def followed(self, house: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
        """Verify as if these events had called for it; Airflow tells a task of them by this one call."""

        def follow(*extras: Any) -> Outcome:
            asset = SimpleNamespace(name="pgvector_backup", uri="pgvector_backup")
            events = [SimpleNamespace(asset=asset, source_aliases=[], extra=extra) for extra in extras]
            build = TriggeringAssetEventsAccessor.build
            with monkeypatch.context() as patched:
                patched.setattr(TriggeringAssetEventsAccessor, "build", lambda _: build(events))  # type: ignore[arg-type]
                return verified(run)

        return follow

    def test_each_new_set_is_verified(
        self, house: Path, run: Run, configure: Configure, followed: Callable[..., Outcome]
    ) -> None:
        (house / "nightly").mkdir()
        first, second = run({}), run({"task_id": "nightly"})
        (elder,), (younger,) = first.asset_events, second.asset_events
        run({})  # not announced
        outcome = followed(elder, younger, elder)
        assert outcome.state == "success"
        result = outcome.result
        assert result["depth"] == "files"
        assert [(one["backup_path"], one["timestamp"]) for one in result["sets"]] == [
            ("vector_bak", elder["backup_id"]),
            ("nightly/vector_bak", younger["backup_id"]),
        ]
        configure(verify_after="rows")
        assert followed(younger).result["depth"] == "rows"

    def test_damage_fails_it(self, house: Path, run: Run, followed: Callable[..., Outcome]) -> None:
        (made,) = run({}).asset_events
        path = damage(house / "vector_bak")
        outcome = followed(made)
        assert outcome.state == "failed"
        assert path.name in check_error(outcome.error, "INTEGRITY_ERROR")

    def test_what_cannot_be_followed_is_a_note_and_stops_nothing_else(
        self, house: Path, run: Run, followed: Callable[..., Outcome]
    ) -> None:
        (made,) = run({}).asset_events
        strange: list[dict[str, Any]] = [
            {"backup_id": "20250101_000000"},
            {"task_id": "no_such_task"},
            {"task_id": "../up"},
            {"backup_id": "../../etc/passwd"},
            {"backup_directory": "/elsewhere"},
        ]
        outcome = followed({}, None, {"backup_id": 1}, *({**made, **extra} for extra in strange), made)
        assert outcome.state == "success"
        assert [one["timestamp"] for one in outcome.result["sets"]] == [made["backup_id"]]
        assert len(outcome.result["notes"]) == len(strange)
        assert all("not verified" in note for note in outcome.result["notes"])
