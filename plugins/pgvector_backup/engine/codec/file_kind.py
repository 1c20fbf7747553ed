"""What kind of file a table goes into: how its rows are written, and how its blocks are packed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pgvector_backup.engine.codec.compression import Compression, Packer
from pgvector_backup.engine.codec.formats import Format


@dataclass(frozen=True)
class FileKind:
    """A format and a compression.

    :param pack: compresses a block; any thread may call it
    """

    format: Format
    compression: Compression
    pack: Packer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pack", self.compression.packer())

    @property
    def suffix(self) -> str:
        """What file names end in, e.g. ``csv.zst``."""
        return f"{self.format.suffix}{self.compression.suffix}"
