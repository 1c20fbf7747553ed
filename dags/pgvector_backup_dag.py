"""DAG `pgvector_backup`: back up the pgvector tables, empty them if asked, report."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Asset

from pgvector_backup.installation import addresses, configuration
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.copy_sets import PgVectorCopyOperator
from pgvector_backup.operators.dag_result import declare_result
from pgvector_backup.operators.params import backup_params
from pgvector_backup.operators.report import PgVectorReportOperator
from pgvector_backup.operators.run_types import ANY_BUT_BACKFILL
from pgvector_backup.operators.truncate import PgVectorTruncateOperator

DOC = f"""
[Vector backups]({addresses.link_url()}) shows what runs now and every set.

Writes the pgvector tables, as of one moment, to a new set of CSV files with a manifest, below the backup root:
`[{{task_id}}/]vector_bak/{{table}}_{{timestamp}}.csv`.

| task | does |
|---|---|
| `backup` | streams the tables from one snapshot; files appear under their names only when whole and on disk |
| `copy` | only with `copy_roots`: brings the set to each of them, compared on the way |
| `truncate` | unless asked for, skipped; proves the files, locks, proves that no row is missing, empties |
| `report` | returns the result, adds a section to `vector_backup_log.txt`, fails if a step failed |

Trigger it with any of the params below; `{{}}` backs up everything into the backup root. An unknown key is refused.

**When it fails**, the tables are as they were, and the log of the failed task ends with one line: what is wrong, on
which object, what to do. `report` has all of them, `vector_backup_log.txt` too. Once that is mended, trigger the
DAG again or clear the failed run's tasks; nothing has to be cleaned up. A truncate that was refused has found rows that
the set does not hold: run it again. A copy that failed leaves the set as it is: mend what was in the way, clear `copy`.
"""

with DAG(
    dag_id="pgvector_backup",
    description="Back up the pgvector tables; empty them afterwards if asked",
    doc_md=DOC,
    schedule=configuration.schedule(),
    # Without a zone: the schedule is in [core] default_timezone, as the names of sets are.
    start_date=datetime(2025, 1, 1),
    catchup=False,
    allowed_run_types=ANY_BUT_BACKFILL,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params=backup_params(),
    default_args={
        "retries": configuration.retries(),
        "retry_delay": configuration.retry_delay(),
        "execution_timeout": configuration.execution_timeout(),
    },
    tags=["pgvector", "backup"],
) as dag:
    backup = PgVectorBackupOperator(task_id="backup", conf_from_run=True, outlets=[Asset("pgvector_backup")])
    truncate = PgVectorTruncateOperator(task_id="truncate", conf_from_run=True, backup=backup.output)
    report = PgVectorReportOperator(
        task_id="report",
        conf_from_run=True,
        trigger_rule="all_done",
        # What it reports is final; these are for a worker that dies or loses the API server while it reports.
        retries=2,
        retry_delay=timedelta(seconds=10),
    )
    backup >> truncate >> report
    if configuration.copies_wanted():
        copy = PgVectorCopyOperator(task_id="copy", conf_from_run=True, backup=backup.output)
        backup >> copy >> report
        if configuration.truncate_needs_copies():
            copy >> truncate
    declare_result(dag, report)
