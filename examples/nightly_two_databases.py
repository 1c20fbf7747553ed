"""Every night at three, in [core] default_timezone, two databases, each into a directory of its own.

One that cannot be reached fails the run and stops nothing of the other.
"""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.report import PgVectorReportOperator

with DAG(
    dag_id="nightly_two_databases",
    doc_md=__doc__,
    schedule="0 3 * * *",
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1},
    tags=["example"],
):
    # The directories "search" and "support" have to exist below the backup root.
    search = PgVectorBackupOperator(task_id="search", pgvector_conn_id="pgvector_search", backup_task_id="search")
    support = PgVectorBackupOperator(task_id="support", pgvector_conn_id="pgvector_support", backup_task_id="support")
    tell = PgVectorReportOperator(task_id="tell", trigger_rule="all_done")
    [search, support] >> tell
