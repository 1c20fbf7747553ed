"""The task that ends a run: its result, its section in the log file, its success or failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.installation import configuration
from pgvector_backup.operators.base import PgVectorOperator
from pgvector_backup.operators.task import fault_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.result import RunReport


class PgVectorReportOperator(PgVectorOperator):
    """Put the run's result together, add a section to the log file, fail if a step failed.

    It has to run whatever became of the others (``trigger_rule="all_done"``), and as the last task it decides the
    state of the run.

    :param backup_step: task id of the backup
    :param truncate_step: task id of the truncate

    Further arguments as of `PgVectorOperator`, all keyword-only.
    """

    def __init__(self, *, backup_step: str = "backup", truncate_step: str = "truncate", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backup_step = backup_step
        self.truncate_step = truncate_step

    def execute(self, context: Context) -> dict[str, Any]:
        """Report; the result is pushed before a failure is raised, so that it survives it."""
        from pgvector_backup.engine.contract.result import RunReport  # noqa: PLC0415 (see `operators`)

        ti = context["ti"]
        backup_fault = fault_of(context, self.backup_step)
        truncate_fault = fault_of(context, self.truncate_step)
        faults = [fault for fault in (backup_fault, truncate_fault) if fault is not None]
        report = RunReport(
            backup=ti.xcom_pull(task_ids=self.backup_step),
            truncate=ti.xcom_pull(task_ids=self.truncate_step),
            truncate_asked=bool(context["params"].get("truncate_vector_tables")),
            timestamp=configuration.now(),
            faults=[fault["response"] for fault in faults],
            truncate_fault=truncate_fault["response"] if truncate_fault else None,
        )
        result = report.to_json()
        self._write_log(context, report)
        if faults:
            ti.xcom_push(key="return_value", value=result)
            ti.xcom_push(key="error", value=faults[0])
            raise AirflowFailException("; ".join(result["errors"]))
        return result

    def _write_log(self, context: Context, report: RunReport) -> None:
        from pgvector_backup.engine.store.root import locate  # noqa: PLC0415 (see `operators`)

        task_id = None
        try:
            request, settings = self.request(context), self.settings()
            task_id = request.task_id
            location = locate(settings.backup_root, task_id, settings.backup_directory)
            location.append_log(report.log_section(task_id=task_id, run_id=context["run_id"]))
        except BackupError as fault:
            self.log.warning("no section was added to the log file: %s", fault.message)
        # In the task's log as well, for the day on which the file cannot be written.
        section = report.log_section(task_id=task_id, run_id=context["run_id"])
        self.log.info("the run from end to end:\n%s", section.rstrip())
