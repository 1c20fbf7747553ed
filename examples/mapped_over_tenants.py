"""One backup for each tenant of a list that is known only when the run begins.

The report returns a list of results, one for each tenant; a tenant that fails hides no other.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.report import PgVectorReportOperator

with DAG(
    dag_id="mapped_over_tenants", doc_md=__doc__, schedule=None, catchup=False, max_active_runs=1, tags=["example"]
):

    @task
    def tenants() -> list[dict[str, object]]:
        """Stands for a question to wherever tenants are kept; an empty list backs up nothing, never everything."""
        return [
            {"backup_task_id": "acme", "tables": ["langchain_pg_collection", "langchain_pg_embedding"]},
            {"backup_task_id": "globex", "tables": ["langchain_pg_embedding"]},
        ]

    save = PgVectorBackupOperator.partial(
        # No more than two at a time, each with its own connections to the server.
        task_id="save",
        max_active_tis_per_dag=2,
    ).expand_kwargs(tenants())
    PgVectorReportOperator(task_id="tell", backup=save.output, trigger_rule="all_done")
