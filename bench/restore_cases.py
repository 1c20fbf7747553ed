"""What is measured of restores: groups of contenders that take turns at filling a fresh database."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg

from bench.cases import FAILED, Line, Outcome, ratios
from bench.contenders import Target
from bench.data import KEYS, TABLES, Dataset, provide
from bench.goals import Goal, spread
from bench.measure import RunFailed, fresh_directory, measure
from bench.network import reach
from bench.places import CHECKOUT, DIRECTORY, client_environment
from pgvector_backup.embedded.server import EmbeddedPostgres

_FILES: Final = DIRECTORY / "restores"
_PAIR: Final = ("langchain_pg_collection", "langchain_pg_embedding")
_TARGET: Final = "bench_restored"
_HNSW: Final = "CREATE INDEX ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)"
_SLOW_ROUNDS: Final = 3
_MEMORY: Final = 96 * 2**20


@dataclass(frozen=True)
class Filler:
    """One way to fill the tables from files.

    :param command: what to run, given the files' directory
    :param tables: whether the tables are there before it begins; otherwise it makes them
    :param slow: so slow that three runs without a warm-up have to do
    """

    key: str
    label: str
    command: Callable[[Target, Path], Sequence[str]]
    tables: bool = True
    slow: bool = False


def _ours(key: str, label: str, files: str, *options: str) -> Filler:
    def command(target: Target, directory: Path) -> Sequence[str]:
        root = str(directory / files)
        return [sys.executable, "-m", "bench.ours_restore", "--dsn", target.uri, "--root", root, *options]

    return Filler(key, f"this engine, {label}", command)


def _psql(key: str, label: str, suffix: str, options: str, *, slow: bool = False) -> Filler:
    def command(target: Target, directory: Path) -> Sequence[str]:
        copies = [f"\\copy {table} from '{directory / 'psql' / table}.{suffix}' ({options})" for table in _PAIR]
        return [
            *[str(target.bin / "psql"), "-Xq", "-1", "-v", "ON_ERROR_STOP=1", "-d", target.uri],
            *(part for copy in copies for part in ("-c", copy)),
        ]

    return Filler(key, label, command, slow=slow)


def _pg_restore(target: Target, directory: Path) -> Sequence[str]:
    return [str(target.bin / "pg_restore"), "-j2", "-d", target.uri, str(directory / "dump")]


CSV: Final = _ours("ours_csv", "CSV", "csv")
CSV_BY_SERVER: Final = _ours("ours_csv_by_server", "CSV, parsed by the server", "csv", "--by-server")
BINARY: Final = _ours("ours_binary", "binary", "binary")
PSQL_CSV: Final = _psql("psql_csv", "`psql \\copy from` CSV", "csv", "format csv, header")
PSQL_BINARY: Final = _psql("psql_binary", "`psql \\copy from` binary", "pgcopy", "format binary")
PSQL_CSV_INDEXED: Final = _psql(
    "psql_csv_indexed", "`psql \\copy from` CSV, into the index", "csv", "format csv, header", slow=True
)
PG_RESTORE: Final = Filler("pg_restore", "`pg_restore -Fd -j2`", _pg_restore, tables=False)


@dataclass(frozen=True)
class RestoreGroup:
    """Contenders that fill the same empty tables in turns.

    :param entries: the first is what the others are compared with
    :param hnsw: whether the tables have an HNSW index when the filling begins
    """

    key: str
    title: str
    entries: tuple[tuple[Filler, Dataset], ...]
    hnsw: bool = False


def plan(*, full: bool, rows: int | None = None) -> list[RestoreGroup]:
    """The groups of ``make bench`` or ``make bench-full``."""
    wide = Dataset(rows or 100_000, 1536)
    indexed = Dataset(rows or 20_000, 1536)
    smaller = Dataset(max(1, wide.rows // 4), 1536)
    fillers = (CSV, CSV_BY_SERVER, BINARY, PSQL_CSV, PSQL_BINARY, PG_RESTORE)
    sizes = [smaller, wide, *([Dataset(4 * wide.rows, 1536)] if full else [])]
    memory = tuple((filler, size) for filler in (CSV, BINARY) for size in sizes)
    return [
        RestoreGroup("restore", f"Restore, {wide}, Unix socket", tuple((one, wide) for one in fillers)),
        RestoreGroup(
            "restore_hnsw",
            f"Restore with an HNSW index, {indexed}, Unix socket",
            tuple((one, indexed) for one in (CSV, BINARY, PSQL_CSV_INDEXED)),
            hnsw=True,
        ),
        RestoreGroup("restore_rows", "Restore, more rows, Unix socket", memory),
    ]


def run(group: RestoreGroup, rounds: int) -> Outcome:
    """Measure a group: a round to warm up, then ``rounds`` that count."""
    print(f"{group.key}: {group.title}", flush=True)
    with reach(18, "socket") as reached:
        server = psutil.Process(int((reached.server.pgdata / "postmaster.pid").read_text().split()[0]))
        lines = [Line(filler.key, filler.label, str(dataset), {}) for filler, dataset in group.entries]
        for number in range(rounds + 1):
            for (filler, dataset), line in zip(group.entries, lines, strict=True):
                if line.absent or (filler.slow and not 0 < number <= _SLOW_ROUNDS):
                    continue
                files = _provide_files(reached.server, dataset, reached.target(dataset.database))
                _fresh_database(reached.server, dataset, tables=filler.tables, hnsw=group.hnsw)
                target = reached.target(_TARGET)
                try:
                    measured = measure(filler.command(target, files), fresh_directory(), server)
                    _check(reached.server, dataset)
                except RunFailed as failure:
                    print(f"  FAILED: {line.label}: {failure}", flush=True)
                    line.absent = FAILED
                    line.runs.clear()
                    continue
                shown = f"{measured.wall:8.3f} s {measured.rss / 2**20:8.1f} MiB"
                print(f"  {number or 'warm-up'} {shown}  {line.label}, {line.dataset}", flush=True)
                if number:
                    line.runs[number] = measured
        with psycopg.connect(reached.server.dsn, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {_TARGET} WITH (FORCE)")
    shutil.rmtree(_FILES, ignore_errors=True)
    note = (
        "Into empty tables that have their keys and no further index; `pg_restore` makes them itself, and the keys "
        "after the rows"
    )
    if group.hnsw:
        note = "Into empty tables with an HNSW index"
    return Outcome(group.key, group.title, note, lines)


def _provide_files(server: EmbeddedPostgres, dataset: Dataset, source: Target) -> Path:
    """The table as each contender's own tool writes it, unless this run has already."""
    directory = _FILES / dataset.database
    if directory.exists():
        return directory
    provide(server, dataset)
    print(f"writing the files of {dataset} …", flush=True)
    writing = _FILES / "writing"
    shutil.rmtree(writing, ignore_errors=True)
    (writing / "psql").mkdir(parents=True)
    for file_format in ("csv", "binary"):
        command = ["-m", "bench.ours", "--dsn", source.uri, "--root", str(writing / file_format)]
        _do([sys.executable, *command, "--file-format", file_format])
    copies = [
        f"\\copy {table} to '{writing / 'psql' / table}.{suffix}' ({options})"
        for table in _PAIR
        for suffix, options in (("csv", "format csv, header"), ("pgcopy", "format binary"))
    ]
    _do([str(source.bin / "psql"), "-Xq", "-d", source.uri, *(part for copy in copies for part in ("-c", copy))])
    _do([str(source.bin / "pg_dump"), "-Fd", "-Z0", "-j2", "-f", str(writing / "dump"), "-d", source.uri])
    writing.rename(directory)
    return directory


def _do(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, env=client_environment(), cwd=CHECKOUT)


def _fresh_database(server: EmbeddedPostgres, dataset: Dataset, *, tables: bool, hnsw: bool) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {_TARGET} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {_TARGET} TEMPLATE template0")
    if tables:
        with psycopg.connect(server.uri(_TARGET), autocommit=True) as conn:
            conn.execute("CREATE EXTENSION vector")
            for statement in (TABLES.format(dimensions=dataset.dimensions) + KEYS).split(";"):
                conn.execute(statement)
            if hnsw:
                conn.execute(_HNSW)
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CHECKPOINT")


def _check(server: EmbeddedPostgres, dataset: Dataset) -> None:
    with psycopg.connect(server.uri(_TARGET)) as conn:
        row = conn.execute("SELECT count(*) FROM langchain_pg_embedding").fetchone()
    if row != (dataset.rows,):
        raise RunFailed(f"{row} rows are there, not {dataset.rows}")


_AGAINST: Final = (
    ("restore", "restore of CSV against `psql \\copy from` CSV", CSV, PSQL_CSV, 1.5),
    ("restore", "restore of CSV against `pg_restore -Fd -j2`", CSV, PG_RESTORE, 1.3),
    ("restore", "restore of binary against `psql \\copy from` CSV", BINARY, PSQL_CSV, 4.0),
    ("restore_hnsw", "restore of CSV, HNSW present, against COPY into the index", CSV, PSQL_CSV_INDEXED, 2.0),
)


def goals(outcomes: Mapping[str, Outcome]) -> Iterator[Goal]:
    """Every goal of restores whose group was run."""
    for key, case, ours, other, at_least in _AGAINST:
        if key in outcomes:
            us, them = _line(outcomes[key], ours), _line(outcomes[key], other)
            bound = f"≥ {at_least:g}×"
            if us is None or them is None:
                yield Goal(case, bound, "not measured", None)
                continue
            values = ratios(them, us)
            met = statistics.median(values) >= at_least
            yield Goal(f"{case}; {us.dataset}", bound, spread(values, "{:.2f}×"), met)
    if "restore_rows" in outcomes:
        lines = [line for line in outcomes["restore_rows"].lines if line.runs]
        peaks = [(line, max(run.rss for run in line.runs.values())) for line in lines]
        if peaks:
            yield Goal(
                "peak RSS of a restore's process, any number of rows",
                f"≤ {_MEMORY >> 20} MiB",
                ", ".join(
                    f"{peak / 2**20:.1f} MiB at {line.dataset} ({line.label.rpartition(', ')[2]})"
                    for line, peak in peaks
                ),
                max(peak for _, peak in peaks) <= _MEMORY,
            )


def _line(outcome: Outcome, filler: Filler) -> Line | None:
    return next((line for line in outcome.lines if line.contender == filler.key and line.runs), None)
