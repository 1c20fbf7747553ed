"""DAG `pgvector_watch`: notice a scheduled backup that is missing."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from pgvector_backup.installation import addresses, configuration
from pgvector_backup.operators.run_types import ANY_BUT_BACKFILL
from pgvector_backup.operators.watch import PgVectorWatchOperator

DOC = f"""
[Vector backups]({addresses.link_url()}) shows every set.

Every hour, if `on_failure` or `on_recovery` of `[pgvector_backup]` names anybody to call; otherwise never.

| task | does |
|---|---|
| `watch` | looks whether there is a whole backup since the last one was due, and calls whom the settings name if not |

**When it fails**, the backup root could not be read: its log has one line that says what to do.
"""

with DAG(
    dag_id="pgvector_watch",
    description="Call somebody when a scheduled backup is missing",
    doc_md=DOC,
    schedule="@hourly" if configuration.notified() else None,
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    allowed_run_types=ANY_BUT_BACKFILL,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args={"execution_timeout": configuration.execution_timeout()},
    tags=["pgvector", "backup"],
) as dag:
    watch = PgVectorWatchOperator(task_id="watch")
