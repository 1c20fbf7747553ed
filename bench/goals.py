"""What the engine is to reach, each figure beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench import contenders as c
from bench.cases import Outcome, ratios
from bench.contenders import Contender
from bench.dag_runs import DagRuns


@dataclass(frozen=True)
class Goal:
    """One line of the table.

    :param bound: e.g. ``≥ 1.3×``
    :param measured: the median of the pairs of runs, the least and the greatest
    :param met: None where nothing could be measured
    """

    case: str
    bound: str
    measured: str
    met: bool | None


_AGAINST: Final = (
    (("large",), "CSV, jobs=2, against `psql \\copy` CSV", c.OURS_CSV, c.PSQL_CSV, 1.3),
    (("large",), "CSV, jobs=2, against `pg_dump -Fd -j2 -Z0`", c.OURS_CSV, c.PG_DUMP_DIRECTORY, 1.25),
    (("large", "wide"), "CSV, jobs=2, against the client-cursor way", c.OURS_CSV, c.CLIENT_CURSOR, 5.0),
    (("large",), "binary, jobs=2, against `psql \\copy` CSV", c.OURS_BINARY, c.PSQL_CSV, 3.0),
    (("large",), "binary, jobs=2, against `psql \\copy` binary", c.OURS_BINARY, c.PSQL_BINARY, 1.0),
    (("vast",), "binary, jobs=2, against `psql \\copy` binary", c.OURS_BINARY, c.PSQL_BINARY, 1.0),
    (("tcp",), "CSV, jobs=2, against `psql \\copy` CSV, over TCP", c.OURS_CSV, c.PSQL_CSV, 1.3),
    (("tcp",), "CSV, jobs=2, against `pg_dump -Fd -j2 -Z0`, over TCP", c.OURS_CSV, c.PG_DUMP_DIRECTORY, 1.25),
    (("tcp",), "binary, jobs=2, against `psql \\copy` binary, over TCP", c.OURS_BINARY, c.PSQL_BINARY, 1.0),
    (("zstd",), "CSV + zstd, jobs=2, against `pg_dump -Fd -j2 --compress=zstd:1`", c.OURS_ZSTD, c.PG_DUMP_ZSTD, 1.2),
)
_MEMORY: Final = 80 * 2**20
_GROWTH: Final = 4.2
_PROOF_SHARE: Final = 0.2
_DAG_SECONDS: Final = 1.0


def goals(outcomes: Mapping[str, Outcome], dag_runs: DagRuns | None) -> Iterator[Goal]:
    """Every goal whose group was run."""
    for keys, case, ours, other, at_least in _AGAINST:
        groups = [outcomes[key] for key in keys if key in outcomes]
        if groups:
            # The first group that has both; the table of which it is about stands in the line.
            group = next((one for one in groups if one.line(ours) and one.line(other)), groups[0])
            yield _against(group, case, ours, other, at_least)
    if "rows" in outcomes:
        yield from _rows(outcomes["rows"])
    for key, way in (("proof", ""), ("proof_tcp", ", over TCP")):
        if key in outcomes:
            yield _proof(outcomes[key], f"CSV{way}", c.OURS_CSV, c.UNPROVEN_CSV)
            yield _proof(outcomes[key], f"binary{way}", c.OURS_BINARY, c.UNPROVEN_BINARY)
    if dag_runs is not None:
        beyond = dag_runs.beyond
        case = f"a whole DAG run of {dag_runs.documents} documents, trigger to result, beyond three tasks doing nothing"
        yield Goal(
            case, f"≤ {_DAG_SECONDS:.0f} s", spread(beyond, "{:.2f} s"), statistics.median(beyond) <= _DAG_SECONDS
        )


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median and, in brackets, the least and the greatest value."""
    bare = form[: form.index("}") + 1]  # without the unit
    return f"{form.format(statistics.median(values))} ({bare.format(min(values))}–{bare.format(max(values))})"


def _against(outcome: Outcome, case: str, ours: Contender, other: Contender, at_least: float) -> Goal:
    bound = f"≥ {at_least:g}×"
    us, them = outcome.line(ours), outcome.line(other)
    if us is None or them is None:
        reasons = [line.absent for line in outcome.lines if line.absent and line.contender in (ours.key, other.key)]
        return Goal(case, bound, "; ".join(reasons) or "not measured", None)
    values = ratios(them, us)
    return Goal(f"{case}; {us.dataset}", bound, spread(values, "{:.2f}×"), statistics.median(values) >= at_least)


def _rows(outcome: Outcome) -> Iterator[Goal]:
    lines = [line for line in outcome.lines if line.runs]
    if len(lines) < len(outcome.lines):
        return
    peaks = {line.dataset: max(run.rss for run in line.runs.values()) for line in lines}
    yield Goal(
        "peak RSS of the engine's process, jobs=2, any number of rows",
        f"≤ {_MEMORY >> 20} MiB",
        ", ".join(f"{peak / 2**20:.1f} MiB at {dataset}" for dataset, peak in peaks.items()),
        max(peaks.values()) <= _MEMORY,
    )
    smaller, larger = lines[-2:]
    values = ratios(larger, smaller)
    case = f"4 times the rows ({smaller.dataset} → {larger.dataset}), time"
    yield Goal(case, f"≤ {_GROWTH:g}×", spread(values, "{:.2f}×"), statistics.median(values) <= _GROWTH)


def _proof(outcome: Outcome, name: str, whole: Contender, unproven: Contender) -> Goal:
    case, bound = f"checksum + fingerprint + fsync, share of the whole, {name}", f"≤ {100 * _PROOF_SHARE:.0f} %"
    with_it, without = outcome.line(whole), outcome.line(unproven)
    if with_it is None or without is None:
        return Goal(case, bound, "not measured", None)
    values = [100 * (1 - share) for share in ratios(without, with_it)]
    return Goal(
        f"{case}; {with_it.dataset}", bound, spread(values, "{:.0f} %"), statistics.median(values) <= 100 * _PROOF_SHARE
    )
