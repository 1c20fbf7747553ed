"""DAG `pgvector_prune`: remove the backup sets that the retention policy lets go."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, Asset

from pgvector_backup.installation import addresses, configuration
from pgvector_backup.operators.dag_result import declare_result
from pgvector_backup.operators.params import prune_params
from pgvector_backup.operators.prune import PgVectorPruneOperator
from pgvector_backup.operators.run_types import ANY_BUT_BACKFILL

DOC = f"""
[Vector backups]({addresses.link_url()}) shows every set.

Follows each backup that succeeded. Removes the sets that no rule of the policy (`keep_last`, `keep_daily`, … of
`[pgvector_backup]`) keeps, and says of each set why it stays or goes. Without a policy nothing is ever removed.

| task | does |
|---|---|
| `prune` | plans, then removes; returns the plan as it was carried out |

Never removed: the newest good set, the newest proven one, a pinned one, a base of anything that stays, the set that may
be the only copy of what a truncate emptied, one that is read at that moment. A plan that would remove more than half of
a location's sets waits for a second run that says the same, or for `force`.

**When it fails**, a set could not be removed; the result names it as *retained*, with the reason. Nothing else was
stopped by it, and the next run tries again.
"""

with DAG(
    dag_id="pgvector_prune",
    description="Remove the backup sets that the retention policy lets go",
    doc_md=DOC,
    schedule=[Asset("pgvector_backup")],
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    allowed_run_types=ANY_BUT_BACKFILL,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params=prune_params(),
    default_args={
        "retries": configuration.retries(),
        "retry_delay": configuration.retry_delay(),
        "execution_timeout": configuration.execution_timeout(),
    },
    tags=["pgvector", "backup"],
) as dag:
    prune = PgVectorPruneOperator(task_id="prune", conf_from_run=True, outlets=[Asset("pgvector_prune")])
    declare_result(dag, prune)
