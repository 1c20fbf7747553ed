"""The tasks of a restore: the one that restores, and the one that ends the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.contract.requests import RESTORE_KEYS, RestoreRequest
from pgvector_backup.engine.store.naming import LATEST
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import ERROR
from pgvector_backup.operators.task import PgVectorTask, fault_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.result import RestoreReport


class _RestoreTask(PgVectorTask):
    """One step of a restore run; both are given the same arguments.

    :param backup_path: directory of the set, relative to the backup root, as lists of sets give it (templated)
    :param backup_task_id: in its place, the task whose directory holds the set (templated)
    :param timestamp: which set; ``latest`` is the newest that is whole (templated)
    :param tables: labels of the set's tables; None: all (templated)
    :param truncate_before_restore: whether the rows that are there now are replaced
    :param on_conflict: ``error``, ``skip`` or ``update``
    :param collections: names of the only ones to restore (templated)
    :param rename_collection: new names by old ones (templated)
    :param schema: to restore into, in place of the one backed up (templated)
    :param create_missing: whether to make what is missing

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (
        *PgVectorTask.template_fields,
        "backup_path",
        "backup_task_id",
        "timestamp",
        "tables",
        "collections",
        "rename_collection",
        "schema",
    )

    def __init__(
        self,
        *,
        backup_path: str | None = None,
        backup_task_id: str | None = None,
        timestamp: str = LATEST,
        tables: Sequence[str] | None = None,
        truncate_before_restore: bool = False,
        on_conflict: str = "error",
        collections: Sequence[str] | None = None,
        rename_collection: Mapping[str, str] | None = None,
        schema: str | None = None,
        create_missing: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_path = backup_path
        self.backup_task_id = backup_task_id
        self.timestamp = timestamp
        self.tables = tables
        self.truncate_before_restore = truncate_before_restore
        self.on_conflict = on_conflict
        self.collections = collections
        self.rename_collection = rename_collection
        self.schema = schema
        self.create_missing = create_missing

    def request(self, context: Context) -> RestoreRequest:
        """What this run asks for, checked.

        :raises InvalidParams: for an unknown key, a bad value, or when it does not say which set
        """
        return RestoreRequest.from_mapping(self.conf(context))

    def conf(self, context: Context) -> dict[str, Any]:
        """What this run asks for, not checked yet."""
        arguments = {
            "backup_path": self.backup_path,
            "task_id": self.backup_task_id,
            "timestamp": self.timestamp,
            "tables": None if self.tables is None else list(self.tables),
            "truncate_before_restore": self.truncate_before_restore,
            "on_conflict": self.on_conflict,
            "collections": None if self.collections is None else list(self.collections),
            "rename_collection": None if self.rename_collection is None else dict(self.rename_collection),
            "schema": self.schema,
            "create_missing": self.create_missing,
        }
        return self.asked(context, RESTORE_KEYS, arguments)


class PgVectorRestoreOperator(_RestoreTask):
    """Bring tables of a set back, all of them or none; returns the run's result.

    Each outlet asset's event tells the set's id and rows.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Restore; whatever fails, the tables are as they were."""
        from pgvector_backup.engine.restore import restore  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            request = self.request(context)
            result = restore(
                request,
                configuration.settings(backup_root=self.backup_root),
                self.connect(request.db_connection),
                now=configuration.now(),
                run_id=context["run_id"],
                cancel=self.cancel(),
                on_progress=self.on_progress(context),
            )
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {
                "backup_id": result.backup_id,
                "backup_path": result.backup_path,
                "rows": {label: table.rows for label, table in result.tables.items()},
            }
        return result.to_json()


class PgVectorRestoreReportOperator(_RestoreTask):
    """Put the run's result together, add a section to the log file beside the set, fail if the restore failed.

    It has to run whatever became of the restore (``trigger_rule="all_done"``), and decides the state of the run.

    :param restore_step: task id of the restore
    """

    def __init__(self, *, restore_step: str = "restore", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.restore_step = restore_step

    def execute(self, context: Context) -> dict[str, Any]:
        """Report; the result is pushed before a failure is raised, so that it survives it."""
        from pgvector_backup.engine.contract.result import RestoreReport  # noqa: PLC0415 (see `operators`)

        ti = context["ti"]
        fault = fault_of(context, self.restore_step)
        asked = self.conf(context)
        report = RestoreReport(
            restore=ti.xcom_pull(task_ids=self.restore_step),
            asked=(asked.get("backup_path") or asked.get("task_id"), asked.get("timestamp")),
            timestamp=configuration.now(),
            faults=[] if fault is None else [fault["response"]],
        )
        result = report.to_json()
        self._write_log(context, report)
        if fault is not None:
            ti.xcom_push(key="return_value", value=result)
            ti.xcom_push(key=ERROR, value=fault)
            raise AirflowFailException("; ".join(result["errors"]))
        return result

    def _write_log(self, context: Context, report: RestoreReport) -> None:
        from pgvector_backup.engine.sets.catalog import Catalog  # noqa: PLC0415 (see `operators`)

        section = report.log_section(run_id=context["run_id"])
        try:
            request = self.request(context)
            settings = configuration.settings(backup_root=self.backup_root)
            Catalog(settings).place(request.backup_path, request.task_id).append_log(section)
        except BackupError as fault:
            self.log.warning("no section was added to the log file: %s", fault.message)
        # In the task's log as well, for the day on which the file cannot be written.
        self.log.info("the run from end to end:\n%s", section.rstrip())
