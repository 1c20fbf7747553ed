"""Whom the settings name, called once per change: by failures, damage, and a night without a backup."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.sdk import BaseNotifier

from tests.helpers.database import Database
from tests.helpers.own_airflow import Configure, Run

CALLED: list[tuple[str, Any]] = []


class Note(BaseNotifier):
    """A notifier as Airflow's providers have them."""

    template_fields = ("subject",)

    def __init__(self, subject: str) -> None:
        super().__init__()
        self.subject = subject

    def notify(self, context: Any) -> None:
        CALLED.append((self.subject, context["pgvector"]))


def page(context: Any) -> None:
    CALLED.append(("page", context["pgvector"]))


def breaks(context: Any) -> None:
    raise RuntimeError("the pager is on fire")


@pytest.fixture(autouse=True)
def alerts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("own_alerts")
    module.Note, module.page, module.breaks = Note, page, breaks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_alerts", module)
    CALLED.clear()
    yield
    CALLED.clear()


NOTE = json.dumps({"own_alerts.Note": {"subject": "vectors: {{ pgvector.title }}"}})


def test_a_failure_calls_once_and_a_recovery_once(
    house: Path, run: Run, configure: Configure, database: Database
) -> None:
    configure(on_failure=NOTE, on_recovery="own_alerts.page", retries=0)
    assert run({}).state == "success"
    assert CALLED == []
    database.run("ALTER TABLE langchain_pg_embedding RENAME TO away")
    for _ in range(2):
        assert run({}).state == "failed"
    ((subject, alarm),) = CALLED
    assert subject.startswith("vectors: backup in the backup root (DAG pgvector_backup) failed")
    assert "langchain_pg_embedding" in alarm.text
    assert alarm.page.endswith("/pgvector-backup/open")
    database.run("ALTER TABLE away RENAME TO langchain_pg_embedding")
    for _ in range(2):
        assert run({}).state == "success"
    assert [who for who, _ in CALLED] == [subject, "page"]
    assert "succeeds again" in CALLED[1][1].title


def test_another_directory_is_another_matter(house: Path, run: Run, configure: Configure) -> None:
    configure(on_failure="own_alerts.page", retries=0)
    for name in ("one", "two"):
        assert run({"task_id": name}).state == "failed"
    assert [alarm.subject for _, alarm in CALLED] == [
        "backup in one (DAG pgvector_backup)",
        "backup in two (DAG pgvector_backup)",
    ]
    assert [alarm.errors for _, alarm in CALLED] == [
        ("the task's directory does not exist: one",),
        ("the task's directory does not exist: two",),
    ]


def test_a_damaged_set_calls(house: Path, run: Run, configure: Configure) -> None:
    assert run({}).state == "success"
    configure(on_failure="own_alerts.page", retries=0)
    (file,) = (house / "vector_bak").glob("langchain_pg_embedding_*.csv")
    file.write_bytes(file.read_bytes()[:-5])
    assert run({}, dag_id="pgvector_verify").state == "failed"
    ((_, alarm),) = CALLED
    assert alarm.subject.startswith("verify in ")
    assert file.name in alarm.text


def test_nobody_is_called_where_nobody_is_named(house: Path, run: Run, configure: Configure) -> None:
    configure(retries=0)
    assert run({"task_id": "nowhere"}).state == "failed"
    assert CALLED == []


@pytest.mark.parametrize("named", ["own_alerts.breaks", "own_alerts.missing", "{broken", "nosuchmodule.x"])
def test_trouble_with_calling_changes_nothing_of_the_run(
    house: Path, run: Run, configure: Configure, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(on_failure=named, retries=0)
    outcome = run({"task_id": "nowhere"})
    assert outcome.error["error_type"] == "RESOURCE_NOT_FOUND"


def test_one_that_cannot_be_called_keeps_nobody_else_from_it(house: Path, run: Run, configure: Configure) -> None:
    configure(on_failure="own_alerts.breaks, own_alerts.missing, own_alerts.page", retries=0)
    for _ in range(2):
        assert run({"task_id": "nowhere"}).state == "failed"
    assert [who for who, _ in CALLED] == ["page"]


def test_what_nobody_could_be_told_of_is_told_by_the_next_run(house: Path, run: Run, configure: Configure) -> None:
    configure(on_failure="own_alerts.breaks", on_recovery="own_alerts.breaks", retries=0)
    assert run({"task_id": "later"}).state == "failed"
    configure(on_failure="own_alerts.page", on_recovery="own_alerts.breaks")
    assert run({"task_id": "later"}).state == "failed"
    assert [alarm.failed for _, alarm in CALLED] == [True]
    (house / "later").mkdir()
    assert run({"task_id": "later"}).state == "success"
    configure(on_recovery="own_alerts.page")
    assert run({"task_id": "later"}).state == "success"
    assert [alarm.failed for _, alarm in CALLED] == [True, False]


def test_a_missed_night_calls_until_there_is_a_backup(house: Path, run: Run, configure: Configure) -> None:
    configure(on_failure="own_alerts.page", on_recovery="own_alerts.page", schedule="0 0 1 1 *")
    for _ in range(2):
        outcome = run({}, dag_id="pgvector_watch")
        assert outcome.state == "success"
        assert outcome.xcoms["watch", "return_value"]["missed"] is True
    ((_, alarm),) = CALLED
    assert alarm.subject == "the scheduled backup"
    assert "no whole backup since" in alarm.text
    assert run({}).state == "success"
    assert run({}, dag_id="pgvector_watch").xcoms["watch", "return_value"]["missed"] is False
    assert [alarm.failed for _, alarm in CALLED] == [True, False]
    # One of which it is known that it cannot be restored makes up for no night.
    (manifest,) = house.glob("vector_bak/manifest_*.json")
    verification = manifest.with_name(manifest.name.replace("manifest_", "verified_"))
    verification.write_text(json.dumps({"depth": "rows", "ok": False, "damaged": True, "errors": ["altered"]}))
    assert run({}, dag_id="pgvector_watch").xcoms["watch", "return_value"]["missed"] is True


def test_without_a_schedule_nothing_is_missed(house: Path, run: Run, configure: Configure) -> None:
    configure(on_failure="own_alerts.page", schedule="none")
    outcome = run({}, dag_id="pgvector_watch")
    assert outcome.xcoms["watch", "return_value"] == {"due": None, "missed": False, "newest": None}
