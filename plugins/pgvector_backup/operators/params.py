"""The accepted keys as Airflow's Params, which the trigger form shows and the trigger checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from airflow.sdk import Param

from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, COPY_KEYS, PRUNE_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.installation.configuration import backup_before_restore, connection_rules, verify_depth


def backup_params() -> dict[str, Param]:
    """The Params of a backup."""
    return params_of(BACKUP_KEYS)


def restore_params() -> dict[str, Param]:
    """The Params of a restore."""
    keys = [
        replace(key, default=backup_before_restore()) if key.name == "backup_before_restore" else key
        for key in RESTORE_KEYS
    ]
    return params_of([_marked(key) for key in keys], sections=dict.fromkeys(_NEEDED, _WHICH))


_WHICH: Final = "Which set (required)"

_NEEDED: Final = {
    "backup_path": "required, unless a task directory is given",
    "task_id": "in place of the backup path",
    "timestamp": "required",
}
"""What a restore must be told. The form's own mark is for what has no default, and there none could be left empty."""


def _marked(key: Key) -> Key:
    return replace(key, title=f"{key.title} ({_NEEDED[key.name]})") if key.name in _NEEDED else key


def verify_params() -> dict[str, Param]:
    """The Params of a verify; its depth is the configured one unless a run says otherwise."""
    return params_of([replace(key, default=verify_depth()) if key.name == "depth" else key for key in VERIFY_KEYS])


def prune_params() -> dict[str, Param]:
    """The Params of a prune."""
    return params_of(PRUNE_KEYS)


def copy_params() -> dict[str, Param]:
    """The Params of a copy."""
    return params_of(COPY_KEYS)


def params_of(keys: Sequence[Key], sections: Mapping[str, str] | None = None) -> dict[str, Param]:
    """One Param a key; ``db_connection`` takes only what this installation's configuration allows.

    :param sections: by key, the part of the form that it stands in; the others are in the form's own
    """
    params = {}
    # The trigger form shows a description as it stands, without Markdown.
    for key in keys:
        schema = key.schema
        if key.name == "db_connection":
            schema["pattern"] = connection_rules().pattern
        if sections is not None and key.name in sections:
            schema["section"] = sections[key.name]
        params[key.name] = Param(key.default, description=key.description.replace("`", ""), **schema)
    return params
