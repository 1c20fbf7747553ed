"""The command that brings sets to other roots."""

from __future__ import annotations

from pgvector_backup.cli.arguments import conf_of
from pgvector_backup.cli.order import Answer, Order, placed
from pgvector_backup.cli.terminal import progress_bars, say
from pgvector_backup.engine.contract.copy_result import CopyResult
from pgvector_backup.engine.contract.request_keys import COPY_KEYS
from pgvector_backup.engine.contract.requests import CopyRequest


def copy_sets(order: Order) -> Answer:
    """Bring sets to other roots, and make again what is lost or damaged there."""
    from pgvector_backup.engine.copy_sets import copy, log_copies  # noqa: PLC0415 (see `cli`)

    arguments, settings = order.arguments, order.configuration.settings()
    conf = conf_of(arguments, COPY_KEYS)
    if not conf.get("all"):
        conf = placed(conf, order.configuration)
    request = CopyRequest.from_mapping(conf)
    with progress_bars(not arguments.quiet) as bars:
        result = copy(request, settings, now=order.configuration.now(), cancel=order.cancel, on_progress=bars)
    log_copies(request, settings, result, run_id=order.run_id)
    body = result.to_json()
    return Answer(body, lambda: _tell(result), result.failure)


def _tell(result: CopyResult) -> None:
    for one in result.copies:
        say(f"set {one.timestamp} of {one.backup_path} to {one.line()}")
    for note in result.notes:
        say(f"note: {note}")
    if not result.copies:
        say("nothing was copied: there is no set")
