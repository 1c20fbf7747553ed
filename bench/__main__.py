"""``python -m bench``: measure, then write ``RESULTS.md`` and ``chart.svg``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from bench import cases, dag_runs, machine, report, restore_cases
from bench.all_goals import all_goals
from bench.cases import FAILED, Outcome
from bench.chart import chart
from bench.dag_runs import DagRuns
from bench.places import DIRECTORY, RAW, install_readers

_AIRFLOW = "airflow"


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="larger tables, more rounds, every connection")
    parser.add_argument("--cases", nargs="+", metavar="KEY", help="only these: wide, zstd, …, airflow")
    parser.add_argument("--rows", type=int, help="rows of each table, to try things out")
    parser.add_argument("--pairs", type=int, help="rounds that count")
    parser.add_argument("--keep", action="store_true", help="take what is not measured now from the run before")
    parser.add_argument("--output", type=Path, help="directory of RESULTS.md; bench/ if everything was measured")
    asked = parser.parse_args()
    groups = cases.plan(full=asked.full, rows=asked.rows)
    restores = restore_cases.plan(full=asked.full, rows=asked.rows)
    known = [*(group.key for group in groups), *(group.key for group in restores), _AIRFLOW]
    wanted = known if asked.cases is None else asked.cases
    if unknown := set(wanted) - set(known):
        parser.error(f"--cases: {', '.join(sorted(unknown))}: not one of {', '.join(known)}")

    DIRECTORY.mkdir(exist_ok=True)
    install_readers()
    raw: dict[str, Any] = {"plan": [asked.full, asked.rows], "groups": {}, "airflow": None}
    if asked.keep and RAW.exists():
        before = json.loads(RAW.read_text())
        if before["plan"] != raw["plan"]:
            parser.error("--keep: the run before was of other tables")
        raw = before
    raw["machine"] = machine.describe()
    rounds = asked.pairs or (5 if asked.full else 3)
    for group in groups:
        if group.key in wanted:
            raw["groups"][group.key] = cases.run(group, rounds).to_json()
            _save(raw)
    for restored in restores:
        if restored.key in wanted:
            raw["groups"][restored.key] = restore_cases.run(restored, rounds).to_json()
            _save(raw)
    if _AIRFLOW in wanted:
        raw["airflow"] = dataclasses.asdict(dag_runs.run(asked.pairs if asked.rows else None))
        _save(raw)

    if asked.output is not None:
        asked.output.mkdir(parents=True, exist_ok=True)
    everything = asked.rows is None and set(known) <= {*raw["groups"], *([_AIRFLOW] if raw["airflow"] else [])}
    output = asked.output or (Path(__file__).parent if everything else DIRECTORY)
    command = "make bench-full" if asked.full else "make bench"
    changes = [f"--{name} {value}" for name in ("rows", "pairs") if (value := getattr(asked, name)) is not None]
    if changes:
        command += f' ARGS="{" ".join(changes)}"'
    failed = _write(raw, known, command, output)
    return 1 if failed else 0


def _save(raw: dict[str, Any]) -> None:
    """After each group, so that what was measured outlives an interrupted run."""
    RAW.write_text(json.dumps(raw, indent=1, ensure_ascii=False))


def _write(raw: dict[str, Any], order: list[str], command: str, output: Path) -> bool:
    """Write the page and the chart, print the goals; whether a contender has failed."""
    outcomes = {key: Outcome.from_json(raw["groups"][key]) for key in order if key in raw["groups"]}
    runs = None if raw["airflow"] is None else DagRuns.from_json(raw["airflow"])
    notes = (output / "NOTES.md").exists()
    report.write(output / "RESULTS.md", report.page(raw["machine"], outcomes, runs, command, notes=notes))
    if outcomes:
        report.write(output / "chart.svg", chart(next(iter(outcomes.values()))))
    print(f"\nwritten: {output / 'RESULTS.md'}\n")
    for goal in all_goals(outcomes, runs):
        word = {True: "met", False: "NOT MET", None: "-"}[goal.met]
        print(f"{word:8} {goal.case}: goal {goal.bound}, measured {goal.measured}")
    return any(line.absent == FAILED for outcome in outcomes.values() for line in outcome.lines)


if __name__ == "__main__":
    sys.exit(main())
