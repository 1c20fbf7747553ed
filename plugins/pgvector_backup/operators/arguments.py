"""Arguments of operators as they are after rendering: of the right kind, or refused by name.

A template or another task's output decides what an argument is only when the task runs, so that nothing can be checked
before; and what comes out empty must never mean "as configured", which is everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgvector_backup.engine.base.errors import Conflict, InvalidParams


def text_of(name: str, value: Any) -> str | None:
    """An argument that is a text, or a path.

    :raises InvalidParams: when it is empty, or of another kind
    """
    if value is None:
        return None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif type(value).__name__ == "ObjectStoragePath":
        value = str(value)
    if not isinstance(value, str):
        raise InvalidParams(f"{name}: expected a text, got {type(value).__name__}")
    if not value.strip():
        raise InvalidParams(f"{name}: what was given for it is empty; leave the argument out for the configured value")
    return value


def texts_of(name: str, value: Any) -> list[str] | None:
    """An argument that is a list of texts; a single text stays one entry.

    :raises InvalidParams: when it is empty, or of another kind
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidParams(f"{name}: expected a list of texts, got {type(value).__name__}")
    texts = list(value)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InvalidParams(f"{name}: expected texts that are not empty inside it, got {text!r}")
    if not texts:
        raise InvalidParams(
            f"{name}: the list is empty, which means none; leave the argument out for all that there are"
        )
    return texts


def mapping_of(name: str, value: Any) -> dict[str, Any] | None:
    """An argument that maps names to names.

    :raises InvalidParams: when it is of another kind
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidParams(f"{name}: expected names by names, got {type(value).__name__}")
    return dict(value)


def manifest_file_of(backup: Any, undone: str) -> str:
    """The manifest's name in what a backup's task returned.

    :param undone: what does not happen without it, e.g. ``nothing was emptied``
    :raises InvalidParams: when it is several results
    :raises Conflict: when there is none
    """
    if isinstance(backup, Sequence) and not isinstance(backup, str):
        raise InvalidParams(
            f"backup: {len(backup)} results, as of a mapped task, where one is needed; {undone}. "
            "Map this task over them too, or put both into one mapped group"
        )
    given = backup.get("manifest_file") if isinstance(backup, Mapping) else None
    if not isinstance(given, str) or not given:
        raise Conflict(f"no backup of this run to rely on; {undone}")
    return given
