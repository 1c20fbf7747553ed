"""What all tasks have in common: connection, cancelling, and how their errors leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.base.progress import OnProgress
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import ERROR, PROGRESS_KEY
from pgvector_backup.installation.temporary import temporary_id
from pgvector_backup.operators.links import VectorBackupsLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.base.cancel import Cancel
    from pgvector_backup.engine.postgres.session import Connect

_FINE = ("success", "skipped", "upstream_failed")


class PgVectorTask(BaseOperator):
    """One step of a run of this project's.

    :param pgvector_conn_id: Airflow connection of the database; the configured one if None (templated)
    :param backup_root: path or URL in place of the configured one (templated)
    :param conf_from_run: whether the run's conf decides: its keys come before the arguments, an unknown one is
        refused
    """

    template_fields: Sequence[str] = ("pgvector_conn_id", "backup_root")
    operator_extra_links = (VectorBackupsLink(),)
    ui_color = "#e4f0e8"

    def __init__(
        self,
        *,
        pgvector_conn_id: str | None = None,
        backup_root: str | None = None,
        conf_from_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pgvector_conn_id = pgvector_conn_id
        self.backup_root = backup_root
        self.conf_from_run = conf_from_run
        self._cancel: Cancel | None = None

    def on_kill(self) -> None:
        """Stop what runs on the server; the story then ends by itself and cleans up."""
        if self._cancel is not None:
            self.log.warning("asked to stop; cancelling what runs on the server")
            self._cancel.ask()

    def asked(self, context: Context, keys: Sequence[Key], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What this run asks for: its conf where that decides, otherwise the arguments."""
        if not self.conf_from_run:
            return dict(arguments)
        # conf itself as well as params: Airflow checks params, and lets unknown keys of conf pass.
        params, conf = context["params"], context["dag_run"].conf or {}
        return {key.name: params[key.name] for key in keys if key.name in params} | dict(conf)

    def connect(self, db_connection: str | None) -> Connect:
        """How to connect to the database that a request is about."""
        from pgvector_backup.installation.connections import connect_to  # noqa: PLC0415 (see `operators`)

        run = get_current_context()["dag_run"]
        return connect_to(
            db_connection,
            self.pgvector_conn_id,
            configuration.connection_rules(),
            own=temporary_id(run.dag_id, run.run_id),
        )

    def cancel(self) -> Cancel:
        """What `on_kill` asks to stop, made when the work begins."""
        from pgvector_backup.engine.base.cancel import Cancel  # noqa: PLC0415 (see `operators`)

        self._cancel = Cancel()
        return self._cancel

    def on_progress(self, context: Context) -> OnProgress | None:
        """Keeps the last report where the API server reads it, if this Airflow has such a place (3.3 and later)."""
        store = context.get("task_state_store")
        return None if store is None else partial(store.set, PROGRESS_KEY)

    @contextmanager
    def reported(self, context: Context) -> Iterator[None]:
        """Push an error of the engine as XCom ``error``, then let the task fail with it.

        What a retry cannot cure fails at once, whatever retries are left.
        """
        try:
            yield
        except BackupError as fault:
            context["ti"].xcom_push(key=ERROR, value=dict(fault.report()))
            text = f"{fault.error_type}: {fault.message}"
            # Not chained: the cause's own text may quote what the message leaves out on purpose.
            raise (AirflowException(text) if fault.can_retry else AirflowFailException(text)) from None


def fault_of(context: Context, step: str) -> dict[str, Any] | None:
    """Why a step of this run failed; one that was killed has left no reason, only its state."""
    ti, run_id = context["ti"], context["run_id"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[step], run_ids=[run_id])
    state = states.get(run_id, {}).get(step)
    if state in _FINE:
        return None
    left = ti.xcom_pull(task_ids=step, key=ERROR)
    if left is not None:
        return dict(left)
    unexplained = BackupError(
        f"task {step} is {state} and gave no reason: somebody marked it so, or its process was killed; "
        "its log tells which"
    )
    return dict(unexplained.report())
