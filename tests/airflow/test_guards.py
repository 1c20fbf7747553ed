"""Between a task and its operator: a stop is handed on, a password is masked, nothing unused is asked for."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.log import redact

from pgvector_backup.engine.base.errors import Cancelled, Conflict, InvalidParams
from pgvector_backup.installation.configuration import ConnectionRules
from pgvector_backup.installation.connections import connect_to
from pgvector_backup.installation.uris import read_uri
from pgvector_backup.operators.arguments import manifest_file_of
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.restore import PgVectorRestoreOperator
from pgvector_backup.operators.truncate import PgVectorTruncateOperator
from pgvector_backup.operators.verify import PgVectorVerifyOperator
from tests.helpers.own_airflow import Run

OPERATORS = [PgVectorBackupOperator, PgVectorTruncateOperator, PgVectorRestoreOperator, PgVectorVerifyOperator]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_a_task_that_is_killed_stops_its_story(operator: Any) -> None:
    further = {"backup": {"manifest_file": "m"}} if operator is PgVectorTruncateOperator else {}
    task = operator(task_id="t", **further)
    task.on_kill()  # before the work has begun there is nothing to stop
    story = task.cancel()
    story.check()
    task.on_kill()
    with pytest.raises(Cancelled):
        story.check()


def test_a_killed_backup_ends_and_leaves_nothing(house: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The story is the one that `on_kill` asks, whose next step then is its last."""
    made = PgVectorBackupOperator.cancel

    def killed(self: PgVectorBackupOperator) -> Any:
        story = made(self)
        self.on_kill()
        return story

    monkeypatch.setattr(PgVectorBackupOperator, "cancel", killed)
    outcome = run({})
    assert outcome.state == "failed"
    assert outcome.xcoms["backup", "error"]["error_type"] == "CANCELLED"
    assert [path for path in house.rglob("*") if path.suffix in (".csv", ".json", ".tmp")] == []


def test_a_backup_that_waits_for_a_lock_of_a_file_ends_when_it_is_killed(
    house: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run({}).state == "success"
    (house / "vector_bak").chmod(0o700)
    made = PgVectorBackupOperator.execute

    def killed_soon(self: PgVectorBackupOperator, context: Any) -> Any:
        threading.Timer(0.5, self.on_kill).start()
        return made(self, context)

    monkeypatch.setattr(PgVectorBackupOperator, "execute", killed_soon)
    with _opened(house / "vector_bak") as directory:
        fcntl.flock(directory, fcntl.LOCK_EX)
        before = time.monotonic()
        outcome = run({})
    assert outcome.xcoms["backup", "error"]["error_type"] == "CANCELLED"
    assert time.monotonic() - before < 20


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("told", [None, {}, {"manifest_file": None}, {"manifest_file": ""}, {"manifest_file": 7}, "m"])
def test_no_table_is_emptied_without_a_manifest_of_this_run(told: Any) -> None:
    with pytest.raises(Conflict, match="^no backup of this run to rely on; nothing was emptied$"):
        manifest_file_of(told, "nothing was emptied")


def test_a_truncate_relies_on_one_backup_not_on_several() -> None:
    assert manifest_file_of({"manifest_file": "m"}, "nothing was emptied") == "m"
    with pytest.raises(InvalidParams, match="2 results, as of a mapped task"):
        manifest_file_of([{"manifest_file": "m"}] * 2, "nothing was emptied")


@pytest.mark.parametrize("depth", ["files", "rows"])
def test_a_verify_asks_for_no_connection_that_it_does_not_use(house: Path, run: Run, depth: str) -> None:
    assert run({}).state == "success"
    outcome = run({"depth": depth, "db_connection": "pgvector_not_there"}, dag_id="pgvector_verify")
    assert outcome.state == "success"


@pytest.mark.parametrize(
    ("uri", "password"),
    [
        ("postgresql://u:plain-words@h/d", "plain-words"),
        ("postgresql://u:with%2Fslash%3Aand%40@h/d", "with/slash:and@"),
        ("postgresql://h/d?user=u&password=as-an-option", "as-an-option"),
    ],
)
def test_a_uris_password_is_masked_in_every_spelling(uri: str, password: str) -> None:
    assert password in str(redact(f"before {password} after"))
    given, told = read_uri(uri, ConnectionRules(default="x", allowed=(), uri_allowed=True))
    assert told == password
    assert password not in given.values()
    assert password not in str(redact(f"before {password} after"))
    assert uri not in str(redact(f"before {uri} after"))


def test_a_refused_uri_is_masked_too(connection: Callable[..., None]) -> None:
    uri = "mysql://u:never-allowed@h/d"
    with pytest.raises(Exception, match="postgresql://") as refused:
        read_uri(uri, ConnectionRules(default="x", allowed=(), uri_allowed=True))
    assert "never-allowed" not in str(refused.value)
    assert uri not in str(redact(f"before {uri} after"))


def test_a_uri_that_may_not_be_sent_is_masked_before_it_is_refused() -> None:
    uri = "postgresql://u:not-for-conf@h/d"
    with pytest.raises(InvalidParams, match="a URI is not allowed here"):
        connect_to(uri, None, ConnectionRules(default="x", allowed=(), uri_allowed=False))
    assert uri not in str(redact(f"before {uri} after"))
