"""The task that empties tables once their backup is proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from pgvector_backup.operators.arguments import manifest_file_of
from pgvector_backup.operators.base import PgVectorOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PgVectorTruncateOperator(PgVectorOperator):
    """Empty ``truncate_tables``, all or none, if the set on disk holds every row that they hold now.

    :param backup: what the backup task returned, as its ``output`` (templated)
    :param truncate_vector_tables: whether to, where the run's conf does not say

    Further arguments as of `PgVectorOperator`, all keyword-only.
    """

    template_fields: Sequence[str] = (*PgVectorOperator.template_fields, "backup")

    def __init__(self, *, backup: Any, truncate_vector_tables: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backup = backup
        self.truncate_vector_tables = truncate_vector_tables
        self.remember_given()

    def execute(self, context: Context) -> dict[str, Any]:
        """Empty the tables; skipped unless asked for."""
        with self.reported(context):
            request = self.request(context)
            self.note_place(context, task_id=request.task_id)
            wanted = request.truncate_vector_tables if self.conf_from_run else self.truncate_vector_tables
            if not wanted:
                raise AirflowSkipException("not asked to empty any table")
            manifest_file = manifest_file_of(self.backup, "nothing was emptied")
            from pgvector_backup.engine.truncate import truncate  # noqa: PLC0415 (see `operators`)

            result = truncate(
                request,
                self.settings(),
                self.connect(request.db_connection),
                manifest_file=manifest_file,
                cancel=self.cancel(),
            )
            self._lineage.outputs = self._lineage.emptied(result.rows_before)
            return result.to_json()
