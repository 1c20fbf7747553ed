"""Object stores to back up into: the servers run as long as the tests do, a bucket is each test's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.seaweed import SeaweedFS
from tests.helpers import object_stores as servers
from tests.helpers.azurite import Azure, Container, azurite
from tests.helpers.database import Database
from tests.helpers.house import House
from tests.helpers.object_stores import S3, Bucket

_buckets = itertools.count(1)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as running:
        yield S3(running.endpoint, running.access_key, running.secret_key)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with servers.moto(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with servers.rclone(tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def fresh_bucket(server: S3, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Bucket:
    """A bucket, and the environment that leads to its server."""
    name = f"bucket-{next(_buckets)}"
    server.client().create_bucket(Bucket=name, **options)
    for key, value in server.environment.items():
        monkeypatch.setenv(key, value)
    return Bucket(server, name)


def fresh_container(server: Azure, monkeypatch: pytest.MonkeyPatch) -> Container:
    """The same, of Azure."""
    name = f"container-{next(_buckets)}"
    server.rclone("mkdir", name)
    for key, value in server.environment.items():
        monkeypatch.setenv(key, value)
    return Container(server, name)


def fresh_place(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket | Container:
    """A bucket or container at one of the servers above, by the name of its fixture."""
    server = request.getfixturevalue(kind)
    return fresh_container(server, monkeypatch) if kind == "azure" else fresh_bucket(server, monkeypatch)


@pytest.fixture
def container(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> Container:
    return fresh_container(azure, monkeypatch)


@pytest.fixture
def bucket(seaweed: S3, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return fresh_bucket(seaweed, monkeypatch)


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    root = tmp_path / "local"
    root.mkdir()
    return House(database, root)
