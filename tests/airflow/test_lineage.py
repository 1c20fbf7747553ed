"""What tasks tell OpenLineage: tables and sets, with rows and bytes.

Where apache-airflow-providers-openlineage is installed, with its own classes; otherwise with classes of the same
arguments in their place.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.sdk.listener import get_listener_manager

from tests.helpers.database import Database
from tests.helpers.own_airflow import Configure, Run

GENERATED = "openlineage.client.generated"
STAND_INS = {
    f"{GENERATED}.base": {"InputDataset": ("inputFacets",), "OutputDataset": ("outputFacets",)},
    f"{GENERATED}.dataset_version_dataset": {"DatasetVersionDatasetFacet": ()},
    f"{GENERATED}.input_statistics_input_dataset": {"InputStatisticsInputDatasetFacet": ()},
    f"{GENERATED}.output_statistics_output_dataset": {"OutputStatisticsOutputDatasetFacet": ()},
    f"{GENERATED}.lifecycle_state_change_dataset": {"LifecycleStateChangeDatasetFacet": ()},
}


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, *required: str, **optional: Any) -> type:
        fields: list[Any] = [(one, Any) for one in required]
        fields += [(one, Any, dataclasses.field(default=value)) for one, value in optional.items()]
        return dataclasses.make_dataclass(name, fields)

    modules: dict[str, ModuleType] = {}
    for name in ("airflow.providers.openlineage", "openlineage", "openlineage.client", GENERATED):
        modules[name] = ModuleType(name)
    extractors = modules["airflow.providers.openlineage.extractors"] = ModuleType("extractors")
    extractors.OperatorLineage = made("OperatorLineage", inputs=(), outputs=())  # type: ignore[attr-defined]
    for name in STAND_INS:
        modules[name] = ModuleType(name)
    counts = {"rowCount": None, "size": None, "fileCount": None, "producer": ""}
    kinds: dict[str, type] = {
        "InputDataset": made("InputDataset", "namespace", "name", inputFacets=None, facets=None),
        "OutputDataset": made("OutputDataset", "namespace", "name", outputFacets=None, facets=None),
        "DatasetVersionDatasetFacet": made("DatasetVersionDatasetFacet", "datasetVersion", producer=""),
        "InputStatisticsInputDatasetFacet": made("InputStatisticsInputDatasetFacet", **counts),
        "OutputStatisticsOutputDatasetFacet": made("OutputStatisticsOutputDatasetFacet", **counts),
        "LifecycleStateChangeDatasetFacet": made(
            "LifecycleStateChangeDatasetFacet", "lifecycleStateChange", producer=""
        ),
    }
    for name, classes in STAND_INS.items():
        for one in classes:
            setattr(modules[name], one, kinds[one])
    changes = modules[f"{GENERATED}.lifecycle_state_change_dataset"]
    changes.LifecycleStateChange = type("LifecycleStateChange", (), {"TRUNCATE": "TRUNCATE"})  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


class Listener:
    """Asks each task that succeeds, as the provider's listener does."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        task = task_instance.task
        if hasattr(task, "get_openlineage_facets_on_complete"):
            self.told[task.task_id] = task.get_openlineage_facets_on_complete(task_instance)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    from airflow.listeners import hookimpl

    try:
        import openlineage.client  # noqa: F401
    except ImportError:
        stand_in(monkeypatch)
    listener = Listener()
    monkeypatch.setattr(Listener, "on_task_instance_success", hookimpl(Listener.on_task_instance_success))
    manager = get_listener_manager()
    manager.add_listener(listener)
    yield listener.told
    manager.pm.unregister(listener)


def counted(dataset: Any, side: str) -> tuple[str, str, int | None, int | None]:
    facets = dataset.inputFacets if side == "input" else dataset.outputFacets
    statistics = facets[f"{side}Statistics"]
    return dataset.namespace, dataset.name, statistics.rowCount, statistics.size


def test_a_backup_reads_tables_and_writes_a_set(
    house: Path, run: Run, told: dict[str, Any], database: Database, configure: Configure
) -> None:
    result = run({"truncate_vector_tables": True}).xcoms["report", "return_value"]
    tables = result["tables_backed_up"]
    name = database.uri().rpartition("/")[2].partition("?")[0]
    namespace = told["backup"].inputs[0].namespace
    assert namespace.startswith("postgres://")
    assert namespace.rpartition(":")[2].isdigit()
    assert [counted(one, "input") for one in told["backup"].inputs] == [
        (namespace, f"{name}.public.{table}", tables[table]["row_count"], tables[table]["bytes"])
        for table in ("langchain_pg_collection", "langchain_pg_embedding")
    ]
    (made,) = told["backup"].outputs
    size = sum(table["bytes"] for table in tables.values())
    assert counted(made, "output") == ("file", f"{house}/vector_bak", 62, size)
    assert made.facets["version"].datasetVersion == result["backup_id"]
    (emptied,) = told["truncate"].outputs
    assert counted(emptied, "output")[:3] == (namespace, f"{name}.public.langchain_pg_embedding", 58)
    assert "TRUNCATE" in str(emptied.facets["lifecycleStateChange"].lifecycleStateChange)
    assert told["report"].inputs == told["report"].outputs == []

    run({"backup_path": "vector_bak", "timestamp": "latest", "on_conflict": "skip"}, dag_id="pgvector_restore")
    (read,) = told["restore"].inputs
    assert (read.namespace, read.name) == ("file", f"{house}/vector_bak")
    assert read.facets["version"].datasetVersion == result["backup_id"]
    assert (namespace, f"{name}.public.langchain_pg_embedding", 58) in [
        counted(one, "output")[:3] for one in told["restore"].outputs
    ]


def test_a_copy_reads_a_set_and_writes_one(
    house: Path, run: Run, told: dict[str, Any], configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "copies").mkdir()
    configure(copy_roots=tmp_path / "copies")
    run({})
    (read,), (made,) = told["copy"].inputs, told["copy"].outputs
    assert (read.namespace, read.name) == ("file", f"{house}/vector_bak")
    assert (made.namespace, made.name) == ("file", f"{tmp_path}/copies/vector_bak")
    assert counted(made, "output")[3]


def test_without_the_provider_nothing_is_told(house: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgvector_backup.operators.lineage import Lineage, facets

    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    assert facets(Lineage()) is None


def test_tables_are_named_by_their_schema_and_what_is_no_name_is_left_out() -> None:
    from pgvector_backup.operators.lineage import Lineage

    told = Lineage(server=("postgres://db:5432", "app"))
    rows = {"t": 1, "docs.t": 2, 'docs."a.b"': 3, "a.b.c": 4, "": 5}
    assert [one.name for one in told.tables(rows)] == ["app.public.t", "app.docs.t", "app.docs.a.b"]
    assert [one.name for one in told.tables({"t": 1, "docs.t": 2}, schema="s")] == ["app.s.t", "app.s.t"]
    assert Lineage().tables(rows) == [], "nobody has connected"


@pytest.mark.parametrize(
    ("directory", "namespace", "name"),
    [
        ("/data/vector_bak", "file", "/data/vector_bak"),
        ("file:///data/vector_bak", "file", "/data/vector_bak"),
        ("s3://bucket/sets/vector_bak", "s3://bucket", "sets/vector_bak"),
        ("gs://bucket", "gs://bucket", "/"),
        ("abfs://container@account.dfs.core.windows.net/sets", "abfs://container@account.dfs.core.windows.net", "sets"),
    ],
)
def test_a_place_is_named_as_openlineage_names_it(directory: str, namespace: str, name: str) -> None:
    from pgvector_backup.operators.lineage import sets_at

    named = sets_at(directory, "20250721_234914")
    assert (named.namespace, named.name) == (namespace, name)
