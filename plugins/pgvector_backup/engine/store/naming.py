"""How the files of a set are called, and which names are safe to follow."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import IntegrityFault, InvalidParams

LOG_FILE: Final = "vector_backup_log.txt"
STAGED: Final = ".tmp"
"""What a file's name ends in until its set is committed."""

_LONGEST: Final = 255
"""Bytes that common file systems allow in one name."""

TASK_ID_PATTERN: Final = r"^[A-Za-z0-9_]+$"
TASK_ID_LENGTH: Final = _LONGEST

LATEST: Final = "latest"
"""In place of a backup id: the newest set."""

SAFE: Final = re.compile(r"[A-Za-z0-9_-]+")
"""What a backup id and a directory may consist of."""

# Ids tell seconds apart, so there is a digit in each; what others leave here is named otherwise, as a rule.
_ID: Final = r"[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*"
_CLAIM: Final = re.compile(rf"manifest_(?P<id>{_ID})\.json\.tmp")
_MANIFEST: Final = re.compile(rf"manifest_(?P<id>{_ID})\.json")
_BARE_CSV: Final = re.compile(r"(?P<label>[^/]+)_(?P<id>[0-9]{8}_[0-9]{6})\.csv")
_OURS: Final = re.compile(rf"[^/]+_{_ID}\.(?:keys\.)?(?:csv|pgcopy|json|sql)(?:\.[a-z]+)*")
LEASE: Final = re.compile(r"(?P<of>.+)\.(?P<token>[a-z]{12})\.(?P<kind>maker|reader|remover|writer)\.tmp")
"""An object by which a run holds something in a store without locks."""
_STAGED_BY_US: Final = re.compile(rf"[^/]+_{_ID}\.(?:keys\.)?(?:csv|pgcopy|json|sql)(?:\.[a-z]+)*\.tmp")


def data_file_name(label: str, backup_id: str, suffix: str) -> str:
    """The final name of a table's file, e.g. ``langchain_pg_embedding_20250721_234914.csv``.

    What a path could not hold, or would read as something else, is written ``%XX``. What would then be too long for
    a file system is cut and ends in ``~`` and a digest.
    """
    stem, rest = ".".join(_escaped(part) for part in label.split(".", 1)), f"_{backup_id}.{suffix}"
    room = _LONGEST - len(rest) - len(STAGED)
    if len(stem.encode()) > room:
        digest = "~" + hashlib.sha256(label.encode()).hexdigest()[:16]
        stem = stem.encode()[: room - len(digest)].decode(errors="ignore") + digest
    return stem + rest


def _escaped(part: str) -> str:
    return "".join(
        char if char.isalnum() or char in "_-" else "".join(f"%{byte:02X}" for byte in char.encode()) for char in part
    )


def manifest_name(backup_id: str) -> str:
    """The name of a set's manifest."""
    return f"manifest_{backup_id}.json"


def verification_name(backup_id: str) -> str:
    """The name of the file that tells how a set was verified."""
    return f"verified_{backup_id}.json"


def pin_name(backup_id: str) -> str:
    """The name of the file that tells who holds a set, and why."""
    return f"pinned_{backup_id}.json"


def emptied_name(backup_id: str) -> str:
    """The name of the file that tells which tables were emptied on the word of a set."""
    return f"emptied_{backup_id}.json"


def script_name(backup_id: str) -> str:
    """The name of what psql needs to load a set by hand."""
    return f"schema_{backup_id}.sql"


def committed_id(name: str) -> str | None:
    """The id of the set that a file is the manifest of, if it is one."""
    match = _MANIFEST.fullmatch(name)
    return None if match is None else match["id"]


def without_manifest(name: str) -> tuple[str, str] | None:
    """Label and timestamp of a CSV named as ours are, whoever wrote it: ``{table}_{YYYYMMDD_HHMMSS}.csv``."""
    match = _BARE_CSV.fullmatch(name)
    return None if match is None else (match["label"], match["id"])


def check_task_id(task_id: str) -> None:
    """Refuse what could not safely name one directory.

    ``re.fullmatch``, because ``$`` lets a trailing newline pass.

    :raises InvalidParams: with the sentence that clients of the older API know
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", task_id) or len(task_id) > TASK_ID_LENGTH:
        raise InvalidParams(messages.BAD_TASK_ID)


def check_bare(name: str) -> str:
    """Refuse a file name that would lead out of its directory, as one in a tampered manifest could.

    :raises IntegrityFault: naming it
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise IntegrityFault(f"not a bare file name: {name!r}")
    return name


def claimed_id(name: str) -> str | None:
    """The id that a file claims, if it is a claim: a manifest that is not committed yet."""
    match = _CLAIM.fullmatch(name)
    return None if match is None else match["id"]


def is_staged(name: str) -> bool:
    """Whether a file is one of ours that was not committed, of whatever set."""
    return _STAGED_BY_US.fullmatch(name) is not None


def is_ours(name: str) -> bool:
    """Whether a file is called as the files of sets are."""
    return _OURS.fullmatch(name) is not None


def of_set(names: list[str], backup_id: str) -> list[str]:
    """Those of the names that may belong to one set, as far as names can tell.

    The file of a table may end in what another set is called: ``t_20261126_150333.csv`` is not of set ``150333`` where
    a set ``20261126_150333`` is among the names, by its manifest, its claim or its date.
    """
    longer = set()
    for name in names:
        dated = without_manifest(name)
        other = committed_id(name) or claimed_id(name) or (None if dated is None else dated[1])
        if other is not None and other.endswith((f"_{backup_id}", f"-{backup_id}")):
            longer.add(other)
    return [name for name in names if f"_{backup_id}." in name and not any(f"_{other}." in name for other in longer)]


def of_table(file: str, backup_id: str, names: list[str]) -> list[str]:
    """Those of the names that lie beside a table's file: its index, its keys.

    :param file: as the manifest names it
    """
    stem, found, _ = file.rpartition(f"_{backup_id}.")
    return [name for name in names if found and name.startswith(f"{stem}{found}")]


def beside_manifest(backup_id: str) -> list[str]:
    """The names that a set's own small files may have."""
    named = (manifest_name, verification_name, pin_name, emptied_name)
    return [*(name(backup_id) for name in named), script_name(backup_id)]
