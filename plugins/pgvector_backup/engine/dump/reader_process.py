"""A reader in a process of its own, so that connections need not take turns at one interpreter.

Blocks come through shared memory and are appended by the process of the backup, which alone knows files, progress and
limits. The other process is started anew rather than forked: what else is in this one, such as Airflow's threads and
connections, is of no concern to it.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from psycopg import sql

from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.dump.reader_messages import (
    MEMORY_BYTES,
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
from pgvector_backup.engine.sets.blocks import BLOCK_BYTES, Block

COMMAND: Final = "from pgvector_backup.engine.dump.reader_main import main"
_PROGRAM: Final = "import sys; sys.path[:] = sys.argv[3:]; {}; main(*map(int, sys.argv[1:3]))"

_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_MORE_SECONDS: Final = 2.0
"""What a process is given beyond the time that its own query is, before it is killed."""

_T = TypeVar("_T")


def possible() -> bool:
    """Whether this system has memory that another process can be given, and this one is an ordinary interpreter."""
    return hasattr(os, "memfd_create") and bool(sys.executable) and not getattr(sys, "frozen", False)


class ReaderProcess:
    """See `Reader`; to be closed in any case.

    :raises OSError: when the process cannot be started
    """

    def __init__(self, begin: Begin) -> None:
        memory = os.memfd_create("pgvector_backup")
        try:
            os.ftruncate(memory, MEMORY_BYTES)
            self._memory = mmap.mmap(memory, MEMORY_BYTES)
            ours, theirs = socket.socketpair()
            with ours, theirs:
                given = (theirs.fileno(), memory)
                path = [entry for entry in sys.path if isinstance(entry, str)]
                self._process = subprocess.Popen(  # noqa: S603 (this interpreter, a constant program)
                    [sys.executable, "-c", _PROGRAM.format(COMMAND), *map(str, given), *path],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=given,
                    start_new_session=True,  # Ctrl-C is for the backup to hear, which then ends its readers
                )
                self._channel: Connection[Any, Any] = Connection(ours.detach())
        finally:
            os.close(memory)
        self._sending = threading.Lock()
        self._reading = False
        self._send(begin)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Until it has joined the snapshot.

        :raises BackupError: when it has not
        :raises psycopg.Error: likewise
        """
        if not self._channel.poll(_START_SECONDS):
            raise DatabaseFault(f"a process that was to read does not answer for {_START_SECONDS:.0f} s")
        self._receive()

    def blocks(self, query: sql.Composed) -> Generator[Block]:
        """See `Reader`."""
        self._reading = True
        self._send(Read(query.as_bytes(None)))
        with memoryview(self._memory) as memory:
            while not isinstance(message := self._receive(), Done):
                assert isinstance(message, Filled)
                facts = (message.unpacked, message.rows, message.row_sum)
                if message.slot is None:
                    yield Block(self._received(self._channel.recv_bytes), *facts)
                    continue
                begin = message.slot * BLOCK_BYTES
                with memory[begin : begin + message.length] as stored:
                    yield Block(stored, *facts)
                self._send(Freed(message.slot))
        self._reading = False

    def cancel_safe(self, *, timeout: float) -> None:
        """Cancel the query and let the process end; any thread may call this."""
        self._send(Stop())
        try:
            self._process.wait(timeout + _MORE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def close(self) -> None:
        """Let it close its connection, and wait until it has ended."""
        if self._reading:
            self._send(Stop())
        self._send(End())
        with suppress(EOFError, OSError):
            while self._channel.poll(_END_SECONDS):
                self._channel.recv_bytes()  # so that it never waits for being heard
            self._process.kill()
        self._wait()
        with self._sending:
            self._channel.close()
        # Who failed while writing a block may still hold it; its memory goes when the last one lets go of it.
        with suppress(BufferError):
            self._memory.close()

    def _wait(self) -> int:
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _send(self, message: Any) -> None:
        # That it has ended is noticed when it is listened to.
        with self._sending, suppress(OSError):
            self._channel.send(message)

    def _receive(self) -> Ready | Filled | Done:
        message = self._received(self._channel.recv)
        if isinstance(message, Failed):
            raise message.fault
        assert isinstance(message, (Ready, Filled, Done))
        return message

    def _received(self, receive: Callable[[], _T]) -> _T:
        try:
            return receive()
        except (EOFError, OSError):
            raise DatabaseFault(
                f"the process that was reading has ended with exit code {self._wait()}; memory may be short"
            ) from None
