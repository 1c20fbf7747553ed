"""DAG `pgvector_copy`: bring backup sets to other roots, or back from one."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from pgvector_backup.installation import addresses, configuration
from pgvector_backup.operators.copy_sets import PgVectorCopySetsOperator
from pgvector_backup.operators.dag_result import declare_result
from pgvector_backup.operators.params import copy_params
from pgvector_backup.operators.run_types import ANY_BUT_BACKFILL

DOC = f"""
[Vector backups]({addresses.link_url()}) shows every set, and where its copies lie.

Brings sets to each of `copy_roots`, on request; after a backup its DAG does so by itself. What lies there whole is left
alone, what is lost or damaged there is made again, once the set that it is made from is proven.

| task | does |
|---|---|
| `copy` | reads, sends and compares each file; returns what became of each copy |

With `from_copy` a set that the backup root has lost, or holds damaged, is made again there from that copy.

**When it fails**, the result tells of each root what was in the way; what failed at one root stopped no other, and no
half of a copy is seen as a set. Mend it, and trigger the DAG again: what has arrived is not sent twice.
"""

with DAG(
    dag_id="pgvector_copy",
    description="Bring backup sets to other roots, or back from one",
    doc_md=DOC,
    schedule=None,
    start_date=datetime(2025, 1, 1),
    catchup=False,
    allowed_run_types=ANY_BUT_BACKFILL,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params=copy_params(),
    default_args={
        "retries": configuration.retries(),
        "retry_delay": configuration.retry_delay(),
        "execution_timeout": configuration.execution_timeout(),
    },
    tags=["pgvector", "backup"],
) as dag:
    copy = PgVectorCopySetsOperator(task_id="copy", conf_from_run=True)
    declare_result(dag, copy)
