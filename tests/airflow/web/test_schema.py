"""The API held against its own OpenAPI document: thousands of requests that nobody would think of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import delete

from pgvector_backup.web import runs
from tests.helpers.api import PREFIX, Api
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.served import served

CONFIG = """
[[operations]]
# What keys may not be given together, which level goes with which compression, and which texts are dates to come, is
# more than their schema says.
include-name = [
    "POST /backup", "POST /restore", "POST /verify", "POST /prune", "POST /copy",
    "PUT /sets/{location}/{timestamp}/pin",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409"]
"""

HOOKS = """
import schemathesis

@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    # Such a path leads past everything that Airflow mounts: its own 404 answers.
    values = [str(value) for value in (path_parameters or {}).values()]
    return not any("\\n" in value or "%0A" in value for value in values)
"""

COMMAND = str(Path(sys.executable).with_name("schemathesis"))


@pytest.fixture
def url(house: Any, app: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The API over HTTP, with a set to ask for; nobody carries its runs out, so nobody is made to wait for them."""
    make_set(database, now=datetime(2025, 7, 21, 23, 49, 14, tzinfo=timezone.utc))
    wait = runs.wait

    async def look_once(kind: Any, run_id: str, seconds: float, gone: Any = None) -> Any:
        return await wait(kind, run_id, 0, gone)

    monkeypatch.setattr(runs, "wait", look_once)
    with served(app) as address:
        yield f"{address}{PREFIX}"
    with create_session() as session:
        session.execute(delete(DagRun))


def test_it_answers_as_its_document_says(url: str, as_: Callable[[str], Api], tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    (tmp_path / "hooks.py").write_text(HOOKS)
    done = subprocess.run(
        [
            COMMAND,
            "--no-color",
            "--config-file=schemathesis.toml",
            "run",
            f"{url}/openapi.json",
            "--header",
            f"Authorization: Bearer {as_('op').token}",
            "--checks=all",
            # A run that was cancelled goes on being told of; for sets there is a test of our own.
            "--exclude-checks=use_after_free",
            "--max-examples=25",
            "--seed=1",
            "--generation-database=none",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    print(done.stdout[-30_000:], done.stderr[-3000:])
    assert done.returncode == 0
    counts = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counts is not None
    assert counts[1] == counts[2]
    assert int(counts[1]) > 500
