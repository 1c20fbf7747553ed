"""URLs as they may be shown."""

from __future__ import annotations


def without_login(url: str) -> str:
    """The URL without a user and a password before the host, and without what follows a question mark."""
    scheme, rest = url.split("://", 1)
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
