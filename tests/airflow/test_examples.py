"""The DAGs in `examples/`, each run from its first task to its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import langchain
from tests.helpers.database import Database
from tests.helpers.outcomes import log, rows
from tests.helpers.own_airflow import CHECKOUT, Outcome, Run, load

EXAMPLES = CHECKOUT / "examples"
TESTED = {
    "before_reembedding",
    "nightly_two_databases",
    "mapped_over_tenants",
    "backup_drill_notify",
    "restore_into_staging",
}


@pytest.fixture
def example(house: Path, run: Run) -> Callable[[str], Outcome]:
    """Run one of them."""
    return lambda name: run(dags=EXAMPLES, dag_id=name)


def test_every_example_is_read_and_has_its_test_here() -> None:
    bag = load(EXAMPLES)
    assert bag.import_errors == {}
    assert set(bag.dags) == TESTED == {path.stem for path in EXAMPLES.glob("*.py")}
    for dag in bag.dags.values():
        assert dag.doc_md


def test_before_reembedding(example: Callable[[str], Outcome], house: Path, database: Database) -> None:
    outcome = example("before_reembedding")
    assert outcome.state == "success"
    assert rows(database) == 0
    result = outcome.xcoms["tell", "return_value"]
    assert result["truncate_results"]["langchain_pg_embedding"]["rows_before"] == 58
    assert outcome.xcoms["embed_anew", "return_value"].endswith(result["backup_id"])


def test_nightly_two_databases(
    example: Callable[[str], Outcome],
    house: Path,
    database: Database,
    elsewhere: Database,
    connection: Callable[..., None],
) -> None:
    connection(database.uri(), "pgvector_search")
    connection(elsewhere.uri(), "pgvector_support")
    for name in ("search", "support"):
        (house / name).mkdir()
    outcome = example("nightly_two_databases")
    # The second one has no tables; the first has its set all the same.
    assert outcome.state == "failed"
    assert outcome.states == {"search": "success", "support": "failed", "tell": "failed"}
    search, support = outcome.xcoms["tell", "return_value"]
    assert (search["step"], search["backup_performed"]) == ("search", True)
    assert (support["step"], support["backup_performed"]) == ("support", False)
    assert "  OK  " in log(house / "search" / "vector_bak")


def test_mapped_over_tenants(example: Callable[[str], Outcome], house: Path) -> None:
    for name in ("acme", "globex"):
        (house / name).mkdir()
    outcome = example("mapped_over_tenants")
    assert outcome.state == "success"
    acme, globex = outcome.xcoms["tell", "return_value"]
    assert list(acme["tables_backed_up"]) == ["langchain_pg_collection", "langchain_pg_embedding"]
    assert list(globex["tables_backed_up"]) == ["langchain_pg_embedding"]


def test_backup_drill_notify(
    example: Callable[[str], Outcome], house: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = example("backup_drill_notify")
    assert outcome.state == "success"
    assert outcome.xcoms["proven", "return_value"]["verify_performed"] is True
    database.run("DROP TABLE langchain_pg_embedding")
    failed = example("backup_drill_notify")
    assert failed.states == {"save": "failed", "drill": "upstream_failed", "saved": "failed", "proven": "failed"}
    assert "is not proven: task drill did not run: task save failed" in capsys.readouterr().out


def test_restore_into_staging(
    example: Callable[[str], Outcome],
    house: Path,
    run: Run,
    database: Database,
    elsewhere: Database,
    connection: Callable[..., None],
) -> None:
    assert run({}).state == "success"
    elsewhere.run("CREATE EXTENSION vector")
    elsewhere.run(langchain.filled(dimensions=3))
    elsewhere.run("DELETE FROM langchain_pg_embedding WHERE id > 'id-3'")
    connection(elsewhere.uri(), "pgvector_staging")
    outcome = example("restore_into_staging")
    assert outcome.state == "success"
    assert outcome.xcoms["tell", "return_value"]["restore_performed"] is True
    assert rows(elsewhere) == rows(database) == 58
