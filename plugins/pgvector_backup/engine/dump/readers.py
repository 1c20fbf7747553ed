"""The connections that a snapshot's rows are read over: of this process, or in processes of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.fingerprint import Algorithm
from pgvector_backup.engine.dump.reader import LocalReader, Reader
from pgvector_backup.engine.dump.reader_messages import Begin
from pgvector_backup.engine.dump.reader_process import ReaderProcess, possible
from pgvector_backup.engine.postgres.snapshot import Snapshot

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readers:
    """Opens readers of one backup.

    :param kind: how they write rows
    :param algorithm: of the rows' fingerprint
    """

    snapshot: Snapshot
    kind: FileKind
    algorithm: Algorithm
    cancel: Cancel

    @contextmanager
    def opened(self, *, apart: bool) -> Iterator[Reader]:
        """A connection that has joined the snapshot.

        :param apart: in a process of its own, if that can be had
        :raises BackupError: when the server cannot be reached, or the snapshot is gone
        """
        with ExitStack() as held:
            reader = held.enter_context(self._process()) if apart and self._shared and possible() else None
            if reader is None:
                conn = held.enter_context(self.snapshot.joined())
                reader = LocalReader(conn, self.kind, self.algorithm)
            yield reader

    @contextmanager
    def _process(self) -> Iterator[Reader | None]:
        """None where it does not come about: a connection of this process will do as well, or tell why not."""
        with ExitStack() as held:
            process: ReaderProcess | None = None
            try:
                process = held.enter_context(closing(ReaderProcess(self._begin())))
                held.enter_context(self.cancel.watching(process))
                process.wait_until_ready()
            except (BackupError, psycopg.Error, OSError, ValueError) as fault:
                self.cancel.check()
                _log.warning("one connection reads without a process of its own: %s", fault)
                held.close()
                process = None
            yield process

    @property
    def _shared(self) -> bool:
        return self.snapshot.exported is not None

    def _begin(self) -> Begin:
        assert self.snapshot.exported is not None
        return Begin(
            parameters=self.snapshot.parameters(),
            user=self.snapshot.user,
            exported=self.snapshot.exported,
            lock_timeout=self.snapshot.lock_timeout,
            views=self.snapshot.views,
            format=self.kind.format.name,
            compression=self.kind.compression,
            algorithm=self.algorithm.name,
        )
