"""The commands: each puts a request together, calls one story, tells what came of it."""

from __future__ import annotations

import argparse
import getpass
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pgvector_backup.cli.arguments import conf_of
from pgvector_backup.cli.configuration import Configuration
from pgvector_backup.cli.database import connect_to
from pgvector_backup.cli.terminal import confirm, progress_bars, say, say_table
from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.cancel import Cancel
from pgvector_backup.engine.catalog import Catalog, FoundSet
from pgvector_backup.engine.errors import BackupError, InvalidParams, StorageFault
from pgvector_backup.engine.integrity import read_manifest
from pgvector_backup.engine.location import Location, locate
from pgvector_backup.engine.preview import preview
from pgvector_backup.engine.remove import files_of, remove
from pgvector_backup.engine.request import (
    BACKUP_KEYS,
    LATEST,
    VERIFY_KEYS,
    BackupRequest,
    VerifyRequest,
)
from pgvector_backup.engine.result import RunReport, human_size
from pgvector_backup.engine.truncate import truncate
from pgvector_backup.engine.verify import verify


@dataclass(frozen=True)
class Order:
    """One call of the command line."""

    arguments: argparse.Namespace
    configuration: Configuration
    cancel: Cancel

    @property
    def run_id(self) -> str:
        """By which logs and manifests know who did it."""
        now = self.configuration.now().isoformat(timespec="seconds")
        return f"cli__{_user()}@{platform.node() or 'localhost'}__{now}"


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    :param body: for programs
    :param say: for people
    :param failure: what the exit code tells of
    """

    body: Mapping[str, Any]
    say: Callable[[], None]
    failure: BackupError | None = None


def _backup(order: Order) -> Answer:
    arguments, settings = order.arguments, order.configuration.settings()
    request = BackupRequest.from_mapping(conf_of(arguments, BACKUP_KEYS))
    connect = connect_to(arguments.dsn, order.configuration)
    if arguments.dry_run:
        planned = preview(request, settings, connect, cancel=order.cancel)
        return Answer(planned.to_json(), lambda: _say_preview(planned.to_json()), planned.failure)
    run_id, now = order.run_id, order.configuration.now()
    location = locate(settings.backup_root, request.task_id, settings.backup_directory)
    try:
        with progress_bars(not arguments.quiet) as bars:
            result = backup(request, settings, connect, now=now, run_id=run_id, cancel=order.cancel, on_progress=bars)
    except BackupError as fault:
        report = RunReport(None, None, truncate_asked=False, timestamp=now, faults=[fault.message])
        _log_section(location, report.log_section(task_id=request.task_id, run_id=run_id))
        raise
    faults = [] if result.failure is None else [result.failure.message]
    report = RunReport(result.to_json(), None, truncate_asked=False, timestamp=now, faults=faults)
    _log_section(location, report.log_section(task_id=request.task_id, run_id=run_id))
    body = report.to_json()
    return Answer(body, lambda: _say_backup(body), result.failure)


def _list(order: Order) -> Answer:
    arguments, settings = order.arguments, order.configuration.settings()
    if arguments.task_id is not None and arguments.global_only:
        raise InvalidParams("--global-only: those of no task and those of one task at once are none")
    catalog = Catalog(settings)
    if arguments.task_id is not None:
        found = [catalog.at(catalog.place(None, arguments.task_id))]
    else:
        found = [place for place in catalog.locations() if place.location.task_id is None or not arguments.global_only]
    sets = sorted((one for place in found for one in place.sets), key=lambda one: one.moment, reverse=True)
    body = {"backup_root": str(settings.backup_root), "sets": [_told(one) for one in sets]}
    return Answer(body, lambda: _say_list(sets, str(settings.backup_root)))


def _show(order: Order) -> Answer:
    location, found = _found(order, latest=True)
    manifest = None if found.manifest_file is None or found.damaged else read_manifest(location, found.manifest_file)
    body = _told(found)
    if manifest is not None:
        body |= {
            "run_id": manifest.run_id,
            "source": {
                "server_version": manifest.source.server_version,
                "pgvector_version": manifest.source.pgvector_version,
                "database": manifest.source.database,
            },
            "fingerprint_algorithm": manifest.fingerprint_algorithm,
            "tables": [
                {
                    "name": entry.name,
                    "kind": entry.kind,
                    "rows": entry.rows,
                    "bytes": entry.bytes,
                    "file": entry.file,
                    "format": entry.format,
                    "compression": entry.compression,
                    "sha256": entry.sha256,
                    "fingerprint": entry.fingerprint,
                    "columns": {column.name: column.type for column in entry.columns},
                    "primary_key": list(entry.primary_key),
                    "indexes": [index.definition for index in entry.indexes],
                }
                for entry in manifest.tables
            ],
        }
    body["verification"] = found.verification
    return Answer(body, lambda: _say_set(body))


def _verify(order: Order) -> Answer:
    arguments = order.arguments
    request = VerifyRequest.from_mapping(conf_of(arguments, VERIFY_KEYS))
    if arguments.on_server and request.depth != "drill":
        raise InvalidParams("--on-server: only a drill needs a server; add --depth drill")
    if arguments.dsn is not None and not arguments.on_server:
        raise InvalidParams("--dsn: a verify asks no database; for a drill on that server, add --on-server")
    connect = connect_to(arguments.dsn, order.configuration) if arguments.on_server else None
    with progress_bars(not arguments.quiet) as bars:
        result = verify(
            request,
            order.configuration.settings(),
            connect,
            now=order.configuration.now(),
            run_id=order.run_id,
            cancel=order.cancel,
            on_progress=bars,
        )
    body = result.to_json()
    return Answer(body, lambda: _say_verify(body), result.failure)


def _truncate(order: Order) -> Answer:
    arguments, settings = order.arguments, order.configuration.settings()
    request = BackupRequest.from_mapping({"task_id": arguments.task_id, "truncate_vector_tables": True})
    connect = connect_to(arguments.dsn, order.configuration)
    location, found = _found(order, latest=True)
    if found.manifest_file is None:
        raise InvalidParams(f"timestamp: set {found.backup_id} has no manifest, so nothing can be emptied on its word")
    labels = ", ".join(table.label for table in settings.truncate_tables)
    if not arguments.dry_run:
        confirm(
            f"{labels} will be emptied, if set {found.backup_id} holds every row of it.", labels, sure=arguments.yes
        )
    result = truncate(
        request,
        settings,
        connect,
        manifest_file=found.manifest_file,
        cancel=order.cancel,
        dry_run=arguments.dry_run,
    )
    body = {**result.to_json(), "backup_id": found.backup_id, "dry_run": arguments.dry_run}
    if not arguments.dry_run:
        told = "; ".join(
            f"{label}: {rows:,} rows -> {result.rows_after[label]:,}" for label, rows in result.rows_before.items()
        )
        when = order.configuration.now().isoformat(timespec="seconds")
        _log_section(
            location, f"==== {when}  TRUNCATE OK  {found.backup_id}\nrun_id:    {order.run_id}\ntruncate:  {told}\n\n"
        )
    return Answer(body, lambda: _say_truncate(body))


def _remove(order: Order) -> Answer:
    arguments = order.arguments
    location, found = _found(order, latest=False)
    names = files_of(location, found)
    if not arguments.dry_run:
        confirm(
            f"Set {found.backup_id} in {location.directory} will be removed: {len(names)} files, "
            f"{human_size(found.bytes)}.",
            found.backup_id,
            sure=arguments.yes,
        )
        names = remove(location, found)
    body = {
        "backup_path": found.relative_path,
        "timestamp": found.backup_id,
        "remove_performed": not arguments.dry_run,
        "dry_run": arguments.dry_run,
        "files": names,
    }

    def tell() -> None:
        say(f"set {found.backup_id} in {location.directory}: {'would remove' if arguments.dry_run else 'removed'}")
        for name in names:
            say(f"  {name}")

    return Answer(body, tell)


COMMANDS: Final[dict[str, Callable[[Order], Answer]]] = {
    "backup": _backup,
    "list": _list,
    "show": _show,
    "verify": _verify,
    "truncate": _truncate,
    "remove": _remove,
}


# --- what they share ---


def _found(order: Order, *, latest: bool) -> tuple[Location, FoundSet]:
    """The set that the command line names.

    :param latest: whether it need not say which
    """
    arguments = order.arguments
    conf = conf_of(arguments, [key for key in VERIFY_KEYS if key.name in ("backup_path", "task_id", "timestamp")])
    timestamp = conf.get("timestamp", LATEST if latest else None)
    if timestamp is None:
        raise InvalidParams("--timestamp: say which set")
    # Checked as every entrance's requests are; the root's own place is the one that needs no name.
    VerifyRequest.from_mapping({"timestamp": timestamp, "backup_path": "-", **conf} if len(conf) < 2 else conf)
    catalog = Catalog(order.configuration.settings())
    location = catalog.place(conf.get("backup_path"), conf.get("task_id"))
    if timestamp == LATEST and not latest:
        raise InvalidParams("--timestamp: name the set itself; latest may be another one by the time it is removed")
    return location, catalog.find(location, timestamp)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user, as in a container
        return "unknown"


def _log_section(location: Location, section: str) -> None:
    try:
        location.append_log(section)
    except StorageFault as fault:
        say(f"note: no section was added to the log file: {fault.message}")


def _told(one: FoundSet) -> dict[str, Any]:
    return {
        "backup_path": one.relative_path,
        "task_id": one.task_id,
        "timestamp": one.backup_id,
        "created_at": one.created_at,
        "backup_directory": one.directory,
        "manifest_file": one.manifest_file,
        "rows": one.rows,
        "bytes": one.bytes,
        "whole": one.whole,
        "damaged": one.damaged,
        "failed_tables": dict(one.failed_tables or {}),
        "verified": _verified(one),
        "tables": [
            {"name": table.name, "file": table.file, "rows": table.rows, "bytes": table.bytes} for table in one.tables
        ],
    }


def _verified(one: FoundSet) -> dict[str, Any] | None:
    if one.verification is None:
        return None
    return {name: one.verification.get(name) for name in ("verified_at", "depth", "ok", "run_id")}


# --- for people ---


def _rows(rows: int | None) -> str:
    return "?" if rows is None else f"{rows:,}"


def _say_preview(body: Mapping[str, Any]) -> None:
    say(
        f"would back up database {body['database']} (PostgreSQL {body['server_version']}) to {body['backup_directory']}"
    )
    say_table(
        ("table", "rows, about", "size, about"),
        [
            (label, _rows(table["rows"]), table["file_size"] or "?")
            if table["success"]
            else (label, "FAILS", table["error"])
            for label, table in body["tables"].items()
        ],
    )
    free = "unknown" if body["free_bytes"] is None else human_size(body["free_bytes"])
    say(f"needed: about {body['needed_size']}, free: {free}")


def _say_backup(body: Mapping[str, Any]) -> None:
    if body["backup_id"] is None:
        return
    say(f"set {body['backup_id']} in {body['backup_directory']}, {body['duration']:.3f} s")
    say_table(
        ("table", "rows", "size", "file"),
        [
            (label, f"{table['row_count']:,}", table["file_size"], table["backup_file"])
            if table["success"]
            else (label, "FAILED", "", table["error"])
            for label, table in body["tables_backed_up"].items()
        ],
    )


def _say_list(sets: list[FoundSet], root: str) -> None:
    if not sets:
        say(f"no sets below {root}")
        return
    say_table(
        ("timestamp", "where", "tables", "rows", "size", "state", "verified"),
        [
            (
                one.backup_id,
                one.relative_path,
                str(len(one.tables)),
                _rows(one.rows),
                human_size(one.bytes),
                _state(one),
                _when_verified(one),
            )
            for one in sets
        ],
    )


def _state(one: FoundSet) -> str:
    if one.damaged:
        return "DAMAGED"
    if one.manifest_file is None:
        return "no manifest"
    return "lacks tables" if one.failed_tables else "whole"


def _when_verified(one: FoundSet) -> str:
    told = _verified(one)
    if told is None:
        return "never"
    return f"{told['verified_at']} {told['depth']}{'' if told['ok'] else ' FAILED'}"


def _say_set(body: Mapping[str, Any]) -> None:
    say(f"set        {body['timestamp']}")
    say(f"in         {body['backup_directory']}")
    say(f"made       {body['created_at']}")
    if body["damaged"]:
        say(f"DAMAGED    {body['damaged']}")
    if source := body.get("source"):
        pgvector = source["pgvector_version"] or "none"
        say(f"of         database {source['database']}, PostgreSQL {source['server_version']}, pgvector {pgvector}")
    if (verification := body["verification"]) is not None:
        state = "whole" if verification.get("ok") else "DAMAGED"
        say(f"verified   {verification.get('verified_at')}, {verification.get('depth')}: {state}")
        for error in verification.get("errors", ()):
            say(f"           {error}")
    for label, why in body["failed_tables"].items():
        say(f"lacks      {label}: {why}")
    for table in body["tables"]:
        say()
        say(f"table      {table['name']}: {_rows(table['rows'])} rows, {human_size(table['bytes'])}")
        say(f"file       {table['file']}")
        if "sha256" in table:
            say(f"sha256     {table['sha256']}")
            say(f"columns    {', '.join(f'{name} {kind}' for name, kind in table['columns'].items())}")
            for definition in table["indexes"]:
                say(f"index      {definition}")


def _say_verify(body: Mapping[str, Any]) -> None:
    if not body["sets"]:
        say("nothing to verify: there is no set")
    for one in body["sets"]:
        state = "whole" if one["ok"] else "DAMAGED" if one["damaged_tables"] or not one["tables"] else "NOT VERIFIED"
        say(f"{one['backup_path']} {one['timestamp']}: {state} ({one['depth']}, {one['duration']:.3f} s)")
        for label, table in one["tables"].items():
            drill = table.get("drill")
            drilled = "" if drill is None else f", restored {drill['rows']:,} rows, {drill['searches']} searches equal"
            say(f"  {label}: {'whole' if table['ok'] else 'DAMAGED'}, {_rows(table['rows'])} rows{drilled}")
        for error in one["errors"]:
            say(f"  error: {error}")
        for note in one["notes"]:
            say(f"  note: {note}")
    for note in body["notes"]:
        say(f"note: {note}")


def _say_truncate(body: Mapping[str, Any]) -> None:
    for label, table in body["truncate_results"].items():
        if body["dry_run"]:
            say(f"{label}: {table['rows_before']:,} rows, all of them in set {body['backup_id']}; would be emptied")
        else:
            say(f"{label}: {table['rows_before']:,} rows -> {table['rows_after']:,}")
