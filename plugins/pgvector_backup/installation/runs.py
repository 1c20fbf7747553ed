"""What operators and HTTP have to agree on of a run: the DAGs' names, and where a task's progress is kept."""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["backup", "restore", "verify", "prune", "copy"]

DAG_IDS: Final[dict[Kind, str]] = {
    "backup": "pgvector_backup",
    "restore": "pgvector_restore",
    "verify": "pgvector_verify",
    "prune": "pgvector_prune",
    "copy": "pgvector_copy",
}

REPORT: Final = "report"
"""The task that ends these DAGs: its return value is the run's result, its XCom `ERROR` why it failed."""

TELLS: Final[dict[Kind, str]] = {
    "backup": REPORT,
    "restore": REPORT,
    "verify": REPORT,
    "prune": "prune",
    "copy": "copy",
}
"""The task that tells of a whole run; the one of a prune, or of a copy, is its only one."""

ERROR: Final = "error"

ERROR_IN_ENGLISH: Final = "error_en"
"""XCom beside `ERROR`, where that is not English: its ``response`` in English."""

PLACE: Final = "place"
"""XCom of a step in a DAG of somebody's own: where its set lies, for the report that follows."""

SAVED: Final = "safety_backup"
"""XCom of a restore: the set that it made of the tables before it replaced rows, whatever became of it then."""

PROGRESS_KEY: Final = "progress"
"""In the task state store of whichever task is at work: the last `progress.report`."""
