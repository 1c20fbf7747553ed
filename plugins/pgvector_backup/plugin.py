"""What Airflow discovers: the plugin's name. Everything else is imported by those who use it.

Airflow imports this module in every task's process, so nothing heavy may be imported here.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class PgVectorBackupPlugin(AirflowPlugin):
    """Backups of pgvector tables; the operators are in `pgvector_backup.operators`."""

    name = "pgvector_backup"

    # Asked for by the API server alone: FastAPI and all that it brings is imported there and nowhere else.
    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The engine over HTTP, and the files of the page that calls it."""
        from pgvector_backup.installation.addresses import PAGE_PREFIX  # noqa: PLC0415
        from pgvector_backup.web.app import PREFIX, create_app  # noqa: PLC0415
        from pgvector_backup.web.page import create_page  # noqa: PLC0415

        return [
            {"app": create_app(), "url_prefix": PREFIX, "name": "pgvector backup"},
            {"app": create_page(), "url_prefix": PAGE_PREFIX, "name": "pgvector backup's page"},
        ]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page in Airflow's navigation."""
        from pgvector_backup.web.page import view  # noqa: PLC0415

        return [view()]
