"""The task that notices what nobody else does: a backup that did not even begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgvector_backup.installation import configuration
from pgvector_backup.operators.alarms import tell
from pgvector_backup.operators.task import PgVectorTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class PgVectorWatchOperator(PgVectorTask):
    """Call whom `on_failure` names when a scheduled backup is missing, and `on_recovery` when there is one again.

    Looks at the backup root itself, where scheduled backups go: whether there is a whole set since the last time that
    the schedule names and that is two hours past. A DAG that is paused, a scheduler that stands still, a worker that is
    gone raise no error of their own.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Look; the task fails only when it cannot."""
        from pgvector_backup.engine.sets.catalog import Catalog  # noqa: PLC0415 (see `operators`)
        from pgvector_backup.engine.sets.choice import newest_good  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            now = configuration.now()
            due = configuration.last_due(now)
            if due is None:
                return {"due": None, "missed": False, "newest": None}
            catalog = Catalog(configuration.settings())
            newest = newest_good(one for place in catalog.locations() for one in place.sets if one.task_id is None)
            missed = newest is None or newest.moment < due.timestamp()
            at = due.isoformat(sep=" ", timespec="minutes")
            found = "there is none at all" if newest is None else f"the newest is of {newest.created_at}"
            error = (
                f"no whole backup since {at}, when one was due; {found}. See whether the DAG pgvector_backup is "
                "paused, how its last runs ended, and whether scheduler and workers run"
            )
            tell(context, "the scheduled backup", [error] if missed else [])
            return {
                "due": due.isoformat(timespec="seconds"),
                "missed": missed,
                "newest": None if newest is None else newest.backup_id,
            }
