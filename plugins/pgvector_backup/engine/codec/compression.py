"""How blocks are packed: each into a frame or member of its own, so that an ordinary tool opens the file.

A zstd file is a sequence of frames and a gzip file one of members (RFC 8878 and RFC 1952 both say so); blocks can be
packed by several threads at once and unpacked one by one.
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

from pgvector_backup.engine.base.errors import IntegrityFault, InvalidParams

if TYPE_CHECKING:
    from psycopg.abc import Buffer

CompressionName = Literal["none", "zstd", "gzip"]

_SUFFIXES: Final = {"none": "", "zstd": ".zst", "gzip": ".gz"}
_LEVELS: Final = {"none": (0, 0), "zstd": (1, 19), "gzip": (1, 9)}
NAMES: Final = tuple(_SUFFIXES)

Packer = Callable[["Buffer"], "Buffer"]
"""Packs a block; what comes back may be what was given."""

Unpacker = Callable[[bytes, int], bytes]
"""Unpacks a block, given its size unpacked."""

DEFAULT_LEVEL: Final = 1
"""Digits of random floats hardly get smaller with more effort, and vectors are most of the data."""


@dataclass(frozen=True)
class Compression:
    """A way to pack blocks; ``level`` as the tool of that name has it.

    :raises InvalidParams: when the level is out of range, or zstd's library is missing
    """

    name: CompressionName = "none"
    level: int = DEFAULT_LEVEL

    def __post_init__(self) -> None:
        low, high = _LEVELS[self.name]
        if self.name != "none" and not low <= self.level <= high:
            raise InvalidParams(f"compression_level: {self.name} takes {low} to {high}, not {self.level}")

    @property
    def suffix(self) -> str:
        """What file names end in, e.g. ``.zst``."""
        return _SUFFIXES[self.name]

    def packer(self) -> Packer:
        """A function that packs one block; any thread may call it."""
        if self.name == "none":
            return lambda data: data
        if self.name == "gzip":
            return lambda data: gzip.compress(data, self.level, mtime=0)
        return _zstd_packer(self.level)

    def unpacker(self) -> Unpacker:
        """A function that unpacks one block, given its size unpacked, beyond which it goes in no case.

        Any thread may call it. It raises `IntegrityFault` for what is not one whole frame of that size.
        """
        if self.name == "none":
            return _as_it_is
        return _gunzip if self.name == "gzip" else _zstd_unpacker()


_NO_FRAME: Final = "it does not unpack"


def _as_it_is(stored: bytes, size: int) -> bytes:
    if len(stored) != size:
        raise IntegrityFault(f"{len(stored):,} bytes where {size:,} are listed")
    return stored


def _gunzip(stored: bytes, size: int) -> bytes:
    member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        data = member.decompress(stored, size + 1)
    except zlib.error:
        raise IntegrityFault(_NO_FRAME) from None
    if len(data) != size or not member.eof or member.unused_data:
        raise IntegrityFault(_NO_FRAME)
    return data


def _zstandard() -> ModuleType:
    try:
        import zstandard  # noqa: PLC0415 (needed by those who use it only)
    except ImportError:
        raise InvalidParams("compression: zstd needs the package zstandard; install it, or use gzip") from None
    return zstandard


def _zstd_unpacker() -> Callable[[bytes, int], bytes]:
    zstandard = _zstandard()
    own = threading.local()

    def unpack(stored: bytes, size: int) -> bytes:
        if not hasattr(own, "decompressor"):
            own.decompressor = zstandard.ZstdDecompressor()
        try:
            if zstandard.frame_content_size(stored) != size:
                raise IntegrityFault(_NO_FRAME)
            data: bytes = own.decompressor.decompress(stored, allow_extra_data=False)
        except zstandard.ZstdError:
            raise IntegrityFault(_NO_FRAME) from None
        return data

    return unpack


def _zstd_packer(level: int) -> Packer:
    zstandard = _zstandard()
    # A compressor keeps its tables between blocks and is not to be shared by threads.
    own = threading.local()

    def pack(data: Buffer) -> Buffer:
        if not hasattr(own, "compressor"):
            own.compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        packed: bytes = own.compressor.compress(data)
        return packed

    return pack
