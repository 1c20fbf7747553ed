"""Back up before a new embedding model fills the table anew, and empty it only once the backup is proven.

The truncate refuses if anything was written after the backup, so that no row is lost; then nothing is embedded anew.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.report import PgVectorReportOperator
from pgvector_backup.operators.truncate import PgVectorTruncateOperator

with DAG(
    dag_id="before_reembedding", doc_md=__doc__, schedule=None, catchup=False, max_active_runs=1, tags=["example"]
):

    @task
    def embed_anew(backup: dict[str, object]) -> str:
        """Stands for the pipeline that reads the documents and writes them with the new model's vectors."""
        return f"embedding anew; the old vectors are in set {backup['backup_id']}"

    save = PgVectorBackupOperator(task_id="save", file_format="binary")
    empty = PgVectorTruncateOperator(task_id="empty", backup=save.output)
    embed = embed_anew(save.output)
    tell = PgVectorReportOperator(task_id="tell", backup=save.output, truncate=empty.output, trigger_rule="all_done")
    empty >> embed >> tell
