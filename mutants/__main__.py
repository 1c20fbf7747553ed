"""``make mutants``: cosmic-ray over the modules where a wrong line loses data; the outcome goes to docs/mutants.md.

Everything happens in ``.mutants/``: the tool's own environment, and a copy of the checkout, so that no changed line
ever stands in the checkout itself. A module's own tests are asked, not all of them: a guard is to be noticed near it.
Of those, the ones that come to the changed line (`near`): that takes seconds instead of minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = CHECKOUT / ".mutants"
TREE: Final = PLACE / "tree"
PYTHON: Final = CHECKOUT / ".venv" / "bin" / "python"
REPORT: Final = CHECKOUT / "docs" / "mutants.md"
OUTCOMES: Final = Path(__file__).with_name("outcomes.json")
GUARDS: Final = Path(__file__).with_name("guards.json")
TOOL: Final = "cosmic-ray==8.7.0"
TESTED_SINCE: Final = "a test was added after this run"
"""The explanation of a survivor that a test was written for, and was seen to fail with it."""

TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "engine/truncate": ("engine/test_truncate", "engine/test_meetings", "engine/test_second_time"),
    "engine/restore": ("engine/test_choice", "engine/test_restore_requests", "engine/test_meetings"),
    "engine/remove": ("unit/test_remove", "engine/test_catalog", "engine/test_durability"),
    "engine/postgres/transactions": ("engine/test_transaction_ids", "engine/test_truncate"),
    "engine/postgres/snapshot": ("engine/test_remarks", "engine/test_meetings"),
    "engine/postgres/session": ("engine/test_session",),
    "engine/store/naming": ("unit/test_naming",),
    "engine/store/staging": ("unit/test_claims", "engine/test_durability"),
    "engine/store/local_claim": ("unit/test_claims", "engine/test_durability"),
    "engine/store/sweep": ("unit/test_claims",),
    "engine/store/file_locks": ("unit/test_file_locks", "unit/test_claims"),
    "engine/store/disk_file": ("unit/test_disk_file",),
    "engine/codec/fingerprint": ("unit/test_fingerprint",),
    "engine/codec/rows": ("unit/test_rows", "unit/test_binary_rows"),
    "engine/codec/vectors": ("unit/test_vectors", "unit/test_vector_text"),
    "engine/dump/ranges": ("unit/test_page_ranges",),
    "engine/sets/manifest_checks": ("unit/test_manifest",),
    "engine/load/grammar": ("unit/test_grammar",),
    "engine/sets/catalog": ("unit/test_catalog", "engine/test_catalog"),
    "engine/sets/choice": ("unit/test_choice",),
    "engine/sets/found": ("unit/test_found", "unit/test_choice"),
    "engine/sets/policy": ("unit/test_retention",),
    "engine/sets/retention": ("unit/test_retention",),
    "engine/sets/stored_file": ("unit/test_stored_file",),
    "engine/sets/stored_set": ("unit/test_stored_set",),
    "engine/sets/chain": ("unit/test_chain",),
    "engine/dump/increment": ("unit/test_line",),
    "engine/load/provide": ("engine/test_provide",),
    "engine/load/plan": ("engine/test_plan",),
    "engine/load/one_table": ("engine/test_restore_requests", "engine/test_restore_left_out"),
    "engine/load/builds": ("engine/test_restore_indexes",),
    "engine/load/advances": ("engine/test_advances",),
    "engine/load/langchain_pair": ("engine/test_restore_collections",),
    "installation/connections": ("airflow/test_connections",),
    "web/access": ("airflow/web/test_access",),
}
"""A module of the package, and the tests that are to notice what is changed in it."""

FURTHER: Final[dict[str, tuple[str, ...]]] = {
    "engine/restore": ("engine/test_second_time", "engine/test_cancel"),
    "engine/remove": ("engine/test_prune",),
    "engine/postgres/snapshot": ("engine/test_database_faults", "engine/test_connection_cut"),
    "engine/store/staging": ("engine/test_storage_faults", "engine/test_second_time"),
    "engine/store/local_claim": ("engine/test_second_time", "engine/test_concurrent_runs"),
    "engine/store/sweep": ("engine/test_second_time", "engine/test_concurrent_runs"),
    "engine/codec/fingerprint": ("engine/test_backup_round_trip",),
    "engine/codec/rows": ("engine/test_copy_data",),
    "engine/dump/ranges": ("engine/test_backup_round_trip",),
    "engine/load/grammar": ("engine/test_foreign_definitions",),
    "engine/sets/choice": ("engine/test_choice",),
    "engine/sets/found": ("engine/test_catalog", "engine/test_choice"),
    "engine/load/plan": ("engine/test_restore_requests", "engine/test_restore_refusals"),
    "engine/load/advances": ("engine/test_restore_left_out",),
    "engine/load/langchain_pair": ("engine/test_second_time",),
}
"""Tests that are asked of what those have not noticed: they take longer, or are of more than that module."""

# A union in an annotation is read by nobody at run time: no test can notice its change.
_LEFT_OUT: Final = "core/ReplaceBinaryOperator_BitOr_%"


@dataclass
class Outcome:
    """What became of a module's mutants.

    :param possible: how many the tool knows
    :param survivors: where one was not noticed, and the changed line
    """

    possible: int = 0
    killed: int = 0
    pending: int = 0
    survivors: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many have a verdict."""
        return self.killed + len(self.survivors)


def main() -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser(prog="make mutants ARGS=…", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--sample", type=int, metavar="N", help="try N of a module's mutants, always the same ones")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop a module after so many minutes")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="seconds that one mutant may take")
    asked = parser.parse_args()
    unknown = [name for name in asked.modules if name not in TARGETS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(TARGETS)}")
    _make_environment()
    for module in asked.modules or TARGETS:
        outcome = _try(module, sample=asked.sample, minutes=asked.minutes, timeout=asked.timeout)
        print(f"{module}: {outcome.killed} of {outcome.tried} noticed, {outcome.pending} not tried", flush=True)
        _keep(module, outcome)
    return 0


def _make_environment() -> None:
    """The tool, in an environment that shares nothing with the project's own."""
    tool = PLACE / "env" / "bin" / "cosmic-ray"
    if not tool.exists():
        uv = [str(PYTHON), "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", str(PLACE / "env")], check=True)
        subprocess.run(
            [*uv, "pip", "install", "-q", "--python", str(PLACE / "env" / "bin" / "python"), TOOL], check=True
        )


def _try(module: str, *, sample: int | None, minutes: float | None, timeout: float) -> Outcome:
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in ("plugins", "tests", "dags", "demo", "docs", "mutants", "pyproject.toml", "README.md", "Makefile"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, TREE / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, TREE / name)
    session = PLACE / "session.sqlite"
    session.unlink(missing_ok=True)
    config = _configure(module, TARGETS[module], timeout)
    subprocess.run([str(PLACE / "env" / "bin" / "cosmic-ray"), "init", str(config), str(session)], cwd=TREE, check=True)
    _look(module, TARGETS[module])
    possible = _choose(session, sample)
    until = None if minutes is None else time.monotonic() + minutes * 60
    _execute(config, session, until)
    if module in FURTHER and not _read(session, possible).pending and _ask_again(session):
        config = _configure(module, FURTHER[module], timeout)
        _look(module, FURTHER[module])
        _execute(config, session, until)
    return _read(session, possible)


def _configure(module: str, tests: Iterable[str], timeout: float) -> Path:
    command = shlex.join(_command(tests))
    config = PLACE / "config.toml"
    config.write_text(
        "[cosmic-ray]\n"
        f"module-path = {json.dumps(f'plugins/pgvector_backup/{module}.py')}\n"
        f"timeout = {timeout}\n"
        "excluded-modules = []\n"
        f"test-command = {json.dumps(command)}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    return config


def _command(tests: Iterable[str]) -> list[str]:
    named = [f"tests/{test}.py" for test in tests]
    return [
        str(PYTHON),
        "-m",
        "pytest",
        *["-x", "-q", "-p", "no:cacheprovider", "-p", "mutants.near", "-m"],
        "not slow",
        *named,
    ]


def _look(module: str, tests: Iterable[str]) -> None:
    """Let the tests run on what is unchanged, and see which of them come to which line.

    Tests that fail by themselves would notice everything.
    """
    known = PLACE / "known.json"
    known.unlink(missing_ok=True)
    os.environ["MUTANTS_MODULE"] = f"plugins/pgvector_backup/{module}.py"
    os.environ["MUTANTS_KNOWN"] = str(known)
    subprocess.run(_command(tests), cwd=TREE, check=True)


def _execute(config: Path, session: Path, until: float | None) -> None:
    tool = str(PLACE / "env" / "bin" / "cosmic-ray")
    with subprocess.Popen([tool, "exec", str(config), str(session)], cwd=TREE) as running:
        try:
            running.wait(None if until is None else max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            _end(running.pid)
        else:
            if running.returncode:
                raise SystemExit(f"{TOOL} ended with {running.returncode}")


def _ask_again(session: Path) -> int:
    """Forget the verdict on survivors; how many they are."""
    with closing(sqlite3.connect(session)) as base, base:
        return base.execute("DELETE FROM work_results WHERE lower(test_outcome) = 'survived'").rowcount


def _end(pid: int) -> None:
    """End the tool and the tests that it has begun, which have a session of their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    for child in map(int, children):
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGTERM)


def _choose(session: Path, sample: int | None) -> int:
    """Leave what nobody could notice, and all but the sample, out of a session; how many there were to choose from."""
    with closing(sqlite3.connect(session)) as base, base:
        jobs = [
            row[0]
            for row in base.execute(
                "SELECT job_id FROM mutation_specs WHERE operator_name NOT LIKE ?"
                " ORDER BY start_pos_row, start_pos_col, operator_name, occurrence",
                [_LEFT_OUT],
            )
        ]
        wanted = set(jobs if sample is None else random.Random(0).sample(jobs, min(sample, len(jobs))))  # noqa: S311
        for (job,) in base.execute("SELECT job_id FROM work_items").fetchall():
            if job not in wanted:
                base.execute("DELETE FROM mutation_specs WHERE job_id = ?", [job])
                base.execute("DELETE FROM work_items WHERE job_id = ?", [job])
    return len(jobs)


def _read(session: Path, possible: int) -> Outcome:
    outcome = Outcome(possible=possible)
    with closing(sqlite3.connect(session)) as base:
        rows = base.execute(
            "SELECT s.start_pos_row, s.definition_name, r.test_outcome, r.diff FROM mutation_specs s"
            " LEFT JOIN work_results r USING (job_id) ORDER BY s.start_pos_row"
        ).fetchall()
    for line, where, result, diff in rows:
        if result is None:
            outcome.pending += 1
        elif str(result).lower() == "survived":
            changed = [
                text for text in (diff or "").splitlines() if text.startswith("+") and not text.startswith("+++")
            ]
            outcome.survivors.append(f"{line}, `{where or 'module'}`: `{changed[0][1:].strip() if changed else '?'}`")
        else:
            outcome.killed += 1
    return outcome


def _keep(module: str, outcome: Outcome) -> None:
    """Keep a module's outcome beside those of earlier runs, and write the report."""
    known: dict[str, Any] = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    explained = known.get(module, {}).get("explained", {})
    known[module] = {
        "date": date.today().isoformat(),
        "possible": outcome.possible,
        "killed": outcome.killed,
        "survivors": outcome.survivors,
        "explained": {text: why for text, why in explained.items() if text in outcome.survivors},
    }
    OUTCOMES.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    REPORT.write_text(_report(known), encoding="utf-8")


def _report(known: dict[str, Any]) -> str:
    killed = sum(one["killed"] for one in known.values())
    tried = killed + sum(len(one["survivors"]) for one in known.values())
    share = _share(killed, tried)
    since = sum(why == TESTED_SINCE for one in known.values() for why in one["explained"].values())
    lines = [
        "# Mutants",
        "",
        "`make mutants` changes one thing at a time in the modules where a wrong line loses data, and asks the tests",
        'near that module whether they notice. It takes hours; `make mutants ARGS="engine/truncate --sample 30"`',
        f"takes minutes. The tool is {TOOL.replace('==', ' ')}, in an environment of its own; every mutant lives in a",
        "copy of the checkout below `.mutants/`. Which test comes to which line is recorded first, and of a mutant",
        "only those that come to its line are asked. A sample is always the same one. The page is written by the",
        "command; the explanations are kept in `mutants/outcomes.json`.",
        "",
        f"**{killed} of the {tried} mutants that were tried were noticed{share}**; with the tests that were written",
        f"for survivors since, {killed + since}{_share(killed + since, tried)}. Aim: 95 %, each survivor explained.",
        "",
        "| module | possible | tried | noticed | score | run on |",
        "|---|---|---|---|---|---|",
    ]
    for module in TARGETS:
        one = known.get(module)
        if one is None:
            lines.append(f"| `{module}` | | not run yet | | | |")
            continue
        all_tried = one["killed"] + len(one["survivors"])
        score = f"{100 * one['killed'] / all_tried:.0f} %" if all_tried else ""
        lines.append(f"| `{module}` | {one['possible']} | {all_tried} | {one['killed']} | {score} | {one['date']} |")
    lines += ["", "## Survivors", ""]
    lines += list(_survivors(known)) or ["None."]
    lines += [
        "",
        "## Guards changed by hand",
        "",
        "Lines that guard data or access, each left out, reversed or moved once by hand, and the first test near it",
        "that failed.",
        "",
        "| without the guard | noticed by |",
        "|---|---|",
    ]
    guards: dict[str, str] = json.loads(GUARDS.read_text())
    lines += [f"| {guard} | `{test}` |" for guard, test in guards.items()]
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.0f} %)" if whole else ""


def _survivors(known: dict[str, Any]) -> Iterable[str]:
    for module in TARGETS:
        for text in known.get(module, {}).get("survivors", ()):
            why = known[module]["explained"].get(text, "not explained yet")
            yield f"- `{module}`, line {text} – {why}"


if __name__ == "__main__":
    sys.exit(main())
