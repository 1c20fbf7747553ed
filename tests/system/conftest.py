"""One Airflow for all the tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgvector_backup.embedded.server import EmbeddedPostgres
from tests.helpers.installation import Installation, installed


@pytest.fixture(scope="session")
def installation(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The one Airflow of this session."""
    with installed(server, tmp_path_factory.mktemp("installation")) as running:
        yield running
