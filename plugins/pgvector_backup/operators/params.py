"""The accepted keys as Airflow's Params, which the trigger form shows and the trigger checks."""

from __future__ import annotations

from airflow.sdk import Param

from pgvector_backup.engine.request import BACKUP_KEYS
from pgvector_backup.installation.configuration import connection_rules


def backup_params() -> dict[str, Param]:
    """One Param a key; ``db_connection`` takes only what this installation's configuration allows."""
    params = {}
    # The trigger form shows a description as it stands, without Markdown.
    for key in BACKUP_KEYS:
        schema = key.schema
        if key.name == "db_connection":
            schema["pattern"] = connection_rules().pattern
        params[key.name] = Param(key.default, description=key.description.replace("`", ""), **schema)
    return params
