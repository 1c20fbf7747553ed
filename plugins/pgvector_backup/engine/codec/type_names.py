"""Types as PostgreSQL's ``format_type`` writes them: ``public.vector(3)``, ``character varying(40)[]``."""

from __future__ import annotations

import re
from typing import Final

QUOTED: Final = r'"(?:[^"]|"")+"'
"""A quoted identifier, as a regular expression."""

VECTOR_TYPES: Final = ("vector", "halfvec", "sparsevec")
"""pgvector's types, whose type modifier is the number of dimensions."""

_TYPE: Final = re.compile(
    rf"(?:(?:[^.\"()]+|{QUOTED})\.)?(?P<base>{QUOTED}|[^()\[\]]+)(?P<modifier>\([^)]*\))?(?P<rest> .*|(?:\[\])+)?"
)


def bare_type(type_name: str) -> tuple[str, str | None]:
    """A type's name without its schema and without its modifier, and the modifier, e.g. ``vector`` and ``(3)``."""
    match = _TYPE.fullmatch(type_name)
    return (type_name, None) if match is None else (match["base"] + (match["rest"] or ""), match["modifier"])
