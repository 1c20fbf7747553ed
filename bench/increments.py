"""What increments cost and save: ``python -m bench.increments [--rows 100000] [--dimensions 1536] [--rounds 3]``.

A table on a server of its own; in each round a full set without keys, one with keys, and after 1 % was changed an
increment, in CSV and in binary; in the end a full set and a chain of eight are restored in turns. Prints a table.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg

from demo.embedded import OpenedPostgres
from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.backup_result import BackupResult
from pgvector_backup.engine.contract.requests import BackupRequest, RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names
from pgvector_backup.engine.restore import restore

_INCREMENTS = 7


def main() -> None:
    """Measure, and print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=100_000)
    asked.add_argument("--dimensions", type=int, default=1536)
    asked.add_argument("--rounds", type=int, default=3)
    arguments = asked.parse_args()
    with tempfile.TemporaryDirectory() as directory, OpenedPostgres(Path(directory) / "postgres") as server:
        _Bench(server, Path(directory), arguments).run()


class _Bench:
    def __init__(self, server: OpenedPostgres, directory: Path, arguments: argparse.Namespace) -> None:
        self._server = server
        self._directory = directory
        self._rows = arguments.rows
        self._dimensions = arguments.dimensions
        self._rounds = arguments.rounds
        self._night = datetime.now(timezone.utc)

    def run(self) -> None:
        """Every line of the table."""
        self._execute("CREATE EXTENSION vector")
        self._execute(f"CREATE TABLE t (id text PRIMARY KEY, document text, v vector({self._dimensions}))")
        self._execute(
            f"INSERT INTO t SELECT md5(g::text), 'document ' || g, (SELECT array_agg(random()) FROM"
            f" generate_series(1, {self._dimensions}) WHERE g > 0)::vector FROM generate_series(1, {self._rows}) g"
        )
        self._execute("CHECKPOINT")
        print(f"{self._rows:,} rows × {self._dimensions}, {self._rounds} rounds, medians")
        for file_format in ("csv", "binary"):
            self._of_format(file_format)
        self._restores()
        print(f"peak RSS of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")

    def _of_format(self, file_format: str) -> None:
        root = self._directory / file_format
        root.mkdir()
        plain, keyed, later = [], [], []
        for number in range(self._rounds):
            plain.append(self._backup(root / f"plain_{number}", file_format, "full"))
            keyed.append(self._backup(root / f"keyed_{number}", file_format, "incremental"))
            self._change(number)
            later.append(self._backup(root / f"keyed_{number}", file_format, "incremental"))
            assert later[-1][1].mode == "incremental", later[-1][1].full_because
        full, with_keys, increment = (
            statistics.median(seconds for seconds, _, _ in one) for one in (plain, keyed, later)
        )
        sizes = [one[0][2] for one in (plain, keyed, later)]
        print(f"{file_format}: full {full:.2f} s, full with keys {with_keys:.2f} s, increment of 1 % {increment:.2f} s")
        print(f"{file_format}: increment against full: {full / increment:.1f}× as fast")
        print(f"{file_format}: size of an increment {sizes[2] / sizes[0]:.2%} of a full set")
        print(f"{file_format}: keys cost {with_keys / full - 1:.1%} of time, {sizes[1] / sizes[0] - 1:.2%} of size")

    def _restores(self) -> None:
        root = self._directory / "chain"
        _, full, _ = self._backup(root, "csv", "incremental")
        for number in range(_INCREMENTS):
            self._change(100 + number)
            _, last, _ = self._backup(root, "csv", "incremental")
        assert last.chain_length == _INCREMENTS + 1
        seconds: dict[str, list[float]] = {"full": [], "chain": []}
        for _ in range(self._rounds):
            for name, one in (("full", full), ("chain", last)):
                started = time.monotonic()
                self._restore(root, str(one.backup_id))
                seconds[name].append(time.monotonic() - started)
        alone, chain = (statistics.median(seconds[name]) for name in ("full", "chain"))
        print(f"restore: full {alone:.2f} s, full and {_INCREMENTS} increments {chain:.2f} s: {chain / alone:.2f}×")

    def _change(self, number: int) -> None:
        self._execute(f"UPDATE t SET document = 'changed {number}' WHERE hashtext(id || '{number}') % 100 = 0")

    def _backup(self, root: Path, file_format: Any, mode: Any) -> tuple[float, BackupResult, int]:
        root.mkdir(exist_ok=True)
        self._night += timedelta(minutes=1)
        tables = parse_names("t")
        settings = Settings(backup_root=root, tables=tables, truncate_tables=())
        started = time.monotonic()
        result = backup(BackupRequest(file_format=file_format, mode=mode), settings, self._connect(), now=self._night)
        seconds = time.monotonic() - started
        assert result.failure is None, result.failure
        files = (root / "vector_bak").glob(f"*_{result.backup_id}.*")
        return seconds, result, sum(path.stat().st_size for path in files)

    def _restore(self, root: Path, backup_id: str) -> None:
        settings = Settings(backup_root=root, tables=parse_names("t"), truncate_tables=())
        request = RestoreRequest(backup_path="vector_bak", timestamp=backup_id, schema="other")
        self._execute("DROP SCHEMA IF EXISTS other CASCADE")
        self._execute("CREATE SCHEMA other")
        restore(request, settings, self._connect(), now=self._night)

    def _connect(self) -> Callable[[], psycopg.Connection[Any]]:
        return lambda: psycopg.connect(self._server.dsn)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server.dsn, autocommit=True) as conn:
            conn.execute(statement.encode())


if __name__ == "__main__":
    main()
