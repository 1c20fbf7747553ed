"""DAG `pgvector_restore`: bring a backup set back, report."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Asset

from pgvector_backup.installation import addresses, configuration
from pgvector_backup.operators.dag_result import declare_result
from pgvector_backup.operators.params import restore_params
from pgvector_backup.operators.restore import PgVectorRestoreOperator, PgVectorRestoreReportOperator
from pgvector_backup.operators.run_types import ANY_BUT_BACKFILL

DOC = f"""
[Vector backups]({addresses.link_url()}) shows every set and restores one after asking.

Brings tables of a backup set back: either all of them are there and equal to the set, or nothing was changed.

| task | does |
|---|---|
| `restore` | proves the files, loads them in one transaction, proves what the tables hold, builds indexes, commits |
| `report` | returns the result, adds a section to `vector_backup_log.txt`, fails if the restore failed |

Trigger it with `backup_path` (or `task_id`) and `timestamp` (or `latest`), and any of the further params below. An
unknown key is refused.

**When it fails**, nothing was changed: a restore is one transaction. The log of `restore` ends with one line: what is
wrong, on which object, what to do. Once that is mended, trigger it again with the same params.
"""

with DAG(
    dag_id="pgvector_restore",
    description="Restore a backup set of the pgvector tables",
    doc_md=DOC,
    schedule=None,
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    allowed_run_types=ANY_BUT_BACKFILL,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params=restore_params(),
    default_args={
        "retries": configuration.retries(),
        "retry_delay": configuration.retry_delay(),
        "execution_timeout": configuration.execution_timeout(),
    },
    tags=["pgvector", "restore"],
) as dag:
    restore = PgVectorRestoreOperator(task_id="restore", conf_from_run=True, outlets=[Asset("pgvector_restore")])
    report = PgVectorRestoreReportOperator(
        task_id="report",
        conf_from_run=True,
        trigger_rule="all_done",
        # What it reports is final; these are for a worker that dies or loses the API server while it reports.
        retries=2,
        retry_delay=timedelta(seconds=10),
    )
    restore >> report
    declare_result(dag, report)
