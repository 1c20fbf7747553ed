"""What a backup and its reader processes say to each other; blocks themselves lie in memory that both see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pgvector_backup.engine.codec.compression import Compression
from pgvector_backup.engine.codec.format_names import FormatName
from pgvector_backup.engine.sets.blocks import BLOCK_BYTES

SLOTS: Final = 2
"""Blocks in memory: one that is being filled and one that is being written. More gain nothing."""

MEMORY_BYTES: Final = SLOTS * BLOCK_BYTES


@dataclass(frozen=True)
class Begin:
    """To the reader, once: connect, join, and be ready to read.

    :param parameters: libpq's, the password among them, which is why this is no argument of the command
    :param user: who the server has to take the connection for
    :param exported: of the snapshot
    :param views: whether views and foreign tables may be read
    :param algorithm: of the fingerprint, by name
    """

    parameters: dict[str, str] = field(repr=False)
    user: str
    exported: str
    lock_timeout: float
    format: FormatName
    compression: Compression
    algorithm: str
    views: bool = False


@dataclass(frozen=True)
class Read:
    """To the reader: read what this ``COPY … TO STDOUT`` sends."""

    query: bytes


@dataclass(frozen=True)
class Freed:
    """To the reader: the block in this slot is written."""

    slot: int


@dataclass(frozen=True)
class Stop:
    """To the reader: cancel the query; there will be no other."""


@dataclass(frozen=True)
class End:
    """To the reader: there is nothing more to read."""


@dataclass(frozen=True)
class Ready:
    """From the reader: connected and joined."""


@dataclass(frozen=True)
class Filled:
    """From the reader: a block, as in `Block`.

    :param slot: where its ``length`` bytes lie; None: they follow as a message of their own
    """

    slot: int | None
    length: int
    unpacked: int
    rows: int
    row_sum: int


@dataclass(frozen=True)
class Done:
    """From the reader: that was the query's last block."""


@dataclass(frozen=True)
class Failed:
    """From the reader, the last that comes of it."""

    fault: Exception
