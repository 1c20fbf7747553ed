"""What the tasks have in common: where their request comes from and how their errors leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from pgvector_backup.engine.cancel import Cancel
from pgvector_backup.engine.compression import DEFAULT_LEVEL
from pgvector_backup.engine.errors import BackupError
from pgvector_backup.engine.progress import OnProgress
from pgvector_backup.engine.request import BACKUP_KEYS, BackupRequest
from pgvector_backup.engine.session import Connect
from pgvector_backup.engine.settings import Settings
from pgvector_backup.installation import configuration
from pgvector_backup.installation.connections import connect_to
from pgvector_backup.installation.runs import PROGRESS_KEY
from pgvector_backup.installation.temporary import temporary_id
from pgvector_backup.operators.links import VectorBackupsLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class PgVectorOperator(BaseOperator):
    """One step of a backup run; the steps of one run are given the same arguments.

    :param pgvector_conn_id: Airflow connection of the database; the configured one if None (templated)
    :param backup_task_id: whose directory below the backup root to use; None for the root (templated)
    :param tables: ``[schema.]name`` list in place of the configured one (templated)
    :param backup_root: path or URL in place of the configured one (templated)
    :param file_format: ``csv`` or ``binary``
    :param compression: ``none``, ``zstd`` or ``gzip``
    :param compression_level: as the tool of that name has it
    :param conf_from_run: whether the run's conf decides: its keys come before the arguments, an unknown one is
        refused
    """

    template_fields: Sequence[str] = ("pgvector_conn_id", "backup_task_id", "tables", "backup_root")
    operator_extra_links = (VectorBackupsLink(),)
    ui_color = "#e4f0e8"

    def __init__(
        self,
        *,
        pgvector_conn_id: str | None = None,
        backup_task_id: str | None = None,
        tables: str | Sequence[str] | None = None,
        backup_root: str | None = None,
        file_format: str = "csv",
        compression: str = "none",
        compression_level: int = DEFAULT_LEVEL,
        conf_from_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pgvector_conn_id = pgvector_conn_id
        self.backup_task_id = backup_task_id
        self.tables = tables
        self.backup_root = backup_root
        self.file_format = file_format
        self.compression = compression
        self.compression_level = compression_level
        self.conf_from_run = conf_from_run
        self._cancel: Cancel | None = None

    def on_kill(self) -> None:
        """Stop what runs on the server; the story then ends by itself and cleans up."""
        if self._cancel is not None:
            self.log.warning("asked to stop; cancelling what runs on the server")
            self._cancel.ask()

    def request(self, context: Context) -> BackupRequest:
        """What this run asks for, checked.

        :raises InvalidParams: for an unknown key or a bad value
        """
        asked: dict[str, Any]
        if not self.conf_from_run:
            asked = {
                "file_format": self.file_format,
                "compression": self.compression,
                "compression_level": self.compression_level,
            }
        else:
            # conf itself as well as params: Airflow checks params, and lets unknown keys of conf pass.
            params, conf = context["params"], context["dag_run"].conf or {}
            asked = {key.name: params[key.name] for key in BACKUP_KEYS if key.name in params} | dict(conf)
        if asked.get("task_id") is None and self.backup_task_id is not None:
            asked["task_id"] = self.backup_task_id
        return BackupRequest.from_mapping(asked)

    def settings(self) -> Settings:
        """How this installation backs up, with this task's own arguments in place."""
        tables = self.tables if isinstance(self.tables, str | None) else ",".join(self.tables)
        return configuration.settings(backup_root=self.backup_root, tables=tables)

    def connect(self, request: BackupRequest) -> Connect:
        """How to connect to the database that the request is about."""
        run = get_current_context()["dag_run"]
        return connect_to(
            request.db_connection,
            self.pgvector_conn_id,
            configuration.connection_rules(),
            own=temporary_id(run.dag_id, run.run_id),
        )

    def cancel(self) -> Cancel:
        """What `on_kill` asks to stop, made when the work begins."""
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
            context["ti"].xcom_push(key="error", value=dict(fault.report()))
            text = f"{fault.error_type}: {fault.message}"
            # Not chained: the cause's own text may quote what the message leaves out on purpose.
            raise (AirflowException(text) if fault.can_retry else AirflowFailException(text)) from None
