"""What a caller may ask for: the accepted keys, told once for every entrance.

The DAG's Params, HTTP and the command line all take their keys, schemas and words from `KEYS`,
and all of them end in a `BackupRequest`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pgvector_backup.engine import messages
from pgvector_backup.engine.compression import DEFAULT_LEVEL, NAMES, Compression, CompressionName
from pgvector_backup.engine.errors import InvalidParams
from pgvector_backup.engine.formats import FORMATS, FormatName

TASK_ID_PATTERN: Final = r"^[A-Za-z0-9_]+$"
TASK_ID_LENGTH: Final = 255
"""Bytes that common file systems allow in one name."""

_TYPES: Final[dict[str, type]] = {"string": str, "boolean": bool, "integer": int}


@dataclass(frozen=True)
class Key:
    """One key that a request may carry.

    :param types: JSON types that its value may have
    :param pattern: what a string has to match (JSON schema, ECMA 262)
    :param max_length: characters that a string may have
    :param choices: the only values that a string may have
    """

    name: str
    types: tuple[str, ...]
    default: str | bool | int | None
    title: str
    description: str
    pattern: str | None = None
    max_length: int | None = None
    choices: tuple[str, ...] | None = None

    @property
    def schema(self) -> dict[str, Any]:
        """The key as JSON schema."""
        schema: dict[str, Any] = {"type": list(self.types), "title": self.title}
        if self.pattern is not None:
            schema["pattern"] = self.pattern
        if self.max_length is not None:
            schema["maxLength"] = self.max_length
        if self.choices is not None:
            schema["enum"] = list(self.choices)
        return schema

    def check(self, value: object) -> None:
        """Refuse a value of another JSON type, or one that is not among the choices.

        :raises InvalidParams: naming the key, what is wrong with the value and what is allowed
        """
        if value is None and "null" in self.types:
            return
        if not any(type(value) is _TYPES[name] for name in self.types if name != "null"):
            wanted = " or ".join(self.types)
            raise InvalidParams(f"{self.name}: expected {wanted}, got {type(value).__name__}")
        if self.choices is not None and value not in self.choices:
            raise InvalidParams(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")


KEYS: Final[tuple[Key, ...]] = (
    Key(
        name="task_id",
        types=("string", "null"),
        default=None,
        title="Task directory",
        description="Back up into this task's directory below the backup root. It must exist. "
        "Letters, digits and underscores. Empty: the backup root itself.",
        pattern=TASK_ID_PATTERN,
        max_length=TASK_ID_LENGTH,
    ),
    Key(
        name="db_connection",
        types=("string", "null"),
        default=None,
        title="Database connection",
        description="Airflow connection id of the database. Empty: the configured default.",
        pattern=r"^\S+$",
        max_length=2048,
    ),
    Key(
        name="truncate_vector_tables",
        types=("boolean",),
        default=False,
        title="Empty the vector tables afterwards",
        description="Once the backup is proven, empty the tables listed in `truncate_tables`. "
        "Refused when a row was written that the backup does not hold. Switches the backup on.",
    ),
    Key(
        name="backup_vector_tables",
        types=("boolean",),
        default=True,
        title="Back up",
        description="Off, with truncate off as well: nothing is done.",
    ),
    Key(
        name="file_format",
        types=("string",),
        default="csv",
        title="File format",
        description="`csv` loads anywhere; `binary` is PostgreSQL's own binary COPY format, exact and several times "
        "as fast both ways.",
        choices=tuple(FORMATS),
    ),
    Key(
        name="compression",
        types=("string",),
        default="none",
        title="Compression",
        description="`zstd` or `gzip`: ordinary files that `zstd -d` and `gzip -d` open.",
        choices=NAMES,
    ),
    Key(
        name="compression_level",
        types=("integer",),
        default=DEFAULT_LEVEL,
        title="Compression level",
        description="zstd: 1 to 19; gzip: 1 to 9. Random digits hardly get smaller with more effort.",
    ),
)


@dataclass(frozen=True)
class BackupRequest:
    """A request that has passed every check that needs no disk and no server."""

    task_id: str | None = None
    db_connection: str | None = None
    truncate_vector_tables: bool = False
    backup_vector_tables: bool = True
    file_format: FormatName = "csv"
    compression: CompressionName = "none"
    compression_level: int = DEFAULT_LEVEL

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> BackupRequest:
        """Check a conf, key by key.

        :param conf: the accepted keys, each optional
        :raises InvalidParams: for an unknown key, a wrong type, a malformed ``task_id``
        """
        known = {key.name: key for key in KEYS}
        for name, value in conf.items():
            if name not in known:
                raise InvalidParams(_unknown(name, list(known)))
            known[name].check(value)
        request = cls(**conf)
        if request.task_id is not None:
            check_task_id(request.task_id)
        Compression(request.compression, request.compression_level)  # refuses a level out of range
        return request

    @property
    def backup_wanted(self) -> bool:
        """A truncate without a backup of the same run is never carried out."""
        return self.backup_vector_tables or self.truncate_vector_tables


def check_task_id(task_id: str) -> None:
    """Refuse what could not safely name one directory.

    ``re.fullmatch``, because ``$`` lets a trailing newline pass.

    :raises InvalidParams: with the sentence that clients of the older API know
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", task_id) or len(task_id) > TASK_ID_LENGTH:
        raise InvalidParams(messages.BAD_TASK_ID)


def _unknown(name: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(known)}"
    return f"unknown key {name!r}: {remedy}"
