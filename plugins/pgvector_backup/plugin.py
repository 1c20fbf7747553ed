"""What Airflow discovers: the plugin's name. Everything else is imported by those who use it.

Airflow imports this module in every task's process, so nothing heavy may be imported here.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class PgVectorBackupPlugin(AirflowPlugin):
    """Backups of pgvector tables; the operators are in `pgvector_backup.operators`."""

    name = "pgvector_backup"
