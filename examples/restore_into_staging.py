"""Every Monday, the newest whole set into the staging database, whose rows it replaces; nothing else is touched."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from pgvector_backup.operators.restore import PgVectorRestoreOperator, PgVectorRestoreReportOperator

with DAG(
    dag_id="restore_into_staging",
    doc_md=__doc__,
    schedule="0 6 * * 1",
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["example"],
):
    bring = PgVectorRestoreOperator(
        task_id="bring",
        # A role of the staging database; the source's is not named here at all.
        pgvector_conn_id="pgvector_staging",
        backup_path="vector_bak",
        truncate_before_restore=True,
        # Sets of production go into another database here, on purpose.
        into_other_database=True,
    )
    PgVectorRestoreReportOperator(task_id="tell", restore=bring.output, trigger_rule="all_done")
