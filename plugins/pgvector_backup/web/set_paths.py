"""How a set is named in a path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from pgvector_backup.engine.store.naming import TASK_ID_LENGTH

Location = Annotated[
    str,
    Path(
        description="A set's `relative_path`, as the list gives it",
        pattern="^[A-Za-z0-9_/-]+$",
        max_length=600,
        examples=["vector_bak", "task_20250721_213627/vector_bak"],
    ),
]
Timestamp = Annotated[
    str,
    Path(description="A set's id", pattern="^[A-Za-z0-9_-]+$", max_length=TASK_ID_LENGTH, examples=["20250721_234914"]),
]
