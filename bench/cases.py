"""What is measured: groups of contenders that take turns on the same server."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil

from bench import contenders as c
from bench.contenders import Contender
from bench.data import Dataset, provide
from bench.measure import Measured, RunFailed, fresh_directory, measure
from bench.network import Connection, reach

_SLOW_ROUNDS: Final = 3

FAILED: Final = "failed"


@dataclass(frozen=True)
class Entry:
    """One contender on one table."""

    contender: Contender
    dataset: Dataset


@dataclass(frozen=True)
class Group:
    """Contenders measured in turns, A B C A B C, so that whatever else changes meets all of them alike.

    :param key: what ``--cases`` calls it
    :param entries: the first is what the others are compared with
    :param version: of the server
    """

    key: str
    title: str
    entries: tuple[Entry, ...]
    connection: Connection = "socket"
    version: int = 18


@dataclass
class Line:
    """All runs of one entry, by round; ``absent`` says why there are no more."""

    contender: str
    label: str
    dataset: str
    runs: dict[int, Measured]
    absent: str | None = None

    def median(self, field: str) -> float:
        """The median of one of `Measured`'s fields."""
        return float(statistics.median(getattr(run, field) for run in self.runs.values()))


@dataclass(frozen=True)
class Outcome:
    """What a group's runs gave."""

    key: str
    title: str
    note: str
    lines: list[Line]

    def line(self, contender: Contender, dataset: str | None = None) -> Line | None:
        """A contender's runs; None where there are none."""
        for line in self.lines:
            if line.contender == contender.key and dataset in (None, line.dataset) and line.runs:
                return line
        return None

    def to_json(self) -> dict[str, Any]:
        """For the file of raw measurements."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Outcome:
        """Read what `to_json` made."""
        lines = [
            Line(**{**line, "runs": {int(number): Measured(**run) for number, run in line["runs"].items()}})
            for line in raw["lines"]
        ]
        return cls(**{**raw, "lines": lines})


def ratios(above: Line, below: Line, field: str = "wall") -> list[float]:
    """Round by round, how many times ``below`` goes into ``above``."""
    return [getattr(above.runs[n], field) / getattr(below.runs[n], field) for n in above.runs if n in below.runs]


_EVERYBODY: Final = (
    c.OURS_CSV,
    c.OURS_CSV_1,
    c.OURS_BINARY,
    c.OURS_ZSTD,
    c.OURS_BINARY_ZSTD,
    c.PSQL_CSV,
    c.PSQL_BINARY,
    c.PG_DUMP_DIRECTORY,
    c.PG_DUMP_CUSTOM,
    c.CLIENT_CURSOR,
    c.PANDAS,
    c.DUCKDB,
    c.ADBC,
)
_ON_LARGE_TABLES: Final = (c.OURS_CSV, c.OURS_BINARY, c.OURS_ZSTD, c.PSQL_CSV, c.PSQL_BINARY, c.PG_DUMP_DIRECTORY)
"""Most of the others would hold the whole table in memory, or take many minutes."""

_OVER_NETWORKS: Final = (c.OURS_CSV, c.OURS_BINARY, c.PSQL_CSV, c.PSQL_BINARY, c.PG_DUMP_DIRECTORY)
_PROOF: Final = (c.OURS_CSV, c.UNPROVEN_CSV, c.OURS_BINARY, c.UNPROVEN_BINARY, c.START)


def plan(*, full: bool, rows: int | None = None) -> list[Group]:
    """The groups of ``make bench`` or ``make bench-full``.

    :param rows: in place of each table's size, to try things out
    """
    wide = Dataset(rows or (100_000 if full else 25_000), 1536)
    narrow = Dataset(rows or 100_000, 384)
    larger = Dataset(4 * wide.rows, 1536)
    sizes = [wide, larger]
    on_larger: tuple[Contender, ...] = _ON_LARGE_TABLES
    # The goals are about this one: of a small table, the start of a Python process, which no task of Airflow pays for,
    # is a tenth of the time.
    judged = wide if full else larger
    if full:
        sizes.insert(0, Dataset(max(1, wide.rows // 4), 1536))
    else:
        on_larger += (c.CLIENT_CURSOR,)  # 2 GB in memory, of four times the rows 9
    groups = [
        _group("wide", f"{wide}, Unix socket", _EVERYBODY, wide),
        _group("large", f"{larger}, Unix socket", on_larger, larger),
        _group("narrow", f"{narrow}, Unix socket", _EVERYBODY, narrow),
        _group("zstd", f"CSV + zstd, {judged}, Unix socket", (c.OURS_ZSTD, c.PG_DUMP_ZSTD), judged, version=16),
        _group("proof", f"What the proof costs, {judged}, Unix socket", _PROOF, judged),
        _group("tcp", f"{judged}, TCP on one machine", _OVER_NETWORKS, judged, connection="tcp"),
        _group("proof_tcp", f"What the proof costs, {judged}, TCP on one machine", _PROOF, judged, connection="tcp"),
        Group("rows", "More rows, Unix socket", tuple(Entry(c.OURS_CSV, size) for size in sizes)),
    ]
    if not full:
        # Where a process's start no longer counts; a full run has all of them on a table of this size.
        vast = Dataset(4 * larger.rows, 1536)
        groups.append(_group("vast", f"{vast}, Unix socket", (c.OURS_BINARY, c.PSQL_BINARY), vast))
    if full:
        slow_line = f"{wide}, TCP with 2 ms there and back"
        groups.append(_group("delay", slow_line, _OVER_NETWORKS, wide, connection="delay"))
    return groups


def _group(
    key: str,
    title: str,
    who: Sequence[Contender],
    dataset: Dataset,
    *,
    connection: Connection = "socket",
    version: int = 18,
) -> Group:
    return Group(key, title, tuple(Entry(one, dataset) for one in who), connection, version)


def run(group: Group, rounds: int) -> Outcome:
    """Measure a group: a round to warm up, then ``rounds`` that count."""
    print(f"{group.key}: {group.title}", flush=True)
    with reach(group.version, group.connection) as reached:
        for dataset in dict.fromkeys(entry.dataset for entry in group.entries):
            provide(reached.server, dataset)
        server = psutil.Process(int((reached.server.pgdata / "postmaster.pid").read_text().split()[0]))
        lines = [
            Line(entry.contender.key, entry.contender.label, str(entry.dataset), {}, entry.contender.absent())
            for entry in group.entries
        ]
        for number in range(rounds + 1):
            for entry, line in _present(group.entries, lines):
                contender = entry.contender
                if contender.slow and not 0 < number <= _SLOW_ROUNDS:
                    continue
                target = reached.target(entry.dataset.database)
                try:
                    measured = measure([*target.prefix, *contender.command(target)], fresh_directory(), server)
                except RunFailed as failure:
                    print(f"  FAILED: {line.label}: {failure}", flush=True)
                    line.absent = FAILED
                    line.runs.clear()
                    continue
                shown = f"{measured.wall:8.3f} s {measured.rss / 2**20:8.1f} MiB"
                print(f"  {number or 'warm-up'} {shown}  {line.label}, {line.dataset}", flush=True)
                if number:
                    line.runs[number] = measured
        fresh_directory()
        note = reached.note
    if group.version != 18:
        note = (
            f"On PostgreSQL {group.version}: the embedded server's own pg_dump is built without zstd, and the one of "
            "another wheel that has it, of version 17, reads no newer server"
        )
    return Outcome(group.key, group.title, note, lines)


def _present(entries: Sequence[Entry], lines: Sequence[Line]) -> Iterator[tuple[Entry, Line]]:
    # Asked anew for each: one that has failed is not run again.
    return ((entry, line) for entry, line in zip(entries, lines, strict=True) if line.absent is None)
