"""A file of an object store as it is read: by ranges, a few in flight; a range that breaks off is asked for again."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import obstore
from obstore import exceptions

from pgvector_backup.engine.base.cancel import pause
from pgvector_backup.engine.base.errors import NotFound, StorageFault
from pgvector_backup.engine.store.bucket import Bucket

if TYPE_CHECKING:
    from typing_extensions import Buffer

_T = TypeVar("_T")

_FIRST_BYTES: Final = 1 << 20
_RANGE_BYTES: Final = 4 << 20
_AHEAD: Final = 3
"""Ranges that are on their way while one is being worked on."""

_TRIES: Final = 5
_WAIT: Final = 0.2
"""Seconds before the second try; each further one waits twice as long."""

_PERMANENT: Final = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, exceptions.NotSupportedError)


def open_object(bucket: Bucket, path: str, shown: str) -> BinaryIO:
    """Open an object for reading. Its first mebibyte is there after that, so a small one takes one request.

    :raises NotFound: when it is not there
    """
    first, size, tag = _begin(bucket, path, shown)
    if len(first) == size:
        return io.BytesIO(first)

    def fetch(start: int, end: int) -> bytes:
        return _tried(bucket, shown, lambda: _range(bucket, path, start, end, size=size, tag=tag))

    return io.BufferedReader(_ObjectReader(fetch, size, first), 1 << 16)


def _begin(bucket: Bucket, path: str, shown: str) -> tuple[bytes, int, str | None]:
    def ask() -> tuple[bytes, int, str | None]:
        try:
            got = obstore.get(bucket.handle, path, options={"range": (0, _FIRST_BYTES)})
            meta = got.meta
            first = bytes(got.bytes())
        except FileNotFoundError:
            raise
        except Exception as fault:
            # Of nothing there is no range, and some servers answer one that is longer than the object with the whole.
            if bucket.status(fault) != 416 and "non-partial" not in str(fault):
                raise
            meta = obstore.head(bucket.handle, path)
            first = _range(bucket, path, 0, min(meta["size"], _FIRST_BYTES), size=meta["size"], tag=meta["e_tag"])
        if len(first) != min(meta["size"], _FIRST_BYTES):
            raise _Short(f"{len(first):,} bytes came of a range of {_FIRST_BYTES:,}")
        return first, meta["size"], meta["e_tag"]

    try:
        return _tried(bucket, shown, ask)
    except FileNotFoundError as fault:
        if "NoSuchBucket" in str(fault) or "ContainerNotFound" in str(fault):
            raise bucket.fault(shown, fault) from None
        raise NotFound(f"{shown} does not exist") from None


def _range(bucket: Bucket, path: str, start: int, end: int, *, size: int, tag: str | None) -> bytes:
    if start == end:
        return b""
    options: Any = {} if (start, end) == (0, size) else {"range": (start, end)}
    if tag is not None:
        options["if_match"] = tag
    data = bytes(obstore.get(bucket.handle, path, options=options).bytes())
    if len(data) != end - start:
        raise _Short(f"{len(data):,} bytes came of a range of {end - start:,}")
    return data


class _Short(Exception):
    """A range that is not whole."""


def _tried(bucket: Bucket, shown: str, ask: Callable[[], _T]) -> _T:
    """Ask until there is an answer, a few times; what broke off in the middle of a body is asked for again."""
    for number in range(_TRIES):
        try:
            return ask()
        except exceptions.PreconditionError:
            raise StorageFault(f"{shown}: it was replaced while it was being read; run again") from None
        except FileNotFoundError:
            raise
        except Exception as fault:
            if number == _TRIES - 1 or isinstance(fault, _PERMANENT):
                raise bucket.fault(shown, fault) from None
            pause(_WAIT * 2**number)
    raise AssertionError("unreachable")


class _ObjectReader(io.RawIOBase):
    """Bytes of an object; in a straight run through them a few ranges are fetched ahead."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, first: bytes) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._start, self._data = 0, first
        self._ahead: deque[tuple[int, Future[bytes]]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        offset = self._position - self._start
        if not 0 <= offset < len(self._data):
            self._load(wanted)
            offset = self._position - self._start
        taken = min(wanted, len(self._data) - offset)
        view[:taken] = memoryview(self._data)[offset : offset + taken]
        self._position += taken
        return taken

    def readall(self) -> bytes:
        pieces = bytearray()
        with memoryview(bytearray(_RANGE_BYTES)) as piece:
            while count := self.readinto(piece):
                pieces += piece[:count]
        return bytes(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._forget()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)

    def _load(self, wanted: int) -> None:
        position = self._position
        if position == self._start + len(self._data):
            if not self._ahead:
                self._look_ahead(position)
            start, coming = self._ahead.popleft()
            assert start == position
            self._data = coming.result()
            self._look_ahead(position + len(self._data))
        else:
            self._forget()
            self._data = self._fetch(position, min(self._size, position + max(wanted, _FIRST_BYTES)))
        self._start = position

    def _look_ahead(self, position: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="ahead")
        if self._ahead:
            position = self._ahead[-1][0] + _RANGE_BYTES
        while len(self._ahead) < _AHEAD and position < self._size:
            end = min(self._size, position + _RANGE_BYTES)
            self._ahead.append((position, self._pool.submit(self._fetch, position, end)))
            position = end

    def _forget(self) -> None:
        while self._ahead:
            self._ahead.pop()[1].cancel()
