"""URLs: which ones are of object stores, and how they may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["s3", "gs", "az"]

OBJECT_SCHEMES: Final[Mapping[str, Kind]] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
}
"""Stores that are spoken to natively, by how their URLs begin."""


def is_object_url(root: str) -> bool:
    """Whether a backup root lies in an object store that is spoken to natively."""
    return "://" in root and root.split("://", 1)[0].lower() in OBJECT_SCHEMES


def kind_of(root: str) -> Kind | None:
    """Which kind of object store a root lies in; None: in none that is spoken to natively."""
    return OBJECT_SCHEMES[root.split("://", 1)[0].lower()] if is_object_url(root) else None


def without_login(url: str) -> str:
    """The URL without a user and a password before the host, and without what follows a question mark."""
    scheme, rest = url.split("://", 1)
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
