"""The task of a prune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pgvector_backup.engine.contract.request_keys import PRUNE_KEYS
from pgvector_backup.engine.contract.requests import PruneRequest
from pgvector_backup.installation import configuration
from pgvector_backup.operators.arguments import text_of
from pgvector_backup.operators.task import PgVectorTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class PgVectorPruneOperator(PgVectorTask):
    """Remove the sets that the retention policy of the settings lets go; returns what stays, what went, and why.

    Without a policy nothing is removed.

    :param backup_path: only the sets of this directory, relative to the backup root, as lists of sets give it; without
        it and ``backup_task_id``, of every location (templated)
    :param backup_task_id: in its place, the task whose directory holds the sets (templated)
    :param dry_run: say what would go, remove nothing
    :param force: whether a plan that removes more than half of a location's sets is carried out at once
    :param consolidate: whether the newest increment is written as a full set where others stay for its sake alone

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (*PgVectorTask.template_fields, "backup_path", "backup_task_id")

    def __init__(
        self,
        *,
        backup_path: str | None = None,
        backup_task_id: str | None = None,
        dry_run: bool = False,
        force: bool = False,
        consolidate: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_path = backup_path
        self.backup_task_id = backup_task_id
        # `dry_run` is a method of every operator.
        self.rehearse = dry_run
        self.force = force
        self.consolidate = consolidate
        self.remember_given()

    def execute(self, context: Context) -> dict[str, Any]:
        """Prune; the result is pushed before a failure is raised, so that it survives it."""
        from pgvector_backup.engine.prune import prune  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            arguments = {
                "backup_path": self.rendered("backup_path", text_of),
                "task_id": self.rendered("backup_task_id", text_of),
                "dry_run": self.rehearse,
                "force": self.force,
                "consolidate": self.consolidate,
            }
            result = prune(
                PruneRequest.from_mapping(self.asked(context, PRUNE_KEYS, arguments)),
                configuration.settings(backup_root=self.rendered("backup_root", text_of)),
                now=configuration.now(),
                run_id=context["run_id"],
                cancel=self.cancel(),
            )
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                raise result.failure
            return result.to_json()
