"""The commands: each puts a request together, calls one story, tells what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from pgvector_backup.cli import words
from pgvector_backup.cli.arguments import conf_of
from pgvector_backup.cli.chains import consolidate_set, diff_sets, find_row
from pgvector_backup.cli.consent import confirm_loss, find_for
from pgvector_backup.cli.copies import copy_sets
from pgvector_backup.cli.database import connect_to, named_by
from pgvector_backup.cli.metrics import print_metrics
from pgvector_backup.cli.order import Answer, Order, find_set, log_section, placed, placed_set
from pgvector_backup.cli.retention import pin_set, prune_sets, unpin_set
from pgvector_backup.cli.terminal import confirm, progress_bars, say
from pgvector_backup.engine.base.errors import BackupError, InvalidParams
from pgvector_backup.engine.contract.backup_result import RunReport
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.engine.contract.requests import BackupRequest, RestoreRequest, VerifyRequest
from pgvector_backup.engine.contract.restore_result import RestoreReport, SavedFirst
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.copies import at_copy, whereabouts
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.set_json import describe_set
from pgvector_backup.engine.store.naming import LATEST
from pgvector_backup.engine.store.root import locate, require_root

_log: Final = logging.getLogger(__name__)


def _backup(order: Order) -> Answer:
    from pgvector_backup.engine.backup import backup  # noqa: PLC0415 (see `cli`)
    from pgvector_backup.engine.preview import preview  # noqa: PLC0415 (see `cli`)

    arguments, settings = order.arguments, order.configuration.settings()
    request = BackupRequest.from_mapping(conf_of(arguments, BACKUP_KEYS))
    connect = connect_to(arguments.dsn, order.configuration)
    if request.dry_run:
        planned = preview(request, settings, connect, cancel=order.cancel)
        return Answer(planned.to_json(), lambda: words.say_preview(planned.to_json()), planned.failure)
    run_id, now = order.run_id, order.configuration.now()
    require_root(settings.backup_root, create=settings.may_make_root)
    location = locate(settings.backup_root, request.task_id, settings.backup_directory)
    try:
        with progress_bars(not arguments.quiet) as bars:
            result = backup(request, settings, connect, now=now, run_id=run_id, cancel=order.cancel, on_progress=bars)
    except BackupError as fault:
        report = RunReport(None, None, truncate_asked=False, timestamp=now, faults=[fault.message])
        log_section(location, report.log_section(task_id=request.task_id, run_id=run_id))
        raise
    faults = [] if result.failure is None else [result.failure.message]
    told = {**result.to_json(), "connection": named_by(arguments.dsn, order.configuration)}
    report = RunReport(told, None, truncate_asked=False, timestamp=now, faults=faults)
    log_section(location, report.log_section(task_id=request.task_id, run_id=run_id))
    body = report.to_json()
    return Answer(body, lambda: words.say_backup(body), result.failure)


def _list(order: Order) -> Answer:
    arguments, settings = order.arguments, order.configuration.settings()
    if arguments.task_id is not None and arguments.global_only:
        raise InvalidParams("--global-only: those of no task and those of one task at once are none")
    catalog = Catalog(settings)
    if arguments.task_id is not None:
        found = [catalog.at(catalog.place(None, arguments.task_id))]
    else:
        found = [place for place in catalog.locations() if place.location.task_id is None or not arguments.global_only]
    pairs = [(one, place.has_log) for place in found for one in place.sets]
    pairs.sort(key=lambda pair: pair[0].moment, reverse=True)
    body = {
        "backup_root": str(settings.backup_root),
        "sets": [_set_json(one, has_log=has_log) for one, has_log in pairs],
    }
    return Answer(body, lambda: words.say_list([one for one, _ in pairs], str(settings.backup_root)))


def _show(order: Order) -> Answer:
    location, found = find_set(order)
    manifest = None if found.manifest_file is None or found.damaged else Manifest.read(location, found.manifest_file)
    has_log = Catalog(order.configuration.settings()).at(location).has_log
    body = _set_json(found, has_log=has_log)
    if manifest is not None:
        body |= {
            "run_id": manifest.run_id,
            "source": {
                "server_version": manifest.source.server_version,
                "pgvector_version": manifest.source.pgvector_version,
                "database": manifest.source.database,
                "system_identifier": manifest.source.system_identifier,
            },
            "fingerprint_algorithm": manifest.fingerprint_algorithm,
            "tables": [
                table
                | {
                    "kind": entry.kind,
                    "fingerprint": entry.fingerprint,
                    "columns": {column.name: column.type for column in entry.columns},
                    "primary_key": list(entry.primary_key),
                    "indexes": [index.definition for index in entry.indexes],
                }
                for table, entry in zip(body["tables"], manifest.tables, strict=True)
            ],
        }
    body["verification"] = found.verification
    if manifest is not None:
        settings = order.configuration.settings()
        body["copies"] = [asdict(one) for one in whereabouts(settings, location, str(found.manifest_file))]
    return Answer(body, lambda: words.say_set(body))


def _verify(order: Order) -> Answer:
    from pgvector_backup.engine.verify import verify  # noqa: PLC0415 (see `cli`)

    arguments = order.arguments
    conf = conf_of(arguments, VERIFY_KEYS)
    if "timestamp" in conf:
        conf = placed(conf, order.configuration)
    request = VerifyRequest.from_mapping(conf)
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
    return Answer(body, lambda: words.say_verify(body), result.failure)


def _restore(order: Order) -> Answer:
    from pgvector_backup.engine.restore import restore  # noqa: PLC0415 (see `cli`)

    arguments, settings = order.arguments, order.configuration.settings()
    conf = {"backup_before_restore": settings.backup_before_restore, **conf_of(arguments, RESTORE_KEYS)}
    request = RestoreRequest.from_mapping(placed(conf, order.configuration))
    settings = at_copy(settings, request.from_copy)
    connect = connect_to(arguments.dsn, order.configuration)
    catalog = Catalog(settings)
    location = catalog.place(request.backup_path, request.task_id)
    found = find_for(order, connect, location, request.timestamp, catalog=catalog)
    labels = ", ".join(request.tables or [table.name for table in found.tables])
    one = f"set {found.backup_id} of {words.source(found)}"
    if not request.dry_run and request.truncate_before_restore:
        confirm_loss(order, connect, f"{labels}: the rows that are there now will be replaced by those of {one}.")
    if not request.dry_run and request.on_conflict == "update":
        confirm_loss(order, connect, f"{labels}: rows whose keys are in {one} will be overwritten.")
    run_id, now = order.run_id, order.configuration.now()
    asked = (found.relative_path, found.backup_id)
    saved: list[SavedFirst] = []
    try:
        with progress_bars(not arguments.quiet) as bars:
            result = restore(
                replace(request, timestamp=found.backup_id),
                settings,
                connect,
                now=now,
                run_id=run_id,
                cancel=order.cancel,
                on_progress=bars,
                on_saved=saved.append,
            )
    except BackupError as fault:
        if not request.dry_run:
            kept = saved[0].to_json() if saved else None
            report = RestoreReport(None, asked, now, [fault.message], saved=kept)
            log_section(location, report.log_section(run_id=run_id))
        raise
    body = {**result.to_json(), "connection": named_by(arguments.dsn, order.configuration)}
    if not request.dry_run:
        log_section(location, RestoreReport(body, asked, now).log_section(run_id=run_id))
    refusal = result.refusal(request)
    return Answer(body, lambda: words.say_restore(body, refused=refusal is not None), refusal)


def _truncate(order: Order) -> Answer:
    from pgvector_backup.engine.truncate import truncate  # noqa: PLC0415 (see `cli`)

    arguments, settings = order.arguments, order.configuration.settings()
    request = BackupRequest.from_mapping({"task_id": arguments.task_id, "truncate_vector_tables": True})
    connect = connect_to(arguments.dsn, order.configuration)
    catalog, location, timestamp = placed_set(order)
    found = find_for(order, connect, location, timestamp, catalog=catalog)
    if found.manifest_file is None:
        raise InvalidParams(f"timestamp: set {found.backup_id} has no manifest, so nothing can be emptied on its word")
    labels = ", ".join(table.label for table in settings.truncate_tables)
    if not arguments.dry_run:
        confirm_loss(order, connect, f"{labels} will be emptied, if set {found.backup_id} holds every row of it.")
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
        noted = "".join(f"note:      {note}\n" for note in result.notes)
        log_section(
            location,
            f"==== {when}  TRUNCATE OK  {found.backup_id}\nrun_id:    {order.run_id}\ntruncate:  {told}\n{noted}\n",
        )
    return Answer(body, lambda: words.say_truncate(body))


def _remove(order: Order) -> Answer:
    from pgvector_backup.engine.remove import files_of, remove  # noqa: PLC0415 (see `cli`)

    arguments = order.arguments
    if arguments.timestamp in (None, LATEST):
        raise InvalidParams("--timestamp: name the set itself; the latest may be another one by the time it is removed")
    location, found = find_set(order)
    names = files_of(location, found)
    if not arguments.dry_run:
        confirm(
            f"Set {found.backup_id} of {words.source(found)} in {location.directory} will be removed: "
            f"{len(names)} files, {human_size(found.bytes)}.",
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
    "restore": _restore,
    "truncate": _truncate,
    "remove": _remove,
    "copy": copy_sets,
    "prune": prune_sets,
    "pin": pin_set,
    "unpin": unpin_set,
    "metrics": print_metrics,
    "consolidate": consolidate_set,
    "diff": diff_sets,
    "find": find_row,
}


def _set_json(one: FoundSet, *, has_log: bool) -> dict[str, Any]:
    """A set as everywhere, with where it lies on this machine; its tables are a list here, as they always were."""
    described = describe_set(one, has_log=has_log)
    if (verified := described["verified"]) is not None:
        verified["verified_at"] = verified["when"]  # as it has always been called here
    tables = [{"name": name, **table} for name, table in described["tables"].items()]
    return {"backup_path": one.relative_path, "backup_directory": one.directory, **described, "tables": tables}
