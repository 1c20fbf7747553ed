"""The sets that backups have announced by events of their asset: whoever may write such events wrote what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AnnouncedSet:
    """A set as its backup's event tells of it; nothing of it is checked yet but its types.

    :param directory: where it lies, as the backup knew it
    """

    backup_id: str
    task_id: str | None
    directory: str

    def place(self, backup_directory: str) -> dict[str, Any]:
        """The keys of a request that name it.

        :param backup_directory: where sets of no task lie, below the root
        """
        where = {"backup_path": backup_directory} if self.task_id is None else {"task_id": self.task_id}
        return {**where, "timestamp": self.backup_id}


def announced_sets(extras: Iterable[Any]) -> tuple[AnnouncedSet, ...]:
    """The sets that events tell of, each once; what tells of none is passed over."""
    found = []
    for extra in extras:
        if not isinstance(extra, Mapping):
            continue
        backup_id, task_id, directory = (extra.get(key) for key in ("backup_id", "task_id", "backup_directory"))
        if isinstance(backup_id, str) and isinstance(directory, str) and isinstance(task_id, str | None):
            found.append(AnnouncedSet(backup_id, task_id, directory))
    return tuple(dict.fromkeys(found))
