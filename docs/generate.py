"""Writes the pages that are told by the code: settings, keys of conf, errors, a year's plan. `make docs` runs it.

A test holds the pages equal to what this gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import groupby
from pathlib import Path
from typing import Final

from pgvector_backup.engine.base import errors
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.contract.requests import BACKUP_KEYS, COPY_KEYS, PRUNE_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.engine.contract.settings import reference
from pgvector_backup.engine.sets.beside import Pin
from pgvector_backup.engine.sets.policy import Policy
from pgvector_backup.engine.sets.retention import Candidate, plan

HERE: Final = Path(__file__).parent
NOTE: Final = "<!-- Made by `make docs` from the code; change it there. -->"


CONFIGURATION: Final = """\
In `airflow.cfg` below `[pgvector_backup]`, or as environment variables `AIRFLOW__PGVECTOR_BACKUP__KEY`. The command
line reads the same. Where the package is installed, not copied into the plugins folder, `airflow config list` shows
them.
"""

KEYS: Final = """\
All are optional unless said otherwise. A value that the schema rules out is refused by the trigger, with 400; an
unknown key, which Airflow's trigger lets pass, by the first task. The bodies of `POST /backup`, `/restore` and
`/verify` are the same, and so are the operators' arguments and the command line's flags.
"""

ERRORS: Final = """\
A task that fails pushes XCom `error` = `{"response", "error_type", "can_retry", "timestamp"}` and then fails, unless it
was killed outright. What a retry cannot cure fails at once; a message can differ from its type's habit, e.g. a missing
right is a `DATABASE_ERROR` that is not retried. `report` pushes the result and the first error too, so that `/wait`
shows what became of each table also when the run has failed.
"""


def _page(title: str, intro: str, *lines: str) -> str:
    return "\n".join([f"# {title}", "", NOTE, "", intro, *lines, ""])


def configuration() -> str:
    """Every key of the section."""
    rows = [
        f"| `{one.key}` | {f'`{_cell(one.default)}`' if one.default else ''} | {_cell(one.meaning)} |"
        for one in reference()
    ]
    return _page("Configuration", CONFIGURATION, "| key | default | meaning |", "|---|---|---|", *rows)


def keys() -> str:
    """Every key of each DAG's conf."""
    parts = []
    for dag, members in (
        ("pgvector_backup", BACKUP_KEYS),
        ("pgvector_restore", RESTORE_KEYS),
        ("pgvector_verify", VERIFY_KEYS),
        ("pgvector_prune", PRUNE_KEYS),
        ("pgvector_copy", COPY_KEYS),
    ):
        parts += [f"## DAG `{dag}`", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        parts += [*(_key(one) for one in members), ""]
    return _page("Keys of conf", KEYS, *parts[:-1])


def _key(one: Key) -> str:
    kinds = ", ".join(f"`{choice}`" for choice in one.choices) if one.choices else " or ".join(one.types)
    default = "" if one.default is None else one.default if isinstance(one.default, str) else json.dumps(one.default)
    return f"| `{one.name}` | {kinds} | {f'`{default}`' if default else ''} | {_cell(one.description)} |"


def error_types() -> str:
    """Every error that a caller may be told."""
    rows = [
        f"| `{kind.error_type}` | {kind.code} | {'yes' if kind.can_retry else 'no'} | {_cell(_sentence(kind))} |"
        for kind in _kinds()
    ]
    return _page("Errors", ERRORS, "| error_type | HTTP | retried | what |", "|---|---|---|---|", *rows)


YEAR: Final = """\
A set a day at 02:00 from 2025-11-27 on, `keep_daily = 7`, `keep_weekly = 4`, `keep_monthly = 12`, as seen on 2026-11-26
at noon. The set of 2026-03-10 is pinned, and that of 2026-11-10 is the newest that a verify has proven.
"""


def retention_year() -> str:
    """The plan for a year of daily sets, in words."""
    last = datetime(2026, 11, 26, 2, tzinfo=timezone.utc)
    sets = []
    for when in (last - timedelta(days=day) for day in range(365)):
        day = f"{when:%Y%m%d}"
        held = Pin("admin", "audit 2026", datetime(2027, 3, 1, tzinfo=timezone.utc)) if day == "20260310" else None
        proven = when + timedelta(days=1) if day == "20261110" else None
        sets.append(Candidate("vector_bak", f"{day}_020000", "one database", when, pin=held, proven=proven))
    made = plan(sets, Policy(daily=7, weekly=4, monthly=12), last + timedelta(hours=10), timezone.utc)
    rows = []
    for keep, group in groupby(made.decisions, key=lambda one: one.keep):
        members = list(group)
        if keep:
            rows += [f"| `{one.set.timestamp}` | stays | {_cell('; '.join(one.reasons))} |" for one in members]
        else:
            newest, oldest = members[0].set.timestamp, members[-1].set.timestamp
            which = f"`{newest}`" if newest == oldest else f"`{oldest}` to `{newest}`, {len(members)} sets"
            rows.append(f"| {which} | go | {_cell('; '.join(members[0].reasons))} |")
    told = f"{len(made.kept)} of {len(made.decisions)} sets stay."
    return _page("A year of daily sets", YEAR + "\n" + told + "\n", "| set | | why |", "|---|---|---|", *rows)


def _kinds() -> Iterator[type[BackupError]]:
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, BackupError):
            yield one


def _sentence(kind: type[BackupError]) -> str:
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: Final = {
    "configuration.md": configuration,
    "keys.md": keys,
    "errors.md": error_types,
    "examples/retention-year.md": retention_year,
}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
