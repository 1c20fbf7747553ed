"""What lies below a prefix. A long list is asked for page by page, and the next time for all pages at once.

A store gives at most a thousand keys at a time, and says with which one to go on: so many pages, so many waits in a
row. Where pages began the last time is as good a place to begin at; what was added since makes one of them longer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import obstore

_PAGE: Final = 1_000
_AT_ONCE: Final = 16
_WORTH_IT: Final = 2 * _PAGE


class Listing:
    """Lists one prefix of a bucket, again and again; any thread may do so.

    :param handle: of `obstore`
    :param prefix: without slashes around it; empty for the bucket's top
    :param by_parts: whether the store gives keys in their order, from wherever it is told to; not all that say so do
    """

    def __init__(self, handle: Any, prefix: str, *, by_parts: bool = True) -> None:
        self._handle = handle
        self._prefix = prefix
        self._cuts: list[str] = []
        self._sorted = by_parts

    def objects(self) -> list[Any]:
        """The objects up to the next slash, each with ``path``, ``size`` and ``last_modified``."""
        cuts = self._cuts
        if cuts:
            found = self._by_parts(cuts)
            if found is not None:
                self._remember(found)
                return found
        listed = obstore.list_with_delimiter(self._handle, self._prefix or None)
        found = list(listed["objects"])
        self._cuts = []
        if not listed["common_prefixes"]:  # otherwise what lies deeper would be listed too
            self._sorted = self._sorted and not cuts
            self._remember(found)
        return found

    def _remember(self, found: list[Any]) -> None:
        paths = sorted(one["path"] for one in found)
        self._cuts = paths[_PAGE - 1 :: _PAGE] if self._sorted and len(paths) > _WORTH_IT else []

    def _by_parts(self, cuts: list[str]) -> list[Any] | None:
        """The objects between one cut and the next, all at once; None where this store does not list like that."""
        with ThreadPoolExecutor(min(_AT_ONCE, len(cuts) + 1), thread_name_prefix="list") as pool:
            parts = list(pool.map(self._part, [None, *cuts], [*cuts, None]))
        found: list[Any] = []
        for part in parts:
            if part is None:
                return None
            found += part
        return found

    def _part(self, after: str | None, until: str | None) -> list[Any] | None:
        found: list[Any] = []
        below = len(self._prefix) + 1 if self._prefix else 0
        last = after
        for page in obstore.list(self._handle, self._prefix or None, offset=after, chunk_size=_PAGE):
            for one in page:
                path = one["path"]
                if (last is not None and path <= last) or "/" in path[below:]:
                    return None
                if until is not None and path > until:
                    return found
                found.append(one)
                if path == until:
                    return found
                last = path
        return found
