"""What all tests share: one real PostgreSQL with pgvector, and a fresh database for each test that asks."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings
from xdist.scheduler import LoadGroupScheduling

from demo.embedded import OpenedPostgres
from tests.helpers.clusters import remembered
from tests.helpers.database import Database, fresh
from tests.helpers.in_memory import move_into, prepared

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TESTS = Path(__file__).parent
_NICE = os.nice(0)

# Begun first, the longest before all others, so that in the end no core waits for another.
LONGEST = (
    "system",
    "airflow",
    "stores/test_store_deaths",
    "engine/test_restore_kill",
    "airflow/web",
    "engine/test_machine",
    "airflow/test_plugin_loading",
    "airflow/test_plugin",
    "cli/test_wheel",
    "engine/test_traps",
    "stores/test_copies",
    "engine/test_increments",
    "engine/test_increment_machine",
    "engine/test_kill",
    "cli/test_commands",
    "cli/test_environment",
    "cli/test_docs",
    "engine/test_foreign_drill",
    "engine/test_reader_process",
    "engine/test_prune",
    "stores/test_object_sets",
)

# In these every test is in one group, but for the modules that are named above.
SHARED = ("system", "airflow", "airflow/web")


def _group_of(path: Path) -> str:
    """Tests of a group run in one process, one after the other: who shares a running Airflow, or a module."""
    name = path.relative_to(TESTS).with_suffix("").as_posix()
    area = name.rpartition("/")[0]
    return area if area in SHARED and name not in LONGEST else name


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put all files of this run into memory, where there is room for them; the workers follow their controller."""
    if hasattr(config, "workerinput") or config.option.basetemp or not (directory := prepared()):
        return
    config.option.basetemp = directory / "tests"
    move_into(directory)
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores: half of the time a test waits, for a server, a scheduler, a browser."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + (cores + 1) // 2


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the running Airflow go first: browsers and schedulers give up after seconds, what else runs does not."""
    if "PYTEST_XDIST_WORKER" in os.environ and _group_of(item.path) != "system" and os.nice(0) == _NICE:
        os.nice(5)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the groups into the order in which they begin."""
    order = {group: number for number, group in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(_group_of(item.path), len(order)))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is there now stays until the end: no collection of garbage shall go through all of it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


class _Groups(LoadGroupScheduling):
    """Groups by the tests' places; xdist itself would go by marks, which it can no longer write into a test's name."""

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(TESTS.parent / nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    """With ``--dist loadgroup``, hand out groups."""
    return _Groups(config, log) if config.getoption("dist") == "loadgroup" else None


class _OfTheMachine(OpenedPostgres):
    """A server whose programs are the machine's own, where `make test-matrix` has found them."""

    @property
    def bin(self) -> Path:
        return Path(os.environ["MATRIX_PROGRAMS"])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedPostgres]:
    """PostgreSQL 18 with pgvector, for as long as the tests run; `make test-matrix` asks for others."""
    directory = tmp_path_factory.mktemp("postgres")
    made = (
        _OfTheMachine(directory)
        if "MATRIX_PROGRAMS" in os.environ
        else OpenedPostgres(directory, version=int(os.environ.get("MATRIX_POSTGRES", "18")))
    )
    with made as running:
        with psycopg.connect(running.uri("template1"), autocommit=True) as conn:
            conn.execute("CREATE EXTENSION vector")
        yield running


@pytest.fixture(scope="session", autouse=True)
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The clusters of drills are made once."""
    with remembered(tmp_path_factory.mktemp("clusters")):
        yield


@pytest.fixture
def database(server: OpenedPostgres) -> Iterator[Database]:
    """An empty database with pgvector, dropped afterwards."""
    with fresh(server) as made:
        yield made


@pytest.fixture
def elsewhere(server: OpenedPostgres) -> Iterator[Database]:
    """Another database, in which there is nothing at all, not even pgvector."""
    with fresh(server, "template0") as made:
        yield made


@pytest.fixture
def backup_root(tmp_path: Path) -> Path:
    """An empty directory for the sets of one test."""
    root = tmp_path / "training_data"
    root.mkdir()
    return root
