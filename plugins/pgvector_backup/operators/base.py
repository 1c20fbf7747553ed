"""What the tasks of a backup have in common: where their request comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pgvector_backup.engine.codec.compression import DEFAULT_LEVEL
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.installation import configuration
from pgvector_backup.operators.arguments import text_of, texts_of
from pgvector_backup.operators.task import PgVectorTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class PgVectorOperator(PgVectorTask):
    """One step of a backup run; the steps of one run are given the same arguments.

    :param backup_task_id: whose directory below the backup root to use; None for the root (templated)
    :param tables: ``[schema.]name`` list in place of the configured one (templated)
    :param file_format: ``csv`` or ``binary``
    :param compression: ``none``, ``zstd`` or ``gzip``
    :param compression_level: as the tool of that name has it
    :param dry_run: say what would be read and whether there is room, write nothing

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (*PgVectorTask.template_fields, "backup_task_id", "tables")

    def __init__(
        self,
        *,
        backup_task_id: str | None = None,
        tables: str | Sequence[str] | None = None,
        file_format: str = "csv",
        compression: str = "none",
        compression_level: int = DEFAULT_LEVEL,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_task_id = backup_task_id
        self.tables = tables
        self.file_format = file_format
        self.compression = compression
        self.compression_level = compression_level
        # `dry_run` is a method of every operator.
        self.rehearse = dry_run
        self.remember_given()

    def request(self, context: Context) -> BackupRequest:
        """What this run asks for, checked.

        :raises InvalidParams: for an unknown key or a bad value
        """
        arguments = {
            "file_format": self.file_format,
            "compression": self.compression,
            "compression_level": self.compression_level,
            "dry_run": self.rehearse,
        }
        asked = self.asked(context, BACKUP_KEYS, arguments)
        # Not read as a text: which texts are task ids is checked with the rest of the request.
        own = self.rendered("backup_task_id", lambda _, value: value)
        if asked.get("task_id") is None and own is not None:
            asked["task_id"] = own
        return BackupRequest.from_mapping(asked)

    def settings(self) -> Settings:
        """How this installation backs up, with this task's own arguments in place."""
        tables = self.rendered("tables", texts_of)
        return configuration.settings(
            backup_root=self.rendered("backup_root", text_of),
            tables=None if tables is None else ",".join(tables),
        )
