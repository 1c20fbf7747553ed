"""Numbers that tell when all is not well, computed from the sets as they lie there at this moment.

Names and labels are Prometheus'. Nothing is kept between two looks: a number that was pushed once goes on saying that
all is well. What cannot be seen has no number at all, rather than a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.choice import newest_good, newest_proven
from pgvector_backup.engine.sets.found import PROVING, FoundLocation, FoundSet

_PREFIX: Final = "pgvector_backup_"

_HELP: Final[dict[str, str]] = {
    "store_up": "1 if the backup root could be read just now; without it nothing else is told.",
    "last_good_timestamp_seconds": "When the newest whole set was made.",
    "newest_proven_timestamp_seconds": "When the newest whole set was made of which rows have been compared.",
    "last_proven_timestamp_seconds": "When rows of a set were last compared with its manifest, by a verify or a drill.",
    "last_drilled_timestamp_seconds": "When a set was last restored into a scratch database and compared.",
    "rows": "Rows of a table in the newest whole set.",
    "bytes": "Bytes of a table's file in the newest whole set.",
    "duration_seconds": "How long the run took that made the newest whole set, where that is known.",
    "throughput_bytes_per_second": "Bytes before compression, by that duration.",
    "chain_length": "Sets that a restore of the newest whole set reads: 1 for a full one.",
    "sets": "Sets that lie there, by whether they are whole.",
    "kept_bytes": "Bytes of all sets.",
    "free_bytes": "Bytes that can still be stored, where the store can say.",
}


@dataclass
class Family:
    """One gauge with all its samples: labels, and a value."""

    name: str
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)


DurationsOf = Callable[[Sequence[FoundSet]], Sequence["float | None"]]
"""How long the runs took that made some sets, in seconds; None where nobody knows."""


def gauges(catalog: Catalog, durations_of: DurationsOf = lambda sets: [None] * len(sets)) -> list[Family]:
    """Every gauge. A store that cannot be read is told by ``store_up`` alone."""
    families = {name: Family(_PREFIX + name, text) for name, text in _HELP.items()}
    try:
        places = catalog.locations()
    except BackupError:
        families["store_up"].samples.append(({}, 0))
        return [families["store_up"]]
    families["store_up"].samples.append(({}, 1))
    newest: list[tuple[Mapping[str, str], FoundSet]] = []
    for place in places:
        for name, labels, value in _of_place(place, newest):
            families[name].samples.append((labels, value))
    for (labels, one), seconds in zip(newest, durations_of([one for _, one in newest]), strict=True):
        if seconds:
            families["duration_seconds"].samples.append((labels, seconds))
            raw = sum(table.bytes if table.raw_bytes is None else table.raw_bytes for table in one.tables)
            families["throughput_bytes_per_second"].samples.append((labels, raw / seconds))
    return [one for one in families.values() if one.samples]


def _of_place(
    place: FoundLocation, newest_of_each: list[tuple[Mapping[str, str], FoundSet]]
) -> Iterator[tuple[str, Mapping[str, str], float]]:
    where = {"location": place.location.relative_path}
    with suppress(BackupError):
        free = place.location.free_bytes()
        if free is not None:
            yield "free_bytes", where, free
    groups: dict[tuple[str, str], list[FoundSet]] = {}
    for one in place.sets:
        if one.manifest_file is not None:
            groups.setdefault(_database(one), []).append(one)
    for (database, server), sets in groups.items():
        labels = {**where, "database": database, "server": server}
        good = [one for one in sets if one.good]
        yield "sets", {**labels, "whole": "true"}, len(good)
        yield "sets", {**labels, "whole": "false"}, len(sets) - len(good)
        yield "kept_bytes", labels, sum(one.bytes for one in sets)
        if (proven := newest_proven(good)) is not None:
            yield "newest_proven_timestamp_seconds", labels, proven.moment
        if good:
            newest = newest_good(good)
            assert newest is not None
            newest_of_each.append((labels, newest))
            yield "last_good_timestamp_seconds", labels, newest.moment
            if newest.chain_length is not None:
                yield "chain_length", labels, newest.chain_length
            for table in newest.tables:
                if table.rows is not None:
                    yield "rows", {**labels, "table": table.name}, table.rows
                yield "bytes", {**labels, "table": table.name}, table.bytes
        for name, depths in (("last_proven", PROVING), ("last_drilled", ("drill",))):
            if moments := [when.timestamp() for one in sets if (when := one.passed_at(*depths)) is not None]:
                yield f"{name}_timestamp_seconds", labels, max(moments)


def _database(one: FoundSet) -> tuple[str, str]:
    """Name of the database and the server's identifier; empty where nobody knows."""
    if one.identity is None:
        return "", ""
    server, _, database = one.identity[:3]
    return str(database), "" if server is None else str(server)
