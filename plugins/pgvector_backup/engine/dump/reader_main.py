"""What a reader process does: connect, join the snapshot, put blocks where the backup finds them."""

from __future__ import annotations

import mmap
import os
import queue
import threading
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn, cast

import psycopg

from pgvector_backup.engine.base import batch_scheduling as long_turns
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.dump.reader import LocalReader
from pgvector_backup.engine.dump.reader_messages import (
    MEMORY_BYTES,
    SLOTS,
    Begin,
    Done,
    End,
    Failed,
    Filled,
    Freed,
    Read,
    Ready,
    Stop,
)
from pgvector_backup.engine.postgres.session import session
from pgvector_backup.engine.postgres.snapshot import join
from pgvector_backup.engine.sets.blocks import BLOCK_BYTES, Block

_LAST_SECONDS: Final = 5.0
"""How long a query may take to be cancelled when the backup's process is gone."""


def main(channel: int, memory: int) -> NoReturn:
    """Serve one backup, over the descriptors of a socket and of the memory for blocks."""
    long_turns.take()
    _Service(Connection(channel), mmap.mmap(memory, MEMORY_BYTES)).run()
    # Not by way of the interpreter's own end, which takes its time and has nothing left to do.
    os._exit(0)


class _Service:
    def __init__(self, channel: Connection[Any, Any], memory: mmap.mmap) -> None:
        self._channel = channel
        self._slots = _Slots(memory)
        self._wanted: queue.SimpleQueue[Read | None] = queue.SimpleQueue()
        self._cancel = Cancel()

    def run(self) -> None:
        """Until there is nothing more to read."""
        try:
            begin = self._channel.recv()
            assert isinstance(begin, Begin)
            threading.Thread(target=self._listen, name="listen", daemon=True).start()
            self._serve(begin)
        except (BackupError, psycopg.Error) as fault:
            self._tell(fault)
        except Exception as fault:
            self._tell(DatabaseFault(f"the process that was reading: {fault!r}", can_retry=False))

    def _serve(self, begin: Begin) -> None:
        kind = FileKind(FORMATS[begin.format], begin.compression)
        algorithm = fingerprint.named(begin.algorithm)
        if algorithm is None:
            raise DatabaseFault(f"the process that was to read has no {begin.algorithm}")
        connect = partial(psycopg.connect, **cast("dict[str, Any]", begin.parameters))
        with session(connect, self._cancel, lock_timeout=begin.lock_timeout, views=begin.views) as conn:
            if conn.execute("SELECT current_user").fetchone() != (begin.user,):
                raise DatabaseFault("the process that was to read is another role to the server")
            join(conn, begin.exported)
            self._channel.send(Ready())
            reader = LocalReader(conn, kind, algorithm, self._slots.take)
            while (read := self._wanted.get()) is not None:
                with closing(reader.blocks(read.query)) as blocks:
                    for block in blocks:
                        self._cancel.check()
                        self._hand_over(block)
                self._channel.send(Done())

    def _hand_over(self, block: Block) -> None:
        slot = self._slots.give(block)
        self._channel.send(Filled(slot, len(block.stored), block.unpacked, block.rows, block.row_sum))
        if slot is None:
            self._channel.send_bytes(block.stored)

    def _tell(self, fault: Exception) -> None:
        with suppress(OSError):
            self._channel.send(Failed(fault))

    def _listen(self) -> None:
        try:
            while True:
                match self._channel.recv():
                    case Read() as read:
                        self._wanted.put(read)
                    case Freed(slot):
                        self._slots.free(slot)
                    case Stop():
                        self._stop()
                    case End():
                        self._wanted.put(None)
        except (EOFError, OSError):
            # The backup has been killed: the server must not go on for it.
            self._stop()
            threading.Event().wait(_LAST_SECONDS)
            os._exit(1)

    def _stop(self) -> None:
        self._cancel.ask()
        self._slots.free(None)
        self._wanted.put(None)


class _Slots:
    """The memory for blocks, and who has which part of it."""

    def __init__(self, memory: mmap.mmap) -> None:
        whole = memoryview(memory)
        self._parts = [whole[slot * BLOCK_BYTES : (slot + 1) * BLOCK_BYTES] for slot in range(SLOTS)]
        self._free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._filling: int | None = None
        for slot in range(SLOTS):
            self._free.put(slot)

    def take(self) -> memoryview:
        """Memory to fill, the same until it is given away; waits for one to become free.

        :raises DatabaseFault: when there will be none any more
        """
        if self._filling is None:
            self._filling = self._free.get()
            if self._filling is None:
                raise DatabaseFault("stopped")
        return self._parts[self._filling]

    def give(self, block: Block) -> int | None:
        """The slot in which the backup finds the block; None: it lies elsewhere, or is too large for one."""
        if block.unpacked > BLOCK_BYTES or len(block.stored) > BLOCK_BYTES:
            return None
        slot = self._filling
        assert slot is not None
        if not isinstance(block.stored, memoryview):  # compressed: the rows that are in the slot are done with
            self._parts[slot][: len(block.stored)] = block.stored
        self._filling = None
        return slot

    def free(self, slot: int | None) -> None:
        """The backup has no need of it any more; None: nor of any other."""
        self._free.put(slot)
