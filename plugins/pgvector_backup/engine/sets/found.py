"""What a catalog finds: a location, its sets, their tables; what only a manifest can tell is None without one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets.beside import Pin
from pgvector_backup.engine.sets.collection_entry import CollectionEntry
from pgvector_backup.engine.sets.documents import tells_damage
from pgvector_backup.engine.store.location import Location

PROVING: Final = ("rows", "drill")
"""Depths of a verification that prove a set: every row was read back."""


@dataclass(frozen=True)
class FoundKeys:
    """A table's keys file: its bare name and its bytes."""

    file: str
    bytes: int


@dataclass(frozen=True)
class FoundTable:
    """One table of a set; what only a manifest can tell is None without one.

    :param file: bare name
    :param bytes: of the file as it lies there
    :param raw_bytes: before compression
    :param rows: of the table at that moment
    :param rows_written: of these, those in the file: of an increment those that were written since its base
    :param rows_deleted: rows of the base that the table had no more
    :param keys: the file that says which rows there were; None where none was written
    """

    name: str
    file: str
    bytes: int
    raw_bytes: int | None = None
    rows: int | None = None
    rows_written: int | None = None
    rows_deleted: int | None = None
    keys: FoundKeys | None = None
    format: str | None = None
    compression: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class FoundSet:
    """A backup set that lies in a location.

    :param relative_path: its location below the backup root
    :param backup_id: the timestamp in its files' names
    :param created_at: ISO 8601; with an offset where a manifest tells it
    :param manifest_file: None for the CSV files of another tool
    :param damaged: what is wrong with it, as far as names, sizes and the manifest show; None: nothing
    :param unread: what of it could not be read just now, so that a later look may say otherwise; None: all was read
    :param verification: what the last verify of it wrote; None if it never was
    :param identity: what it is of, database and tables, the same for each set of the same; None: nobody knows
    :param source: the database that it is of; None: nobody knows
    :param pin: who holds it and why, whether or not that has ended; None: nobody has
    :param chain: ids of the sets that an increment stands on, the full one first
    :param full_because: why a set that was to be an increment is a full one
    :param collections: LangChain's, with their rows; None where no manifest tells
    :param saved_before: of the tables as they were before a restore, the set that was to be restored
    """

    task_id: str | None
    relative_path: str
    directory: str
    backup_id: str
    created_at: str
    tables: tuple[FoundTable, ...]
    manifest_file: str | None = None
    run_id: str | None = None
    failed_tables: Mapping[str, str] | None = None
    damaged: str | None = None
    unread: str | None = None
    verification: Mapping[str, Any] | None = None
    identity: tuple[object, ...] | None = None
    source: Source | None = None
    pin: Pin | None = None
    chain: tuple[str, ...] = ()
    full_because: str | None = None
    collections: tuple[CollectionEntry, ...] | None = None
    saved_before: str | None = None

    @property
    def mode(self) -> str | None:
        """``incremental`` or ``full``; None where no manifest tells."""
        if self.identity is None:
            return None
        return "incremental" if self.chain else "full"

    @property
    def base_backup_id(self) -> str | None:
        """The set that an increment stands on; None of any other."""
        return self.chain[-1] if self.chain else None

    @property
    def chain_length(self) -> int | None:
        """Sets that a restore reads, this one among them; None where no manifest tells."""
        return None if self.identity is None else len(self.chain) + 1

    @property
    def found_damaged(self) -> str | None:
        """What its last verification found to be wrong with it; None: nothing, or nobody has looked."""
        told = self.verification
        if told is None or not tells_damage(told):
            return None
        errors = told.get("errors")
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], str) else ""
        return f"its last verification found damage: {first}".removesuffix(": ")

    @property
    def fault(self) -> str | None:
        """Why nobody should rely on it, as far as is known; None: no reason is known."""
        missing = f"not all tables are in it: {', '.join(self.failed_tables)}" if self.failed_tables else None
        return self.damaged or self.found_damaged or missing

    @property
    def good(self) -> bool:
        """Whether it may be relied on: whole, and not found damaged by whoever read it last."""
        return self.whole and self.found_damaged is None

    @property
    def whole(self) -> bool:
        """Whether it is what was asked of it, as far as can be told without reading its data."""
        return self.manifest_file is not None and not self.failed_tables and self.damaged is None

    @property
    def moment(self) -> float:
        """When it was made, in seconds since 1970; another tool's names are taken to be in UTC."""
        when = datetime.fromisoformat(self.created_at)
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()

    @property
    def age(self) -> tuple[float, str]:
        """What sets are sorted by: the moment; where two are of the same, the id."""
        return self.moment, self.backup_id

    @property
    def proven(self) -> datetime | None:
        """When its rows were last compared with its manifest, by a verify or a drill, in UTC; None: never."""
        return self.passed_at(*PROVING)

    def passed_at(self, *depths: str) -> datetime | None:
        """When it last passed a verification of one of these depths, in UTC; None: never, or nobody can say."""
        last = (self.verification or {}).get("last")
        moments = []
        for depth in depths:
            passed: Any = last.get(depth) if isinstance(last, dict) else None
            if isinstance(passed, dict) and passed.get("ok") is True:
                with suppress(ValueError, TypeError, KeyError, OverflowError):  # whoever may write here wrote it
                    moments.append(datetime.fromisoformat(passed["verified_at"]).astimezone(timezone.utc))
        return max(moments, default=None)

    @property
    def rows(self) -> int | None:
        """Rows of all tables; None where no manifest tells."""
        counts = [table.rows for table in self.tables if table.rows is not None]
        return sum(counts) if counts and len(counts) == len(self.tables) else None

    @property
    def bytes(self) -> int:
        """Bytes of all tables' files, their keys among them."""
        return sum(table.bytes + (0 if table.keys is None else table.keys.bytes) for table in self.tables)


@dataclass(frozen=True)
class FoundLocation:
    """A location and its sets, the newest first."""

    location: Location
    sets: tuple[FoundSet, ...]
    has_log: bool
