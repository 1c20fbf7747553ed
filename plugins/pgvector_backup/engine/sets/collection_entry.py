"""What a manifest tells of LangChain's collections: what each is called, how many embeddings it had."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

AT_MOST: Final = 10_000
"""Collections that a manifest lists; of a set that has more, none."""

_LONGEST_NAME: Final = 1 << 16


@dataclass(frozen=True)
class CollectionEntry:
    """One collection.

    :param rows: of all tables of embeddings, at the moment of the set
    """

    name: str
    uuid: str
    rows: int


def check_collections(collections: Sequence[CollectionEntry] | None) -> None:
    """Refuse what none of ours says.

    :raises ValueError: naming what
    """
    entries = collections or ()
    if len(entries) > AT_MOST:
        raise ValueError(f"collections: {len(entries):,} of them")
    for one in entries:
        if len(one.name) > _LONGEST_NAME or one.rows < 0:
            raise ValueError(f"collections: {one.name[:80]!r}, {one.rows} rows")
        if str(uuid.UUID(one.uuid)) != one.uuid:
            raise ValueError(f"collections: {one.uuid[:80]!r} is no uuid")
    if len({one.uuid for one in entries}) < len(entries):
        raise ValueError("collections: one of them is there twice")


def collections_json(collections: Sequence[CollectionEntry] | None) -> list[dict[str, Any]] | None:
    """For programs; None where nobody has counted them."""
    return None if collections is None else [asdict(one) for one in collections]
