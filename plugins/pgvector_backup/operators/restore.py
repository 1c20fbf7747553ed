"""The tasks of a restore: the one that restores, and the one that ends the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from pgvector_backup.engine.base.errors import BackupError, InvalidParams
from pgvector_backup.engine.base.messages import heard
from pgvector_backup.engine.contract.request_keys import RESTORE_KEYS
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.store.naming import LATEST
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import SAVED
from pgvector_backup.operators.arguments import mapping_of, text_of, texts_of
from pgvector_backup.operators.conclusion import announce, conclude, numbered
from pgvector_backup.operators.lineage import sets_at
from pgvector_backup.operators.outcomes import Outcome, Upstream
from pgvector_backup.operators.task import PgVectorTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.restore_result import RestoreReport


class _RestoreTask(PgVectorTask):
    """One step of a restore run; both are given the same arguments.

    :param backup_path: directory of the set, relative to the backup root, as lists of sets give it (templated)
    :param backup_task_id: in its place, the task whose directory holds the set (templated)
    :param timestamp: which set; ``latest`` is the newest that is whole (templated)
    :param from_copy: which of ``copy_roots`` it is read at; None: at the backup root (templated)
    :param tables: labels of the set's tables; None: all (templated)
    :param truncate_before_restore: whether the rows that are there now are replaced
    :param on_conflict: ``error``, ``skip`` or ``update``
    :param collections: names of the only ones to restore (templated)
    :param rename_collection: new names by old ones (templated)
    :param schema: to restore into, in place of the one backed up (templated)
    :param backup_before_restore: whether a restore that replaces or overwrites rows backs up the tables first
    :param dry_run: say what would be done, change nothing
    :param create_missing: whether to make what is missing
    :param trust_definitions: whether what is made may call functions that could do anything
    :param into_other_database: whether rows may lie in the target, another database than the one that the set is of

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (
        *PgVectorTask.template_fields,
        "backup_path",
        "backup_task_id",
        "timestamp",
        "from_copy",
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
        from_copy: str | None = None,
        tables: Sequence[str] | None = None,
        truncate_before_restore: bool = False,
        on_conflict: str = "error",
        collections: Sequence[str] | None = None,
        rename_collection: Mapping[str, str] | None = None,
        schema: str | None = None,
        create_missing: bool = True,
        trust_definitions: bool = False,
        into_other_database: bool = False,
        backup_before_restore: bool = False,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_path = backup_path
        self.backup_task_id = backup_task_id
        self.timestamp = timestamp
        self.from_copy = from_copy
        self.tables = tables
        self.truncate_before_restore = truncate_before_restore
        self.on_conflict = on_conflict
        self.collections = collections
        self.rename_collection = rename_collection
        self.schema = schema
        self.create_missing = create_missing
        self.trust_definitions = trust_definitions
        self.into_other_database = into_other_database
        self.backup_before_restore = backup_before_restore
        # `dry_run` is a method of every operator.
        self.rehearse = dry_run
        self.remember_given()

    def request(self, context: Context) -> RestoreRequest:
        """What this run asks for, checked.

        :raises InvalidParams: for an unknown key, a bad value, or when it does not say which set
        """
        return RestoreRequest.from_mapping(self.conf(context))

    def conf(self, context: Context) -> dict[str, Any]:
        """What this run asks for, not checked yet."""
        arguments = {
            "backup_path": self.rendered("backup_path", text_of),
            "task_id": self.rendered("backup_task_id", text_of),
            "timestamp": self.rendered("timestamp", text_of),
            "from_copy": self.rendered("from_copy", text_of),
            "tables": self.rendered("tables", texts_of),
            "truncate_before_restore": self.truncate_before_restore,
            "on_conflict": self.on_conflict,
            "collections": self.rendered("collections", texts_of),
            "rename_collection": self.rendered("rename_collection", mapping_of),
            "schema": self.rendered("schema", text_of),
            "create_missing": self.create_missing,
            "trust_definitions": self.trust_definitions,
            "into_other_database": self.into_other_database,
            "backup_before_restore": self.backup_before_restore,
            "dry_run": self.rehearse,
        }
        return self.asked(context, RESTORE_KEYS, arguments)


class PgVectorRestoreOperator(_RestoreTask):
    """Bring tables of a set back, all of them or none; returns the run's result.

    Each outlet asset's event tells the set's id and rows.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Restore; whatever fails, the tables are as they were."""
        from pgvector_backup.engine.restore import restore  # noqa: PLC0415 (see `operators`)
        from pgvector_backup.installation.connections import of_restores  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            request = self.request(context)
            self.note_place(
                context,
                backup_path=request.backup_path,
                task_id=request.task_id,
                timestamp=request.timestamp,
                from_copy=request.from_copy,
            )
            settings = configuration.settings(backup_root=self.rendered("backup_root", text_of))
            result = restore(
                request,
                settings,
                self.connect(request.db_connection, of_restores()),
                now=configuration.now(),
                run_id=context["run_id"],
                cancel=self.cancel(),
                on_progress=self.on_progress(context),
                on_saved=lambda saved: context["ti"].xcom_push(key=SAVED, value=saved.to_json()),
            )
            if request.dry_run:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                if (refusal := result.refusal(request)) is not None:
                    raise refusal
                # Nobody is to take it for a restore.
                raise AirflowSkipException("a dry run: nothing was changed")
        rows = {label: table.rows for label, table in result.tables.items()}
        sizes = {label: table.bytes for label, table in result.tables.items()}
        place = f"{settings.backup_root}/{result.backup_path}"
        self._lineage.inputs = [sets_at(place, result.backup_id, sum(rows.values()), sum(sizes.values()))]
        self._lineage.outputs = self._lineage.tables(rows, schema=request.schema)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {
                "backup_id": result.backup_id,
                "backup_path": result.backup_path,
                "rows": {label: table.rows for label, table in result.tables.items()},
            }
        return result.to_json() | self.used(request.db_connection, of_restores())


class PgVectorRestoreReportOperator(_RestoreTask):
    """Put the run's result together, add a section to the log file beside the set, fail if the restore failed.

    It has to run whatever became of the restore (``trigger_rule="all_done"``), and decides the state of the run. The
    restore is the one handed over; without, the one upstream of this task, whatever its name and group. Of a mapped
    restore, and of several, it returns a list of results.

    :param restore: what the restore returned, as its ``output`` (templated)
    :param restore_step: task id of the restore, where its output is not at hand
    """

    template_fields: Sequence[str] = (*_RestoreTask.template_fields, "restore")

    def __init__(self, *, restore: Any = None, restore_step: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.restore = restore
        self.restore_step = restore_step
        self.remember_given()

    def execute(self, context: Context) -> Any:
        """Report; the result is pushed before a failure is raised, so that it survives it."""
        with self.reported(context):
            return self._report(context)

    def _report(self, context: Context) -> Any:
        from pgvector_backup.engine.contract.restore_result import RestoreReport  # noqa: PLC0415 (see `operators`)

        upstream = Upstream(self, context)
        steps, outcomes = self.step_outcomes(upstream, PgVectorRestoreOperator, "restore", self.restore_step)
        if not outcomes:
            raise InvalidParams(
                "no restore is upstream of this report, so what became of it is not known; "
                "hand it over: restore=….output"
            )
        many = upstream.many(steps) or len(outcomes) > 1
        others = upstream.other_failures(outcomes)
        by_id = {step.task_id: step for step in steps}
        results, faults = [], []
        for number, outcome in enumerate(outcomes):
            told = [outcome.error] if outcome.error else []
            # What failed besides is told once.
            told += others if number == 0 else []
            asked = self._asked_for(context, outcome, by_id)
            report = RestoreReport(
                restore=outcome.value,
                asked=(asked.get("backup_path") or asked.get("task_id"), asked.get("timestamp")),
                timestamp=configuration.now(),
                faults=[heard(fault) for fault in told],
                certain=outcome.certain,
                note=outcome.note,
                saved=outcome.saved,
            )
            result = report.to_json()
            results.append(numbered(result, outcome) if many else result)
            if not (report.planned or self._rehearsed(context)):
                self._write_log(context, report, asked, self.own_or_step_s("backup_root", outcome, by_id, context))
                announce(context, "restore", outcome, asked.get("backup_path") or asked.get("task_id"), result)
            faults += told
        return conclude(context, results, faults, many=many)

    def _rehearsed(self, context: Context) -> bool:
        return bool(context["params"].get("dry_run")) if self.conf_from_run else self.rehearse

    def _asked_for(self, context: Context, outcome: Outcome, steps: Mapping[str, Any]) -> Mapping[str, Any]:
        """Which set the restore was asked for: its own word of it, otherwise what its arguments or this task's say."""
        if outcome.place is not None:
            return outcome.place
        asked = self.conf(context)
        if self.conf_from_run or asked.get("backup_path") or asked.get("task_id"):
            return asked
        named = {
            "backup_path": "backup_path",
            "task_id": "backup_task_id",
            "timestamp": "timestamp",
            "from_copy": "from_copy",
        }
        return {key: self.step_s(name, outcome, steps, context) for key, name in named.items()}

    def _write_log(
        self, context: Context, report: RestoreReport, asked: Mapping[str, Any], backup_root: str | None
    ) -> None:
        from pgvector_backup.engine.sets.catalog import Catalog  # noqa: PLC0415 (see `operators`)
        from pgvector_backup.engine.sets.copies import at_copy  # noqa: PLC0415 (see `operators`)

        section = report.log_section(run_id=context["run_id"])
        try:
            settings = at_copy(configuration.settings(backup_root=backup_root), asked.get("from_copy"))
            request = RestoreRequest.from_mapping(
                {key: asked.get(key) for key in ("backup_path", "task_id", "timestamp")}
            )
            Catalog(settings).place(request.backup_path, request.task_id).append_log(section)
        except BackupError as fault:
            self.log.warning("no section was added to the log file: %s", fault.english)
        # In the task's log as well, for the day on which the file cannot be written.
        self.log.info("the run from end to end:\n%s", section.rstrip())
