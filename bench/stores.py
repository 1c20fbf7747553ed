"""Object stores: ``python -m bench.stores``. A bucket against a disk and a copy of its files; a list of many sets.

SeaweedFS runs on this machine, and takes its share of the processors. Numbers are the medians of three rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import psycopg

from bench.data import Dataset, provide
from bench.network import reach
from bench.places import DIRECTORY
from demo.seaweed import SeaweedFS
from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.requests import BackupRequest, CopyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.copy_sets import copy
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.root import locate

ROUNDS = 3
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--sets", type=int, default=2_000)
    asked = parser.parse_args()
    dataset = Dataset(asked.rows, 1_536)
    with tempfile.TemporaryDirectory(dir=DIRECTORY if DIRECTORY.is_dir() else None) as made:
        directory = Path(made)
        with reach(18, "socket") as reached, SeaweedFS(directory / "seaweed") as seaweed:
            provide(reached.server, dataset)
            os.environ |= {
                "AWS_ENDPOINT_URL": seaweed.endpoint,
                "AWS_ACCESS_KEY_ID": seaweed.access_key,
                "AWS_SECRET_ACCESS_KEY": seaweed.secret_key,
                "AWS_REGION": seaweed.region,
            }
            client = boto3.client("s3")
            for name in ("direct", "after", "copies", "many"):
                client.create_bucket(Bucket=name)
            connect = partial(psycopg.connect, reached.server.uri(dataset.database))
            _walls(directory, dataset, connect)
            _lists(asked.sets, directory / "disk")


def _walls(directory: Path, dataset: Dataset, connect: Callable[[], psycopg.Connection[tuple[object, ...]]]) -> None:
    disk = directory / "disk"
    disk.mkdir()

    def back_up(root: str | Path, number: int) -> None:
        settings = Settings(backup_root=root)
        result = backup(BackupRequest(file_format="binary"), settings, connect, now=NOW + timedelta(days=number))
        if result.failure is not None:
            raise result.failure

    seconds: dict[str, list[float]] = {}

    def timed(what: str, function: Callable[[], object]) -> None:
        started = time.monotonic()
        function()
        seconds.setdefault(what, []).append(time.monotonic() - started)

    for number in range(ROUNDS):
        shutil.rmtree(disk / "vector_bak", ignore_errors=True)
        timed("bucket", partial(back_up, "s3://direct/sets", number))
        timed("disk", partial(back_up, disk, number))
        timed("rclone", partial(_rclone, disk / "vector_bak", f"after/{number}"))
        settings = Settings(backup_root=disk, copy_roots=("s3://copies/sets",))
        timed("copy", partial(copy, CopyRequest(backup_path="vector_bak"), settings, now=NOW))
    median = {what: statistics.median(each) for what, each in seconds.items()}
    print(f"backup of {dataset}, binary, to a bucket: {median['bucket']:.2f} s")
    print(f"to disk, then rclone to the same server: {median['disk']:.2f} + {median['rclone']:.2f} s")
    print(f"that against the bucket: {(median['disk'] + median['rclone']) / median['bucket']:.2f} times as long")
    print(f"copy of the set from the disk to a bucket: {median['copy']:.2f} s")


def _rclone(source: Path, target: str) -> None:
    program = Path(sys.executable).parent / "rclone"
    options = ["--s3-provider=Other", "--s3-env-auth", f"--s3-endpoint={os.environ['AWS_ENDPOINT_URL']}"]
    subprocess.run([program, "copy", source, f":s3:{target}", *options, "--config=", "-q"], check=True)


def _lists(sets: int, disk: Path) -> None:
    """Sets that differ in their names; of their data one byte for each that the manifest tells would tell no more."""
    here, there = locate(disk, None, "vector_bak"), locate("s3://many/sets", None, "vector_bak")
    (found,) = Catalog(Settings(backup_root=disk)).locations()[0].sets
    manifest = Manifest.read(here, str(found.manifest_file))
    tables = tuple(replace(table, bytes=1) for table in manifest.tables)

    def put(number: int) -> None:
        backup_id = (NOW + timedelta(hours=number)).strftime("%Y%m%d_%H%M%S")
        named = [
            replace(
                table,
                file=table.file.replace(found.backup_id, backup_id),
                index=table.index.replace(found.backup_id, backup_id),
                keys=None,
            )
            for table in tables
        ]
        for table in named:
            there.store.put(table.file, b"x")
        one = replace(
            manifest,
            backup_id=backup_id,
            created_at=(NOW + timedelta(hours=number)).isoformat(),
            tables=tuple(named),
            script=None,
            script_sha256=None,
        )
        there.store.put(f"manifest_{backup_id}.json", one.to_bytes())

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(put, range(sets)))
    catalog = Catalog(Settings(backup_root="s3://many/sets"))
    for what in ("the first time", "again, nothing changed"):
        started = time.monotonic()
        listed = sum(len(place.sets) for place in catalog.locations())
        print(f"list of {listed:,} sets in a bucket, {what}: {(time.monotonic() - started) * 1000:,.0f} ms")


if __name__ == "__main__":
    main()
