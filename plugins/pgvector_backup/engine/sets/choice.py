"""Which set is meant: the newest, the newest that is good or proven, and what to take in place of one that is not.

Pure functions over what a catalog has found. *Good* is `FoundSet.good`: whole as far as names, sizes and the manifest
show, and not found damaged by its last verification. *Proven* is one whose rows were read back and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from pgvector_backup.engine.base.errors import NotFound, StorageFault
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets.found import FoundSet


class Provable(Protocol):
    """What can be proven: a set, or what a plan knows of one."""

    @property
    def age(self) -> tuple[float, str]:
        """What sets are sorted by."""

    @property
    def proven(self) -> datetime | None:
        """When its rows were last compared; None: never."""


_Set = TypeVar("_Set", bound=Provable)


def several_databases(sets: Iterable[FoundSet]) -> bool:
    """Whether the sets that can be relied on are of more than one database."""
    sources = [one.source for one in sets if one.good and one.source is not None]
    return any(not one.is_database_of(sources[0]) for one in sources[1:])


def by_database(sets: Sequence[FoundSet]) -> list[list[FoundSet]]:
    """The sets of each database, the newest first; one whose manifest cannot be read is with those of the newest.

    :param sets: of one location, the newest first
    """
    groups: list[list[FoundSet]] = []
    for one in sets:
        for group in groups:
            known = next((other.source for other in group if other.source is not None), None)
            if one.source is None or known is None or one.source.is_database_of(known):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def newest_good(sets: Iterable[FoundSet], *, of: Source | None = None) -> FoundSet | None:
    """The newest good set; one that a restore has saved of what it replaced is meant only where there is no other.

    It holds what somebody wanted to be rid of, and is newer than the set that was restored in its place.

    :param of: of this database alone; None: of whichever
    """
    good = [one for one in sets if one.good and (of is None or of.is_database_of(one.source))]
    made = [one for one in good if one.saved_before is None]
    return max(made or good, key=lambda one: one.age, default=None)


def newest_proven(good: Iterable[_Set]) -> _Set | None:
    """The newest of some good sets of which it is not only hoped that they can be restored.

    :param good: as their caller sees it; one that was proven and is damaged since is not among them
    """
    return max((one for one in good if one.proven is not None), key=lambda one: one.age, default=None)


def newest(sets: Sequence[FoundSet]) -> FoundSet | None:
    """The set that a location is trusted for: its newest, damaged or not.

    One that lacks a table has failed loudly when it was made; it counts only where there is no other. So do the files
    of other tools.
    """
    ours = [one for one in sets if one.manifest_file is not None]
    complete = [one for one in ours if not one.failed_tables]
    return max(complete or ours or sets, key=lambda one: one.age, default=None)


def latest(sets: Sequence[FoundSet], place: str, *, of: Source | None = None) -> FoundSet:
    """What ``latest`` means to whoever restores: the newest good set; where all are another tool's, the newest.

    :param sets: of one location
    :param place: what it is called
    :param of: the database that it is for. Sets of others are taken where none of them is of it
    :raises NotFound: saying why there is none
    :raises StorageFault: where that is not known, for what lies there could not be read
    """
    found = (newest_good(sets, of=of) if of is not None else None) or newest_good(sets)
    if found is None:
        found = max((one for one in sets if one.manifest_file is None), key=lambda one: one.age, default=None)
    if found is None:
        for one in sets:
            if one.unread is not None:
                raise StorageFault(f"{place}: none of its sets is known to be whole; {one.backup_id}: {one.unread}")
        why = "none of its sets is whole" if sets else "it holds no set"
        raise NotFound(f"{place}: {why}; make a backup, or name a set by its timestamp")
    return found


def in_place_of(sets: Iterable[FoundSet], one: FoundSet) -> str:
    """What to take in the place of a set that is of no use, in words that follow what is wrong with it."""
    others = [other for other in sets if other.backup_id != one.backup_id]
    older = [other for other in others if other.moment <= one.moment]
    found = newest_good(older, of=one.source) or newest_good(others, of=one.source)
    if found is None:
        return f"no set of {one.relative_path} that is known to be whole could take its place"
    return f"the next whole set is {found.backup_id} of {found.created_at}"
