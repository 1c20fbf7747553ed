"""The task that backs up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import SkipMixin
from airflow.sdk.exceptions import AirflowSkipException

from pgvector_backup.installation import configuration
from pgvector_backup.operators.base import PgVectorOperator
from pgvector_backup.operators.lineage import sets_at
from pgvector_backup.operators.truncate import PgVectorTruncateOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.backup_result import BackupResult
    from pgvector_backup.engine.contract.requests import BackupRequest


class PgVectorBackupOperator(PgVectorOperator, SkipMixin):
    """Write the tables, as of one moment, to a new set of files with a manifest.

    Returns the backup's part of the run's result; `PgVectorTruncateOperator` takes it as ``backup``. Each outlet
    asset's event tells the set's id and rows. Arguments as of `PgVectorOperator`, all keyword-only.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Back up; the result is pushed before a failure is raised, so that it survives it."""
        from pgvector_backup.engine.backup import backup  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            request = self.request(context)
            self.note_place(context, task_id=request.task_id)
            if not request.backup_wanted:
                raise AirflowSkipException("neither backup nor truncate was asked for; nothing was done")
            if request.dry_run:
                self._rehearse(context, request)
            result = backup(
                request,
                self.settings(),
                self.connect(request.db_connection),
                now=configuration.now(),
                run_id=context["run_id"],
                cancel=self.cancel(),
                on_progress=self.on_progress(context),
            )
            told = result.to_json() | self.used(request.db_connection)
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=told)
                raise result.failure
            self._announce(context, result, request.task_id)
            self._trace(result)
            if self.conf_from_run and not request.truncate_vector_tables:
                self._skip_truncates(context, told)
            return told

    def _rehearse(self, context: Context, request: BackupRequest) -> None:
        """Leave what would be done as this task's result; it is skipped, so that nobody takes it for a backup."""
        from pgvector_backup.engine.preview import preview  # noqa: PLC0415 (see `operators`)

        planned = preview(request, self.settings(), self.connect(request.db_connection), cancel=self.cancel())
        context["ti"].xcom_push(key="return_value", value=planned.to_json())
        if planned.failure is not None:
            raise planned.failure
        raise AirflowSkipException("a dry run: nothing was written")

    def _trace(self, result: BackupResult) -> None:
        whole = {label: table for label, table in result.tables.items() if table.failure is None}
        rows = {label: table.rows for label, table in whole.items()}
        sizes = {label: table.bytes for label, table in whole.items()}
        self._lineage.inputs = self._lineage.tables(rows, sizes)
        made = sets_at(result.directory, result.backup_id, sum(rows.values()), sum(sizes.values()))
        self._lineage.outputs = [made]

    def _skip_truncates(self, context: Context, told: dict[str, Any]) -> None:
        """Skip the truncates that follow and that this run does not ask for.

        They would skip themselves. But for that Airflow starts a process each, and takes up to five seconds to notice
        that it has ended: only a success is reported at once, whatever else with the process's end, for which
        Airflow's supervisor may look no sooner than for the next heartbeat.
        """
        unwanted = [
            task for task in self.downstream_list if isinstance(task, PgVectorTruncateOperator) and task.conf_from_run
        ]
        if unwanted:
            self.log.info("not asked to empty any table: skipping %s", ", ".join(task.task_id for task in unwanted))
            # Skipping leaves by an exception, and what is returned would be lost.
            context["ti"].xcom_push(key="return_value", value=told)
            self.skip(context["ti"], unwanted)

    def _announce(self, context: Context, result: BackupResult, task_id: str | None) -> None:
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {
                "backup_id": result.backup_id,
                "backup_directory": result.directory,
                "manifest_file": result.manifest_file,
                "task_id": task_id,
                "rows": {label: table.rows for label, table in result.tables.items()},
            }
