"""The task that ends a run: its result, its section in the log file, its success or failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pgvector_backup.engine.base.errors import BackupError, InvalidParams
from pgvector_backup.engine.base.messages import heard
from pgvector_backup.installation import configuration
from pgvector_backup.operators.arguments import text_of
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.base import PgVectorOperator
from pgvector_backup.operators.conclusion import announce, conclude, numbered
from pgvector_backup.operators.copy_sets import PgVectorCopyOperator
from pgvector_backup.operators.outcomes import Outcome, Upstream, plain, sources
from pgvector_backup.operators.truncate import PgVectorTruncateOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.backup_result import RunReport


class PgVectorReportOperator(PgVectorOperator):
    """Put the run's result together, add a section to the log file, fail if a step failed.

    It has to run whatever became of the others (``trigger_rule="all_done"``), and as the last task it decides the
    state of the run. The steps are those handed over; without, those upstream of this task, found by their type,
    whatever their names and groups. Of mapped steps, and of several backups, it returns a list of results. A task
    before it that failed, whoever's it is, fails it, unless what follows that task made good for it.

    :param backup: what the backup returned, as its ``output`` (templated)
    :param truncate: what the truncate returned, as its ``output`` (templated)
    :param copies: what the copy returned, as its ``output`` (templated)
    :param backup_step: task id of the backup, where its output is not at hand
    :param truncate_step: task id of the truncate, likewise
    :param copy_step: task id of the copy, likewise

    Further arguments as of `PgVectorOperator`, all keyword-only.
    """

    template_fields: Sequence[str] = (*PgVectorOperator.template_fields, "backup", "truncate", "copies")

    def __init__(
        self,
        *,
        backup: Any = None,
        truncate: Any = None,
        copies: Any = None,
        backup_step: str | None = None,
        truncate_step: str | None = None,
        copy_step: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup = backup
        self.truncate = truncate
        self.copies = copies
        self.backup_step = backup_step
        self.truncate_step = truncate_step
        self.copy_step = copy_step
        self.remember_given()

    def execute(self, context: Context) -> Any:
        """Report; the result is pushed before a failure is raised, so that it survives it."""
        with self.reported(context):
            return self._report(context)

    def _report(self, context: Context) -> Any:
        upstream = Upstream(self, context)
        backup_steps, backups = self.step_outcomes(upstream, PgVectorBackupOperator, "backup", self.backup_step)
        copy_steps, copies = self.step_outcomes(
            upstream, PgVectorCopyOperator, "copies", self.copy_step, after=backup_steps
        )
        truncate_steps, truncates = self.step_outcomes(
            upstream,
            PgVectorTruncateOperator,
            "truncate",
            self.truncate_step,
            after=[*backup_steps, *copy_steps],
        )
        if not backups and not truncates:
            raise InvalidParams(
                "no backup and no truncate is upstream of this report, so what became of them is not known; "
                "hand it over: backup=….output"
            )
        pairs = _paired(backups, truncates, {step.task_id: sources(step, "backup") for step in truncate_steps})
        many = upstream.many(backup_steps) or upstream.many(truncate_steps) or len(pairs) > 1
        copied = {
            id(backup): copy
            for backup, copy in _paired(backups, copies, {one.task_id: sources(one, "backup") for one in copy_steps})
        }
        others = upstream.other_failures([*backups, *truncates, *copies])
        results, faults = [], []
        steps = {step.task_id: step for step in (*backup_steps, *truncate_steps)}
        for number, (backup, truncate) in enumerate(pairs):
            copy = copied.get(id(backup))
            told = [outcome.error for outcome in (backup, copy, truncate) if outcome is not None and outcome.error]
            # What failed besides is told once.
            told += others if number == 0 else []
            report = self._run_report(context, (backup, copy, truncate), [heard(fault) for fault in told], steps)
            result = report.to_json()
            results.append(numbered(result, backup or truncate) if many else result)
            rehearsed = report.planned or self._rehearsed(context)
            task_id = None if rehearsed else self._write_log(context, report, backup or truncate, steps)
            if not rehearsed:
                announce(context, "backup", backup or truncate, task_id, result)
            faults += told
        return conclude(context, results, faults, many=many)

    def _run_report(
        self,
        context: Context,
        outcomes: tuple[Outcome | None, Outcome | None, Outcome | None],
        faults: list[str],
        steps: dict[str, Any],
    ) -> RunReport:
        from pgvector_backup.engine.contract.backup_result import RunReport  # noqa: PLC0415 (see `operators`)

        backup, copy, truncate = outcomes
        asked = self._truncate_asked(context, truncate, steps)
        unknown = backup is None or (backup.error is not None and not backup.certain and backup.value is None)
        note = None if truncate is None else truncate.note
        return RunReport(
            backup=None if backup is None else backup.value,
            truncate=None if truncate is None else truncate.value,
            copy=None if copy is None else copy.value or {},
            copy_fault=heard(copy.error) if copy is not None and copy.error else None,
            truncate_asked=asked,
            timestamp=configuration.now(),
            faults=faults,
            truncate_fault=heard(truncate.error) if truncate is not None and truncate.error else None,
            truncate_certain=truncate is None or truncate.certain,
            backup_unknown=unknown,
            backup_note=self._backup_note(context, backup),
            # A truncate that nobody asked for is skipped, and has its own words.
            truncate_note=f"not carried out: {note}" if note is not None and asked else None,
        )

    def _backup_note(self, context: Context, backup: Outcome | None) -> str | None:
        if backup is None:
            return "no backup is upstream of this report"
        if backup.note == "skipped" and self.conf_from_run and not self.request(context).backup_wanted:
            return None
        return backup.note

    def _rehearsed(self, context: Context) -> bool:
        return bool(context["params"].get("dry_run")) if self.conf_from_run else self.rehearse

    def _truncate_asked(self, context: Context, truncate: Outcome | None, steps: dict[str, Any]) -> bool:
        if self.conf_from_run:
            return bool(context["params"].get("truncate_vector_tables"))
        if truncate is None:
            return False
        step = steps.get(truncate.task_id)
        return step is None or plain(step, "truncate_vector_tables") is not False

    def _write_log(
        self, context: Context, report: RunReport, outcome: Outcome | None, steps: dict[str, Any]
    ) -> str | None:
        from pgvector_backup.engine.store.root import locate, require_root  # noqa: PLC0415 (see `operators`)

        task_id = None
        try:
            settings = configuration.settings(backup_root=self.own_or_step_s("backup_root", outcome, steps, context))
            task_id = self._directory_task(context, outcome, steps)
            require_root(settings.backup_root, create=settings.may_make_root)
            location = locate(settings.backup_root, task_id, settings.backup_directory)
            location.append_log(report.log_section(task_id=task_id, run_id=context["run_id"]))
        except BackupError as fault:
            self.log.warning("no section was added to the log file: %s", fault.english)
        # In the task's log as well, for the day on which the file cannot be written.
        section = report.log_section(task_id=task_id, run_id=context["run_id"])
        self.log.info("the run from end to end:\n%s", section.rstrip())
        return task_id

    def _directory_task(self, context: Context, outcome: Outcome | None, steps: dict[str, Any]) -> str | None:
        if outcome is not None and outcome.place is not None:
            return text_of("task_id", outcome.place.get("task_id"))
        if self.conf_from_run or self.backup_task_id is not None:
            return self.request(context).task_id
        return self.own_or_step_s("backup_task_id", outcome, steps, context)


def _paired(
    backups: list[Outcome], truncates: list[Outcome], relied_on: dict[str, tuple[str, ...]]
) -> list[tuple[Outcome | None, Outcome | None]]:
    """Each backup with the truncate that relies on it; what has no partner stays alone.

    :param relied_on: by truncate, the tasks whose output it was given
    """
    pairs: list[tuple[Outcome | None, Outcome | None]] = []
    left = list(truncates)
    only = len({backup.task_id for backup in backups}) == 1
    for backup in backups:
        mine = next(
            (
                truncate
                for truncate in left
                if truncate.map_index == backup.map_index
                and (
                    backup.task_id in relied_on.get(truncate.task_id, ())
                    or (only and not relied_on.get(truncate.task_id))
                )
            ),
            None,
        )
        if mine is not None:
            left.remove(mine)
        pairs.append((backup, mine))
    return pairs + [(None, truncate) for truncate in left]
