"""The tasks of a verify: the one that verifies, and the one that ends the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from pgvector_backup.engine.contract.requests import VERIFY_KEYS, VerifyRequest
from pgvector_backup.engine.store.naming import LATEST
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import ERROR
from pgvector_backup.operators.task import PgVectorTask, fault_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class PgVectorVerifyOperator(PgVectorTask):
    """Hold sets against their manifests; returns the run's result.

    The outcome is written beside each set, and a section added to each location's log file. Each outlet asset's event
    tells the sets and whether they are whole.

    :param backup_path: directory of the set, relative to the backup root, as lists of sets give it; without it and
        ``backup_task_id``, every location (templated)
    :param backup_task_id: in its place, the task whose directory holds the set (templated)
    :param timestamp: which set; ``latest`` is the newest, damaged or not (templated)
    :param depth: ``files``, ``rows`` or ``drill``; the configured one if None
    :param pgvector_conn_id: Airflow connection of a server on which a drill may make a scratch database; None: an
        embedded server on the worker (templated)

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (*PgVectorTask.template_fields, "backup_path", "backup_task_id", "timestamp")

    def __init__(
        self,
        *,
        backup_path: str | None = None,
        backup_task_id: str | None = None,
        timestamp: str = LATEST,
        depth: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_path = backup_path
        self.backup_task_id = backup_task_id
        self.timestamp = timestamp
        self.depth = depth

    def request(self, context: Context) -> VerifyRequest:
        """What this run asks for, checked.

        :raises InvalidParams: for an unknown key or a bad value
        """
        arguments = {
            "backup_path": self.backup_path,
            "task_id": self.backup_task_id,
            "timestamp": self.timestamp,
            "depth": self.depth or configuration.verify_depth(),
        }
        return VerifyRequest.from_mapping(self.asked(context, VERIFY_KEYS, arguments))

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify; the result is pushed before a failure is raised, so that it survives it."""
        from pgvector_backup.engine.verify import verify  # noqa: PLC0415 (see `operators`)

        with self.reported(context):
            request = self.request(context)
            # Production is touched only if somebody names a server: a drill has one of its own.
            named = request.depth == "drill" and (request.db_connection or self.pgvector_conn_id)
            result = verify(
                request,
                configuration.settings(backup_root=self.backup_root),
                self.connect(request.db_connection) if named else None,
                now=configuration.now(),
                run_id=context["run_id"],
                cancel=self.cancel(),
                on_progress=self.on_progress(context),
            )
            for asset in self.outlets:
                context["outlet_events"][asset].extra = {
                    "depth": result.depth,
                    "sets": {f"{one.relative_path} {one.backup_id}": one.ok for one in result.sets},
                }
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                raise result.failure
            return result.to_json()


class PgVectorVerifyReportOperator(PgVectorTask):
    """Hand on the run's result, fail if the verify failed.

    It has to run whatever became of the verify (``trigger_rule="all_done"``), and decides the state of the run.

    :param verify_step: task id of the verify
    """

    def __init__(self, *, verify_step: str = "verify", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verify_step = verify_step

    def execute(self, context: Context) -> dict[str, Any]:
        """Report; the result is pushed before a failure is raised, so that it survives it."""
        ti = context["ti"]
        fault = fault_of(context, self.verify_step)
        result = ti.xcom_pull(task_ids=self.verify_step)
        if fault is None:
            return dict(result)
        from pgvector_backup.engine.contract.verify_result import failed_result  # noqa: PLC0415 (see `operators`)

        # A verify that could not even begin has left no result.
        depth = str(context["params"].get("depth"))
        result = dict(result) if result else failed_result(fault["response"], depth, configuration.now())
        ti.xcom_push(key="return_value", value=result)
        ti.xcom_push(key=ERROR, value=fault)
        raise AirflowFailException("; ".join(result["errors"]))
