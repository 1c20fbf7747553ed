"""A file on its way into an object store: parts go up as they fill, nothing lies on this machine's disk."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import obstore

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store.bucket import Bucket
from pgvector_backup.engine.store.writer import Writer

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_log: Final = logging.getLogger(__name__)

_MEBIBYTE: Final = 1 << 20
_SMALLEST_PART: Final = 8 * _MEBIBYTE
"""Of S3, 5 MiB is allowed; larger ones mean fewer requests."""

_PARTS_FORESEEN: Final = 5_000
"""Half of the 10,000 that S3 allows: an estimate may be wrong by a factor of two."""

_PARTS_AT_MOST: Final = 10_000
_IN_FLIGHT_BYTES: Final = 24 * _MEBIBYTE
"""Of one object's parts at once: what hides the time to the store, and still is little memory."""

_MD5_OF_PARTS: Final = re.compile(r'"?(?P<md5>[0-9a-f]{32})(?:-(?P<parts>[0-9]+))?"?')
_READ_BYTES: Final = 4 * _MEBIBYTE


def part_bytes(expected: int | None) -> int:
    """The size of an object's parts, all of which are alike but the last.

    :param expected: bytes that the object will have, as far as can be told
    """
    wanted = -(-(expected or 0) // _PARTS_FORESEEN)
    return max(_SMALLEST_PART, -(-wanted // _MEBIBYTE) * _MEBIBYTE)


class ObjectWriter(Writer):
    """See the module.

    :param path: in the bucket
    :param shown: what the object is called in messages
    :param abort: gives up every upload of this object that is not ended
    :param delete: removes the object
    """

    def __init__(
        self,
        bucket: Bucket,
        path: str,
        shown: str,
        expected: int | None,
        *,
        abort: Callable[[], None],
        delete: Callable[[], None],
    ) -> None:
        self.name = path.rpartition("/")[2]
        self._bucket = bucket
        self._path = path
        self._shown = shown
        self._abort = abort
        self._delete = delete
        self._part = part_bytes(expected)
        self._bytes = 0
        self._sha256 = hashlib.sha256()
        self._parts = _Parts(self._part)
        self._may_be_there = self._proven = False
        storage_class = bucket.options.storage_class
        with bucket.translated(shown):
            self._file: Any = obstore.open_writer(
                bucket.uploading,
                path,
                buffer_size=self._part,
                max_concurrency=max(1, _IN_FLIGHT_BYTES // self._part - 1),
                attributes={"Storage-Class": storage_class} if storage_class else None,
            )

    def write(self, data: Buffer) -> None:
        """See `Writer`."""
        size = len(data)
        if self._bytes + size > self._part * _PARTS_AT_MOST:
            raise StorageFault(
                f"{self._shown}: it grew past {self._part * _PARTS_AT_MOST:,} bytes, twice what was estimated; run "
                "again after an ANALYZE of the table"
            )
        self._sha256.update(data)
        self._parts.update(data)
        self._bytes += size
        with self._bucket.translated(self._shown):
            # A copy of its own: it is kept until its part is sent, and callers fill their memory anew.
            self._file.write(bytes(data))

    def sync(self) -> None:
        """See `Writer`; all but the last part has arrived then. The object does not exist before it is published."""
        with self._bucket.translated(self._shown):
            self._file.flush()

    @property
    def sha256(self) -> str:
        """See `Writer`."""
        return self._sha256.hexdigest()

    def publish(self) -> None:
        """See `Writer`; size and, where the store tells one, checksum of what arrived are compared."""
        if self.published:
            return
        self._may_be_there = True
        fault: StorageFault | None = None
        try:
            with self._bucket.translated(self._shown):
                self._file.close()
        except StorageFault as raised:
            fault = raised  # the answer may have got lost, and the object be there all the same
        self._file = None
        with self._bucket.translated(self._shown, FileNotFoundError):
            try:
                arrived = obstore.head(self._bucket.handle, self._path)
            except FileNotFoundError:
                raise fault or StorageFault(
                    f"{self._shown}: the store took it, and it is not there; run again"
                ) from None
        if arrived["size"] != self._bytes:
            raise StorageFault(f"{self._shown}: {arrived['size']:,} of {self._bytes:,} bytes arrived; run again")
        self._proven = self._check_tag(arrived["e_tag"])
        self.published = True

    @property
    def proven(self) -> bool:
        """See `Writer`."""
        return self._proven

    def discard(self) -> None:
        """See `Writer`."""
        self._file = None
        if self._may_be_there:
            self._delete()
            self._may_be_there = False
        if self._bytes >= self._part:
            self._abort()
            self._bytes = 0

    def _check_tag(self, tag: str | None) -> bool:
        """Hold the store's checksum against ours. Not all stores make it alike: where it differs, the bytes count.

        :return: whether there was one to compare, or the bytes were
        """
        match = _MD5_OF_PARTS.fullmatch(tag or "")
        if not self._bucket.etags_are_md5 or match is None:
            return False
        if match["md5"] == self._parts.md5(multipart=match["parts"] is not None):
            return True
        sha256 = hashlib.sha256()
        with self._bucket.translated(self._shown):
            for piece in obstore.get(self._bucket.handle, self._path).stream(min_chunk_size=_READ_BYTES):
                sha256.update(piece)
        if sha256.hexdigest() != self.sha256:
            raise StorageFault(f"{self._shown}: what arrived is not what was sent; run again")
        _log.info("%s: the store's entity tag is no MD5 sum of its parts; it was read back and is right", self._shown)
        self._bucket.etags_are_md5 = False
        return True


class _Parts:
    """The entity tag (ETag) that S3 gives an upload in parts: the MD5 sum of its parts' MD5 sums."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._current = hashlib.md5(usedforsecurity=False)
        self._done: list[bytes] = []

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        while len(view) >= self._left:
            self._current.update(view[: self._left])
            self._done.append(self._current.digest())
            view = view[self._left :]
            self._left, self._current = self._size, hashlib.md5(usedforsecurity=False)
        self._current.update(view)
        self._left -= len(view)

    def md5(self, *, multipart: bool) -> str:
        digests = [*self._done, self._current.digest()] if self._left < self._size else self._done
        if not multipart:
            return (digests[0] if digests else self._current.digest()).hex() if len(digests) <= 1 else ""
        return hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
