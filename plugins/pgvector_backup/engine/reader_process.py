"""A reader in a process of its own, so that connections need not take turns at one interpreter.

Blocks come through shared memory and are appended by the process of the backup, which alone knows files, progress and
limits. The other process is started anew rather than forked: what else runs in this one, such as Airflow's threads
and connections, is of no concern to it.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from psycopg import sql

from pgvector_backup.engine.blocks import BLOCK_BYTES, Block
from pgvector_backup.engine.errors import DatabaseFault
from pgvector_backup.engine.file_kind import FileKind
from pgvector_backup.engine.fingerprint import Algorithm
from pgvector_backup.engine.reader_messages import (
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

COMMAND: Final = "from pgvector_backup.engine.reader_main import main"
_PROGRAM: Final = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); {}; main(*map(int, sys.argv[2:]))"
_END_SECONDS: Final = 5.0

POSSIBLE: Final = hasattr(os, "memfd_create")
"""Whether this system has memory that another process can be given."""


class ReaderProcess:
    """See `Reader`.

    :raises OSError: when the process cannot be started
    """

    def __init__(self, begin: Begin) -> None:
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("pgvector_backup")
        try:
            os.ftruncate(memory, MEMORY_BYTES)
            self._memory = mmap.mmap(memory, MEMORY_BYTES)
            given = (theirs.fileno(), memory)
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter, a constant program)
                [sys.executable, "-c", _PROGRAM.format(COMMAND), json.dumps(sys.path), *map(str, given)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=given,
                start_new_session=True,  # Ctrl-C is for the backup to hear, which then ends its readers
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        self._channel: Connection[Any, Any] = Connection(ours.detach())
        self._sending = threading.Lock()
        self._reading = False
        self._send(begin)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Until it has joined the snapshot.

        :raises Exception: why it has not
        """
        self._receive()

    def blocks(self, query: sql.Composed, kind: FileKind, algorithm: Algorithm) -> Generator[Block]:
        """See `Reader`."""
        self._reading = True
        self._send(Read(query.as_bytes(None), kind.format.name, kind.compression, algorithm.name))
        with memoryview(self._memory) as memory:
            while not isinstance(message := self._receive(), Done):
                assert isinstance(message, Filled)
                facts = (message.checksum, message.unpacked, message.rows, message.row_sum)
                if message.slot is None:
                    yield Block(self._channel.recv_bytes(), *facts)
                    continue
                begin = message.slot * BLOCK_BYTES
                with memory[begin : begin + message.length] as stored:
                    yield Block(stored, *facts)
                self._send(Freed(message.slot))
        self._reading = False

    def cancel_safe(self, *, timeout: float) -> None:
        """Cancel the query, as a connection's method of this name does; any thread may call it."""
        self._send(Stop())
        try:
            self._process.wait(timeout)
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
        self._process.wait()
        self._channel.close()
        self._memory.close()

    def _send(self, message: Any) -> None:
        # One that has ended is noticed when it is listened to.
        with self._sending, suppress(OSError):
            self._channel.send(message)

    def _receive(self) -> Ready | Filled | Done:
        try:
            message = self._channel.recv()
        except (EOFError, OSError):
            raise DatabaseFault(
                f"the process that was reading has ended with exit code {self._process.wait()}; memory may be short"
            ) from None
        if isinstance(message, Failed):
            raise message.fault
        assert isinstance(message, (Ready, Filled, Done))
        return message
