"""Measurements as a page: ``RESULTS.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.all_goals import all_goals
from bench.cases import Line, Outcome, ratios
from bench.dag_runs import DagRuns
from bench.goals import spread

_HOW: Final = """\
Every figure is a median; the least and the greatest are in brackets. The contenders of a table take turns, A B C,
A B C, after one round to warm up; a ratio is taken within each round, and then its median. Each run is a process of
its own, start included, and writes both of LangChain's tables into a fresh directory of the same file system; before
each run, what earlier ones left to be written is flushed, and no cache is dropped. The server runs on the same machine.

This engine's runs end when checksums, fingerprints, index and manifest are written and everything is fsynced. The
others' runs end when they have handed their files to the kernel; none of them fsyncs, except `pg_dump`, which does.

- wall: seconds; ratio: how many times as long as the table's first line, so more than 1 is slower
- client CPU, server CPU: seconds of user and system time, of the contender with its children, and of all of the
  server's processes
- peak RSS: of the contender's largest process; at least about 6 MiB, which the kernel counts from
  before its start
- bytes: of the files it left
- client-side cursor: psycopg 2's ordinary cursor, which holds the whole result, and Python's `csv.writer`
- DuckDB's and ADBC's readers, pandas and the cursor run on a Python environment of their own and bring their own libpq;
  `psql` and `pg_dump` are the embedded server's
- the slow ones (`pg_dump -Fc`, the cursor, pandas, DuckDB, ADBC) run at most three times and without a warm-up

The rows: normally distributed vectors of length 1 as four-byte floats, documents of about 500 characters, metadata of
four keys.
"""


def page(
    machine: Mapping[str, str], outcomes: Mapping[str, Outcome], dag_runs: DagRuns | None, command: str, *, notes: bool
) -> str:
    """The whole page, in Markdown.

    :param command: what repeats the measurement
    :param notes: whether there is a page that tells what bounds the goals not met
    """
    parts = ["# Measurements", f"Written by `{command}`, which repeats them.", "![the chart](chart.svg)"]
    parts += ["## Goals", "\n".join(_goals(outcomes, dag_runs))]
    if notes:
        parts.append("What bounds the goals that are not met: [NOTES.md](NOTES.md).")
    parts += ["## How it was measured", _HOW.strip(), "## Machine"]
    parts.append("\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in machine.items())]))
    for outcome in outcomes.values():
        parts += [f"## {outcome.title}", *([f"{outcome.note}."] if outcome.note else []), "\n".join(_table(outcome))]
    if dag_runs is not None:
        parts += ["## Whole DAG runs", "\n".join(_dag_runs(dag_runs))]
    return "\n\n".join(parts) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file as UTF-8."""
    path.write_text(text, encoding="utf-8")


def _goals(outcomes: Mapping[str, Outcome], dag_runs: DagRuns | None) -> Iterator[str]:
    yield "| case | goal | measured: median (least–greatest) | met |"
    yield "|---|---|---|---|"
    words = {True: "yes", False: "**no**", None: "–"}
    for goal in all_goals(outcomes, dag_runs):
        yield f"| {goal.case} | {goal.bound} | {goal.measured} | {words[goal.met]} |"


def _table(outcome: Outcome) -> Iterator[str]:
    several = len({line.dataset for line in outcome.lines}) > 1
    yield "| | runs | wall | ratio | client CPU | server CPU | peak RSS | bytes |"
    yield "|---|---|---|---|---|---|---|---|"
    first = next((line for line in outcome.lines if line.runs), None)
    for line in outcome.lines:
        name = f"{line.label}, {line.dataset}" if several else line.label
        if first is None or line.absent or not line.runs:
            yield f"| {name} | – | {line.absent or 'not run'} | | | | | |"
        else:
            yield f"| {name} | {' | '.join(_cells(line, first))} |"


def _cells(line: Line, first: Line) -> Iterator[str]:
    yield str(len(line.runs))
    yield spread([run.wall for run in line.runs.values()])
    yield "1" if line is first else spread(ratios(line, first))
    yield f"{line.median('client_cpu'):.2f}"
    yield f"{line.median('server_cpu'):.2f}"
    yield f"{line.median('rss') / 2**20:.1f} MiB"
    yield f"{line.median('bytes') / 1e6:,.1f} MB"


def _dag_runs(runs: DagRuns) -> Iterator[str]:
    yield (
        "Seconds from the trigger over the REST API to the result, `airflow standalone` with SQLite; the scheduler's "
        "pause between two looks for work is shortened to 0.1 s for both, because its default of 1 s would drown the "
        "difference.\n"
    )
    yield "| | runs | wall |"
    yield "|---|---|---|"
    yield f"| `pgvector_backup`, {runs.documents} documents | {len(runs.backup)} | {spread(runs.backup)} |"
    yield f"| three tasks that do nothing | {len(runs.nothing)} | {spread(runs.nothing)} |"
    yield f"| the difference, pair by pair | {len(runs.beyond)} | {spread(runs.beyond)} |"
