"""This engine's backup as one process: ``python -m bench.ours --dsn URI --root DIRECTORY``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import partial
from types import SimpleNamespace

import psycopg

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.dump import reader_main, reader_process
from pgvector_backup.engine.sets import block_index
from pgvector_backup.engine.store import disk_file, object_writer, writeback


def main() -> None:
    """Write one set; a failure of any table is an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours", description=__doc__)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--file-format", default="csv")
    parser.add_argument("--compression", default="none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--unproven", action="store_true", help="leave out checksums, fingerprints and fsyncs")
    parser.add_argument("--part-mib", type=int, default=8, help="of an upload to a bucket")
    asked = parser.parse_args()
    object_writer._SMALLEST_PART = asked.part_mib << 20  # type: ignore[misc]
    request = BackupRequest.from_mapping({"file_format": asked.file_format, "compression": asked.compression})
    settings = Settings(backup_root=asked.root, jobs=asked.jobs)
    with ExitStack() as stack:
        if asked.unproven:
            stack.enter_context(_unproven())
        result = backup(request, settings, partial(psycopg.connect, asked.dsn), now=datetime.now(timezone.utc))
    if result.failure is not None:
        raise result.failure


def read_unproven(channel: int, memory: int) -> None:
    """What its reader process does."""
    with _unproven():
        reader_main.main(channel, memory)


@contextmanager
def _unproven() -> Iterator[None]:
    """Here and in reader processes, to learn what they cost: no checksum, no fingerprint, no fsync."""
    from unittest.mock import patch  # noqa: PLC0415 (it imports much, which the measured runs shall not pay for)

    class NoHash:
        def update(self, data: object) -> None:
            pass

        def hexdigest(self) -> str:
            return "0" * 64

    none = fingerprint.Algorithm("none", lambda row: 0)
    no_hashes = SimpleNamespace(sha256=NoHash)
    # patch refuses a name that is not there: should the engine's parts move, this fails instead of measuring nothing.
    with (
        patch.object(fingerprint, "best", lambda: none),
        patch.object(fingerprint, "named", lambda name: none),
        patch.object(reader_process, "COMMAND", "from bench.ours import read_unproven as main"),
        patch.object(disk_file, "hashlib", no_hashes),
        patch.object(block_index, "of_block", lambda stored: 0),
        patch.object(writeback, "begin", lambda descriptor, offset, length: None),
        patch.object(os, "fsync", lambda descriptor: None),
    ):
        yield


if __name__ == "__main__":
    main()
