"""Expressions of a manifest, which go into brackets of a statement and must not get out of them."""

from __future__ import annotations

import re
from typing import Final

from pgvector_backup.engine.base.errors import IntegrityFault

_QUOTED: Final = re.compile(r"""E?'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*\"""")


def enclosed(text: str, what: str) -> str:
    """The expression itself, if no bracket in it closes what it did not open.

    :param what: it is of, for the error
    :raises IntegrityFault: when it is no expression
    """
    depth = 0
    for char in _QUOTED.sub("", text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth < 0:
            break
    if depth != 0:
        raise IntegrityFault(f"the manifest's definition of {what} is no expression")
    return text
