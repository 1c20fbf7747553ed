"""The name of a table, as the configuration gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.codec.type_names import QUOTED

if TYPE_CHECKING:
    from psycopg import sql

_PART: Final = rf"(?:{QUOTED}|[^\s\".,][^\".,]*)"
_NAME: Final = re.compile(rf"\s*(?:(?P<schema>{_PART})\.)?(?P<table>{_PART})\s*")


@dataclass(frozen=True)
class TableName:
    """A name as the configuration gives it: taken letter for letter, never folded to lower case."""

    schema: str | None
    table: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read ``[schema.]name``; parts that hold a dot, comma or quote stand in double quotes.

        :raises InvalidParams: naming what cannot be read
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise InvalidParams(f"not a table name: {text!r}; write [schema.]name, odd names in double quotes")
        schema, table = match["schema"], match["table"]
        return cls(None if schema is None else _bare(schema), _bare(table))

    @property
    def label(self) -> str:
        """The name that results, logs and file names go by; no two tables of a set share one."""
        parts = (self.table,) if self.schema is None else (self.schema, self.table)
        return ".".join(_unmistakable(part) for part in parts)

    @property
    def identifier(self) -> sql.Identifier:
        """The name, quoted for SQL."""
        from psycopg import sql  # noqa: PLC0415 (every task's process reads names, and few of them need psycopg)

        return sql.Identifier(self.table) if self.schema is None else sql.Identifier(self.schema, self.table)


def _unmistakable(part: str) -> str:
    """A part in double quotes where a dot or a quote of its own could be taken for the name's punctuation."""
    if "." not in part and '"' not in part:
        return part
    doubled = part.replace('"', '""')
    return f'"{doubled}"'


def _bare(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.strip()


def parse_names(text: str) -> tuple[TableName, ...]:
    """Read a comma-separated list of table names; a name given twice counts once.

    :raises InvalidParams: for a malformed name, or an empty list
    """
    parts = re.findall(rf"(?:{QUOTED}|[^\",])+", text)
    if "".join(parts).replace(",", "") != text.replace(",", ""):
        raise InvalidParams(f"unbalanced double quotes in the table list {text!r}")
    names = tuple(dict.fromkeys(TableName.parse(part) for part in parts if part.strip()))
    if not names:
        raise InvalidParams("the list of tables is empty; set `tables` in [pgvector_backup]")
    return names
