"""The tasks that bring sets to other roots: of a backup its own, on request any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from pgvector_backup.engine.contract.request_keys import COPY_KEYS
from pgvector_backup.engine.contract.requests import CopyRequest
from pgvector_backup.installation import configuration
from pgvector_backup.operators.arguments import manifest_file_of, text_of, texts_of
from pgvector_backup.operators.base import PgVectorOperator
from pgvector_backup.operators.lineage import Lineage, sets_at
from pgvector_backup.operators.task import PgVectorTask

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
            _trace(self._lineage, settings.backup_root, result)
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                raise result.failure
            return result.to_json()

    def settings(self) -> Settings:
        """How this installation backs up, with this task's own arguments in place."""
        roots = self.rendered("copy_roots", texts_of)
        return configuration.settings(
            backup_root=self.rendered("backup_root", text_of),
            copy_roots=None if roots is None else ",".join(roots),
        )


class PgVectorCopySetsOperator(PgVectorTask):
    """Bring sets to each of ``copy_roots``, or from one of them to the backup root and the others.

    What lies there whole is left alone, what is lost or damaged there is made again. Returns what became of each copy.

    :param backup_path: directory of the set, relative to the backup root, as lists of sets give it (templated)
    :param backup_task_id: in its place, the task whose directory holds the set (templated)
    :param timestamp: which set; None: the newest that is whole (templated)
    :param from_copy: the one of ``copy_roots`` to bring it from; None: the backup root (templated)
    :param all_sets: every set of the place named; without one, of every place
    :param quick: of what lies there already, compare names and sizes only

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (
        *PgVectorTask.template_fields,
        *("backup_path", "backup_task_id", "timestamp", "from_copy"),
    )

    def __init__(
        self,
        *,
        backup_path: str | None = None,
        backup_task_id: str | None = None,
        timestamp: str | None = None,
        from_copy: str | None = None,
        all_sets: bool = False,
        quick: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_path = backup_path
        self.backup_task_id = backup_task_id
        self.timestamp = timestamp
        self.from_copy = from_copy
        self.all_sets = all_sets
        self.quick = quick
        self.remember_given()

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy; the result is pushed before a failure is raised, so that it survives it."""
        from pgvector_backup.engine.copy_sets import copy, log_copies  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            arguments = {
                "backup_path": self.rendered("backup_path", text_of),
                "task_id": self.rendered("backup_task_id", text_of),
                "timestamp": self.rendered("timestamp", text_of),
                "from_copy": self.rendered("from_copy", text_of),
                "all": self.all_sets,
                "quick": self.quick,
            }
            request = CopyRequest.from_mapping(self.asked(context, COPY_KEYS, arguments))
            settings = configuration.settings(backup_root=self.rendered("backup_root", text_of))
            result = copy(
                request,
                settings,
                now=configuration.now(),
                cancel=self.cancel(),
                on_progress=self.on_progress(context),
            )
            log_copies(request, settings, result, run_id=context["run_id"])
            _trace(self._lineage, request.from_copy or settings.backup_root, result)
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                raise result.failure
            return result.to_json()


def _trace(lineage: Lineage, root: object, result: CopyResult) -> None:
    """Note which sets were read below a root, and where they lie besides now."""
    made = [one for one in result.copies if one.failure is None]
    lineage.inputs = list(dict.fromkeys(sets_at(f"{root}/{one.backup_path}", one.timestamp) for one in made))
    lineage.outputs = [sets_at(f"{one.root}/{one.backup_path}", one.timestamp, size=one.bytes) for one in made]
