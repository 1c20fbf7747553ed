"""Small files of a set that somebody else may have written: read up to a size, and JSON that holds nothing odd.

Whoever can write to the backup root can put anything there. A file that is too large, too deep, or holds what no text
or number of ours is, makes the set that it is of damaged, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from pgvector_backup.engine.base.errors import IntegrityFault, storage_translated
from pgvector_backup.engine.contract.verify_result import checked_outcome
from pgvector_backup.engine.store.location import Location

MANIFEST_BYTES: Final = 16 << 20
"""A table of 100 columns takes 20 KB of a manifest, and late transactions at most 2 MB."""

OUTCOME_BYTES: Final = 4 << 20
"""Of what a verify, or whoever else, writes beside a set."""

_DEEPEST: Final = 32
_LARGEST: Final = (1 << 64) - 1
"""As the server's transaction ids and log positions are."""
_LOOK_BYTES: Final = 1 << 20


def read_bounded(location: Location, name: str, most: int) -> bytes:
    """A file's content.

    :param most: bytes that it may have
    :raises NotFound: when it is not there
    :raises IntegrityFault: when it is larger, or no regular file
    """
    parts: list[bytes] = []
    left = most + 1
    with location.open(name) as file, storage_translated():
        while left and (part := file.read(min(left, _LOOK_BYTES))):
            parts.append(part)
            left -= len(part)
    if not left:
        parts.clear()  # an error may be kept, and its frames with it
        raise IntegrityFault(f"{name}: it is larger than {most:,} bytes, which no such file is")
    return b"".join(parts)


def parse_json(content: bytes) -> Any:
    """JSON as we write it.

    :raises ValueError: for what is no JSON in UTF-8, nests deeper than 32 levels, or holds half a surrogate pair, a
        number that is not finite or an integer of more than 64 bits
    """
    try:
        body = json.loads(content.decode(), parse_constant=_refused)
    except RecursionError:
        raise ValueError(f"more than {_DEEPEST} levels deep") from None
    _check(body)
    return body


def read_outcome(location: Location, name: str) -> dict[str, Any] | None:
    """What a set's last verification has left; None where nobody has verified it in a way that could be told of.

    :raises NotFound: when it is not there
    :raises StorageFault: when it cannot be read now
    """
    try:
        return checked_outcome(parse_json(read_bounded(location, name, OUTCOME_BYTES)))
    except (ValueError, IntegrityFault):
        return None


def tells_damage(outcome: Mapping[str, Any]) -> bool:
    """Whether a verification found damage; those of earlier releases say only whether all was well."""
    return bool(outcome.get("damaged", outcome.get("ok") is False))


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check(body: Any) -> None:
    level = [body]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for one in level:
            # In the order of how often each is met; what JSON is parsed to has no subclasses.
            kind = type(one)
            if kind is str:
                if not one.isascii():
                    one.encode()  # UnicodeEncodeError, a ValueError, for half a surrogate pair
            elif kind is dict:
                below += one
                below += one.values()
            elif kind is list:
                below += one
            elif kind is int:
                if abs(one) > _LARGEST:
                    raise ValueError("an integer of more than 64 bits")
            elif kind is float and not math.isfinite(one):
                raise ValueError("a number that is not finite")
        if not below:
            return
        level = below
    raise ValueError(f"more than {_DEEPEST} levels deep")
