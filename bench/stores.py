"""Object stores: ``python -m bench.stores``. A bucket against a disk and a copy of its files; memory; many sets.

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
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import psutil
import psycopg

from bench.data import Dataset, provide
from bench.network import reach, relay
from bench.places import DIRECTORY
from demo.ports import pick_free
from demo.seaweed import SeaweedFS
from pgvector_backup.embedded.server import EmbeddedPostgres
from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.requests import BackupRequest, CopyRequest, RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.copy_sets import copy
from pgvector_backup.engine.restore import restore
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.root import locate

ROUNDS = 3
_ONE_WAY_MS = 10
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
            for name in ("direct", "after", "copies", "memory", "many"):
                client.create_bucket(Bucket=name)
            uri = reached.server.uri(dataset.database)
            _walls(directory, dataset, partial(psycopg.connect, uri))
            _restores(directory / "disk", reached.server, uri)
            for file_format in ("csv", "binary"):
                _memory(uri, file_format)
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


def _restores(disk: Path, server: EmbeddedPostgres, uri: str) -> None:
    """The newest set into an empty database: from the disk, from the bucket, and from there over a slow line."""
    (port,) = pick_free(1)
    near = str(os.environ["AWS_ENDPOINT_URL"])
    seconds: dict[str, list[float]] = {}
    with relay(port, urlsplit(near).port or 80, _ONE_WAY_MS):
        for _ in range(ROUNDS):
            for what, root, endpoint in (
                ("the disk", disk, near),
                ("a bucket", "s3://direct/sets", near),
                (f"a bucket {2 * _ONE_WAY_MS} ms away", "s3://direct/sets", f"http://127.0.0.1:{port}"),
            ):
                os.environ["AWS_ENDPOINT_URL"] = endpoint
                with psycopg.connect(uri, autocommit=True) as conn:
                    conn.execute("DROP DATABASE IF EXISTS bench_from_store")
                    conn.execute("CREATE DATABASE bench_from_store")
                asked = {"backup_path": "vector_bak", "timestamp": "latest", "into_other_database": True}
                connect = partial(psycopg.connect, server.uri("bench_from_store"))
                started = time.monotonic()
                restore(RestoreRequest.from_mapping(asked), Settings(backup_root=root), connect, now=NOW)
                seconds.setdefault(what, []).append(time.monotonic() - started)
    os.environ["AWS_ENDPOINT_URL"] = near
    with psycopg.connect(uri, autocommit=True) as conn:
        conn.execute("DROP DATABASE bench_from_store")
    median = {what: statistics.median(each) for what, each in seconds.items()}
    for what, each in median.items():
        print(f"restore from {what}: {each:.2f} s, {each / median['the disk']:.2f} times as long as from the disk")


def _memory(uri: str, file_format: str) -> None:
    """Of the command and its reader processes together; pages that they share count once each."""
    command = [sys.executable, "-m", "bench.ours", "--dsn", uri, "--root", "s3://memory/sets", "--jobs", "2"]
    peak = 0
    with psutil.Popen([*command, "--file-format", file_format, "--part-mib", "16"]) as process:
        while process.poll() is None:
            with suppress(psutil.Error):
                peak = max(peak, sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))
            time.sleep(0.02)
    if process.returncode != 0:
        raise RuntimeError(f"the backup ended with code {process.returncode}")
    print(f"peak memory of a backup to a bucket, {file_format}, jobs=2, parts of 16 MiB: {peak / 2**20:.0f} MiB")


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
