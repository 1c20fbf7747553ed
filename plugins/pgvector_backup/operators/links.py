"""The link from a task to what its run has made, on the page "Vector backups"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from pgvector_backup.installation.addresses import link_url

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class VectorBackupsLink(BaseOperatorLink):
    """A button beside the task's log in Airflow's UI."""

    name = "Vector backups"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page, opened at the set of this task's run."""
        return link_url(dag_id=ti_key.dag_id, run_id=ti_key.run_id)
