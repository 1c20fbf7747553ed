"""What kind of file a table goes into: how its rows are written, and how its blocks are packed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from pgvector_backup.engine.codec.compression import DEFAULT_LEVEL, Compression, CompressionName, Packer, Unpacker
from pgvector_backup.engine.codec.formats import FORMATS, Format


@dataclass(frozen=True)
class FileKind:
    """A format and a compression."""

    format: Format
    compression: Compression

    @classmethod
    def named(cls, file_format: str, compression: str, level: int = DEFAULT_LEVEL) -> FileKind:
        """The kind of these names, which have been checked."""
        return cls(FORMATS[file_format], Compression(cast("CompressionName", compression), level))

    def require(self) -> FileKind:
        """Refuse what cannot be written here.

        :raises InvalidParams: when the compression's package is missing
        """
        self.compression.packer()
        return self

    @cached_property
    def pack(self) -> Packer:
        """Compresses a block; any thread may call it."""
        return self.compression.packer()

    @cached_property
    def unpack(self) -> Unpacker:
        """Unpacks a block, given its size unpacked; any thread may call it."""
        return self.compression.unpacker()

    @property
    def suffix(self) -> str:
        """What file names end in, e.g. ``csv.zst``."""
        return f"{self.format.suffix}{self.compression.suffix}"
