"""Back up, restore the set into a scratch database, and call somebody if either fails.

`on_failure_callback` takes any of Airflow's notifiers: SmtpNotifier, SlackNotifier and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, BaseNotifier

from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.report import PgVectorReportOperator
from pgvector_backup.operators.verify import PgVectorVerifyOperator, PgVectorVerifyReportOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class Log(BaseNotifier):
    """Stands for the notifier of your choice."""

    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Context) -> None:
        """Say it."""
        print(f"{self.text}: {context.get('exception')}")  # noqa: T201


with DAG(
    dag_id="backup_drill_notify", doc_md=__doc__, schedule=None, catchup=False, max_active_runs=1, tags=["example"]
):
    save = PgVectorBackupOperator(task_id="save")
    drill = PgVectorVerifyOperator(
        task_id="drill", depth="drill", backup_path="vector_bak", timestamp="{{ ti.xcom_pull('save')['backup_id'] }}"
    )
    saved = PgVectorReportOperator(task_id="saved", backup=save.output, trigger_rule="all_done")
    proven = PgVectorVerifyReportOperator(
        task_id="proven",
        verify=drill.output,
        trigger_rule="all_done",
        on_failure_callback=Log("the backup of {{ ds_nodash | default(dag_run.run_id) }} is not proven"),
    )
    save >> drill >> proven
    save >> saved
