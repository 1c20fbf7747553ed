"""DAG `pgvector_verify`: hold backup sets against their manifests, report."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Asset

from pgvector_backup.installation import addresses, configuration
from pgvector_backup.operators.dag_result import declare_result
from pgvector_backup.operators.params import verify_params
from pgvector_backup.operators.run_types import ANY_BUT_BACKFILL
from pgvector_backup.operators.schedules import verify_schedule
from pgvector_backup.operators.verify import PgVectorVerifyOperator, PgVectorVerifyReportOperator

DOC = f"""
[Vector backups]({addresses.link_url()}) shows every set and how it was verified.

Reads backup sets from end to end and says which tables are whole. Nothing is compared with the tables as they are now.

| task | does |
|---|---|
| `verify` | looks at every set that is asked for, as deep as asked; writes `verified_{{timestamp}}.json` beside each |
| `report` | returns the result, fails if a set is damaged |

After each backup it looks at the set that was made (`verify_after`), and at its own times (`verify_schedule`) at the
newest set of each database in every location, as `{{}}` does. Depths: `files` compares sizes and checksums; `rows`
decodes every row as well; `drill` restores the set into a scratch database as well, compares, searches for nearest
neighbours, and drops it: on an embedded server of the worker's own, or on the server that `db_connection` names.
An unknown key is refused.

**When it fails**, a set is damaged, or could not be read: `report` names set, file and block. Restore from another set,
the page shows which are whole; keep the damaged one until a newer one is proven, and look at the disk that it lies on.
"""

with DAG(
    dag_id="pgvector_verify",
    description="Verify backup sets of the pgvector tables",
    doc_md=DOC,
    schedule=verify_schedule(),
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    allowed_run_types=ANY_BUT_BACKFILL,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params=verify_params(),
    default_args={
        "retries": configuration.retries(),
        "retry_delay": configuration.retry_delay(),
        "execution_timeout": configuration.execution_timeout(),
    },
    tags=["pgvector", "backup"],
) as dag:
    verify = PgVectorVerifyOperator(task_id="verify", conf_from_run=True, outlets=[Asset("pgvector_verify")])
    report = PgVectorVerifyReportOperator(
        task_id="report",
        trigger_rule="all_done",
        # What it reports is final; these are for a worker that dies or loses the API server while it reports.
        retries=2,
        retry_delay=timedelta(seconds=10),
    )
    verify >> report
    declare_result(dag, report)
