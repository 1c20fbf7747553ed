"""The command line's words: its commands, and their flags, which come from the keys that every entrance has."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pgvector_backup
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, COPY_KEYS, PRUNE_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.engine.contract.settings import reference

_EPILOG: Final = """\
exit codes:
  0  done                      5  damage: a file does not match its manifest
  1  an error of the program   6  storage: disk full, no right, I/O error
  2  what was asked is wrong   7  database: not reachable, query failed, no right
  3  not found                 130, 143  stopped by Ctrl-C or SIGTERM; nothing half-done is left
  4  conflict: it would lose or overwrite rows, or something is in use

the database: --dsn, else DATABASE_URL, else AIRFLOW_CONN_PGVECTOR_DEFAULT, else libpq's own PGHOST, PGDATABASE, …
settings: flags, else AIRFLOW__PGVECTOR_BACKUP__KEY, else [pgvector_backup] of airflow.cfg, else the defaults
"""

_FLAGS: Final = {
    "backup_root": "--root",
    "backup_directory": "--directory",
    "create_root": "--create-root",
    "copy_roots": "--to",
    "copy_connections": "--to-connection",
    "tables": "--tables",
    "truncate_tables": "--tables",
    "timestamp_format": "--timestamp-format",
    "jobs": "--jobs",
    "max_mb_per_second": "--max-mb-per-second",
    "restore_memory_mb": "--restore-memory-mb",
    "lock_timeout": "--lock-timeout",
    "progress_rows": "--progress-rows",
    "keep_last": "--keep-last",
    "keep_within": "--keep-within",
    "keep_hourly": "--keep-hourly",
    "keep_daily": "--keep-daily",
    "keep_weekly": "--keep-weekly",
    "keep_monthly": "--keep-monthly",
    "keep_yearly": "--keep-yearly",
    "keep_at_least": "--keep-at-least",
}
"""Settings that a command line may give."""

_MEANINGS: Final = {one.key: f"{one.meaning} (default {one.default})" for one in reference() if one.key in _FLAGS}

_NOT_HERE: Final = ("db_connection", "truncate_vector_tables", "backup_vector_tables")
"""Keys that say with flags or commands of their own what they say elsewhere."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    main = argparse.ArgumentParser(
        prog="pgvector-backup",
        description="Back up, verify and restore pgvector tables; what Airflow's DAGs do, without Airflow.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"pgvector-backup {pgvector_backup.__version__}")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    one = _command(commands, "backup", "write the tables, as of one moment, to a new set of files", database=True)
    _keys(one, BACKUP_KEYS)
    _settings(one, "tables", "timestamp_format", "jobs", "max_mb_per_second", "lock_timeout", "progress_rows")
    _create_root(one)

    one = _command(commands, "list", "list the sets, newest first")
    one.add_argument("--task-id", help="only those of this task")
    one.add_argument("--global-only", action="store_true", help="only those of no task")

    one = _command(commands, "show", "show one set: tables, columns, checksums, how it was verified")
    _place(one)

    one = _command(commands, "verify", "hold sets against their manifests; without a place, the newest of each")
    _keys(one, VERIFY_KEYS)
    one.add_argument(
        "--on-server",
        action="store_true",
        help="drill in a scratch database on the server of --dsn, not on an embedded one",
    )
    _dsn(one)
    _settings(one, "lock_timeout", "progress_rows")

    one = _command(commands, "restore", "bring tables of a set back, all or none", database=True)
    _keys(one, RESTORE_KEYS)
    _settings(one, "restore_memory_mb", "lock_timeout", "progress_rows")
    _yes(one)

    one = _command(commands, "truncate", "empty tables, if a set holds every row that they hold", database=True)
    one.add_argument("--task-id", help="the task whose directory holds the set; the root's own if left out")
    one.add_argument("--timestamp", required=True, help="the set to rely on; latest: the newest that is whole")
    _settings(one, "truncate_tables", "lock_timeout")
    _dry_run(one, "say whether it would be allowed, and how many rows it would cost")
    _yes(one)

    one = _command(commands, "copy", "bring sets to other roots, and make again what is lost or damaged there")
    _keys(one, COPY_KEYS)
    one.add_argument(
        "--to",
        dest="setting_copy_roots",
        action=_Listed,
        metavar="ROOT",
        help=f"{_MEANINGS['copy_roots']}; as often as there are such roots".replace(" (default )", ""),
    )
    one.add_argument(
        "--to-connection",
        dest="setting_copy_connections",
        action=_Listed,
        metavar="CONNECTION",
        help=_MEANINGS["copy_connections"].replace(" (default )", ""),
    )
    _create_root(one)

    one = _command(commands, "remove", "remove a set, its files and what lies beside them")
    _place(one)
    _dry_run(one, "say which files would go")
    _yes(one)

    one = _command(commands, "prune", "remove the sets that the retention policy lets go, and say why")
    _keys(one, PRUNE_KEYS)
    _settings(one, *(key for key in _FLAGS if key.startswith("keep_")))
    _yes(one)

    _about_pins(commands)
    _about_chains(commands)
    _command(commands, "metrics", "print numbers about the sets in Prometheus' text format, for a textfile collector")
    return main


def _about_pins(commands: Any) -> None:
    one = _command(commands, "pin", "keep a set, whatever the retention policy says")
    _place(one)
    one.add_argument("--reason", required=True, help="why it is to stay")
    one.add_argument("--until", metavar="DATE", help="up to which day, e.g. 2027-03-01; else until it is unpinned")

    one = _command(commands, "unpin", "let the retention policy decide on a set again")
    _place(one)


def _about_chains(commands: Any) -> None:
    one = _command(commands, "consolidate", "write an increment and all that it stands on as one full set")
    _place(one)

    one = _command(commands, "diff", "tell which rows came, changed and went between two sets, by their keys")
    one.add_argument("before", metavar="A", help="the earlier set's timestamp")
    one.add_argument("after", metavar="B", help="the later set's timestamp; latest: the newest that is whole")
    _keys(one, [key for key in VERIFY_KEYS if key.name in ("backup_path", "task_id")])

    one = _command(commands, "find", "tell in which sets a row lies, since when, until when")
    one.add_argument(
        "--key", nargs="+", required=True, metavar="ID", help="the row's key; of a key of several columns, each of them"
    )
    _keys(one, [key for key in VERIFY_KEYS if key.name in ("backup_path", "task_id")])


def conf_of(arguments: argparse.Namespace, keys: Iterable[Key]) -> dict[str, Any]:
    """The keys of a request that the command line gave."""
    given = {key.name: getattr(arguments, key.name, None) for key in keys if key.name not in _NOT_HERE}
    return {name: value for name, value in given.items() if value is not None}


def settings_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that the command line gave."""
    given: Mapping[str, Any] = vars(arguments)
    return {key: str(value) for key in _FLAGS if (value := given.get(f"setting_{key}")) is not None}


def _command(commands: Any, name: str, says: str, *, database: bool = False) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    _settings(one, "backup_root", "backup_directory")
    one.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    one.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors only, draw no progress")
    if database:
        _dsn(one)
    return one


def _dsn(one: argparse.ArgumentParser) -> None:
    one.add_argument("--dsn", help="postgresql:// URI or key=value words of the database; better without a password")


def _settings(one: argparse.ArgumentParser, *keys: str) -> None:
    for key in keys:
        says = _MEANINGS[key].replace(" (default )", "").replace("%", "%%")
        one.add_argument(_FLAGS[key], dest=f"setting_{key}", metavar=key.upper(), help=says)


def _create_root(one: argparse.ArgumentParser) -> None:
    says = _MEANINGS["create_root"]
    one.add_argument("--create-root", dest="setting_create_root", action="store_const", const="True", help=says)


def _dry_run(one: argparse.ArgumentParser, says: str) -> None:
    one.add_argument("--dry-run", action="store_true", help=says)


def _yes(one: argparse.ArgumentParser) -> None:
    one.add_argument("-y", "--yes", action="store_true", help="do not ask, where rows or files would go")


def _place(one: argparse.ArgumentParser) -> None:
    _keys(one, [key for key in VERIFY_KEYS if key.name in ("backup_path", "task_id", "timestamp")])


def _keys(one: argparse.ArgumentParser, keys: Iterable[Key]) -> None:
    """A flag a key; what it may be is checked where every entrance's requests are."""
    for key in keys:
        if key.name in _NOT_HERE:
            continue
        flags = [f"--{key.name.replace('_', '-')}"]
        if key.name == "backup_before_restore":
            flags.insert(0, "--backup-before")
        says = key.description.replace("`", "").replace("%", "%%")
        if "boolean" in key.types:
            one.add_argument(*flags, dest=key.name, action=argparse.BooleanOptionalAction, default=None, help=says)
        elif "array" in key.types:
            one.add_argument(*flags, nargs="+", action="extend", metavar="NAME", help=says)
        elif "object" in key.types:
            one.add_argument(*flags, action=_Pairs, metavar="OLD=NEW", help=says)
        elif "integer" in key.types:
            one.add_argument(*flags, type=int, metavar="NUMBER", help=says)
        else:
            one.add_argument(*flags, choices=key.choices, metavar=None if key.choices else key.name.upper(), help=says)


class _Listed(argparse.Action):
    """``--flag ONE --flag TWO`` becomes what a setting's list is written as."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, str(values) if before is None else f"{before},{values}")


class _Pairs(argparse.Action):
    """``--flag OLD=NEW``, as often as needed, becomes a mapping."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        old, separator, new = str(values).partition("=")
        if not separator or not old or not new:
            parser.error(f"{option_string}: write OLD=NEW, not {values!r}")
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), old: new})
