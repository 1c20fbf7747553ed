"""The task that brings a set to other roots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from pgvector_backup.engine.contract.requests import CopyRequest
from pgvector_backup.installation import configuration
from pgvector_backup.operators.arguments import manifest_file_of, text_of, texts_of
from pgvector_backup.operators.base import PgVectorOperator
from pgvector_backup.operators.lineage import sets_at

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.copy_result import CopyResult
    from pgvector_backup.engine.contract.settings import Settings


class PgVectorCopyOperator(PgVectorOperator):
    """Bring the set of a backup to each of ``copy_roots``; returns what became of each copy.

    A copy that fails fails the task once the others are made. Without any such root it is skipped.

    :param backup: what the backup task returned, as its ``output`` (templated)
    :param copy_roots: paths or URLs in place of the configured ones (templated)

    Further arguments as of `PgVectorOperator`, all keyword-only.
    """

    template_fields: Sequence[str] = (*PgVectorOperator.template_fields, "backup", "copy_roots")

    def __init__(self, *, backup: Any, copy_roots: str | Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backup = backup
        self.copy_roots = copy_roots
        self.remember_given()

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy; the result is pushed before a failure is raised, so that it survives it."""
        with self.reported(context):
            request = self.request(context)
            self.note_place(context, task_id=request.task_id)
            settings = self.settings()
            if not settings.copy_roots:
                raise AirflowSkipException("copy_roots names no other root; nothing was copied")
            manifest_file = manifest_file_of(self.backup, "nothing was copied")
            from pgvector_backup.engine.copy_sets import copy  # noqa: PLC0415 (see `operators`)
            from pgvector_backup.engine.store.naming import committed_id  # noqa: PLC0415 (see `operators`)

            result = copy(
                CopyRequest(
                    task_id=request.task_id,
                    timestamp=committed_id(manifest_file) or manifest_file,
                    # What an earlier try of this task has brought was compared by it.
                    quick=True,
                ),
                settings,
                now=configuration.now(),
                cancel=self.cancel(),
                on_progress=self.on_progress(context),
            )
            self._trace(settings, result)
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                raise result.failure
            return result.to_json()

    def _trace(self, settings: Settings, result: CopyResult) -> None:
        made = [one for one in result.copies if one.failure is None]
        places = {(one.backup_path, one.timestamp): f"{settings.backup_root}/{one.backup_path}" for one in made}
        self._lineage.inputs = [sets_at(place, timestamp) for (_, timestamp), place in places.items()]
        self._lineage.outputs = [
            sets_at(f"{one.root}/{one.backup_path}", one.timestamp, size=one.bytes) for one in made
        ]

    def settings(self) -> Settings:
        """How this installation backs up, with this task's own arguments in place."""
        roots = self.rendered("copy_roots", texts_of)
        return configuration.settings(
            backup_root=self.rendered("backup_root", text_of),
            copy_roots=None if roots is None else ",".join(roots),
        )
