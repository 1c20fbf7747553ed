"""A connection that lives as long as one run, for a URI that must not be in the run's conf, which is stored in clear.

Its id follows from the run's own and from who triggered it, so that no other run can name it: not even one that
somebody else gives the same id once the first is deleted.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_PREFIX: Final = "pgvector_tmp_"

PATTERN: Final = f"{_PREFIX}[0-9a-f]{{32}}"
"""What the ids of such connections look like, as a regular expression."""


def temporary_id(dag_id: str, run_id: str, user: str | None) -> str:
    """The id of the connection that belongs to a run.

    :param user: who triggered it, as Airflow has noted it; None: nobody did
    """
    return _PREFIX + hashlib.sha256(f"{dag_id}\0{run_id}\0{user or ''}".encode()).hexdigest()[:32]


def is_temporary(connection_id: str) -> bool:
    """Whether a connection is one of these."""
    return re.fullmatch(PATTERN, connection_id) is not None
