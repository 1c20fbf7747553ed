"""The commands that say how long sets stay: prune, pin, unpin."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from pgvector_backup.cli.arguments import conf_of
from pgvector_backup.cli.order import Answer, Order, find_set, user
from pgvector_backup.cli.terminal import confirm, say, say_table
from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.request_keys import PRUNE_KEYS
from pgvector_backup.engine.contract.requests import PruneRequest
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.sets.beside import Pin, lift_pin, parse_until
from pgvector_backup.engine.store.naming import LATEST


def prune_sets(order: Order) -> Answer:
    """Remove what the retention policy lets go; the plan is shown, and what would go has to be confirmed."""
    from pgvector_backup.engine.prune import prune  # noqa: PLC0415 (see `cli`)

    arguments, settings = order.arguments, order.configuration.settings()
    request = PruneRequest.from_mapping(conf_of(arguments, PRUNE_KEYS))
    now = order.configuration.now()
    if not request.dry_run and not arguments.yes:
        planned = replace(request, dry_run=True)
        plan = prune(planned, settings, now=now, cancel=order.cancel).to_json()
        going = [gone for one in plan["locations"] for gone in one["removed"]]
        if going:
            _tell(plan)
            confirm(
                f"{len(going)} sets below {settings.backup_root} will be removed, {human_size(plan['bytes_freed'])}.",
                str(len(going)),
                sure=False,
            )
    result = prune(request, settings, now=now, run_id=order.run_id, cancel=order.cancel)
    body = result.to_json()
    return Answer(body, lambda: _tell(body), result.failure)


def pin_set(order: Order) -> Answer:
    """Keep a set, whatever the policy says."""
    from pgvector_backup.engine.pin import pin  # noqa: PLC0415 (see `cli`)

    arguments = order.arguments
    _require_timestamp(arguments.timestamp)
    location, one = find_set(order)
    now = order.configuration.now()
    held = Pin(user(), arguments.reason, parse_until(arguments.until, now.tzinfo or timezone.utc), now)
    if not held.holds(now):
        raise InvalidParams(f"until: {arguments.until!r} is past")
    pin(location, one, held)
    body = {"backup_path": one.relative_path, "timestamp": one.backup_id, "pin": held.to_json()}
    return Answer(body, lambda: say(f"set {one.backup_id}: {held.describe(_zone(now))}"))


def unpin_set(order: Order) -> Answer:
    """Let the policy decide on a set again."""
    _require_timestamp(order.arguments.timestamp)
    location, one = find_set(order)
    held = lift_pin(location, one.backup_id)
    body = {"backup_path": one.relative_path, "timestamp": one.backup_id, "was_pinned": held.to_json()}
    was = held.describe(_zone(order.configuration.now()))
    return Answer(body, lambda: say(f"set {one.backup_id} is no longer {was}"))


def _zone(now: datetime) -> Any:
    return now.tzinfo or timezone.utc


def _require_timestamp(timestamp: str | None) -> None:
    if timestamp in (None, LATEST):
        raise InvalidParams("--timestamp: name the set itself; the latest is another one tomorrow")


def _tell(body: dict[str, Any]) -> None:
    would = "would go" if body["dry_run"] else "removed"
    for one in body["locations"]:
        say(f"{one['backup_path']}{' at ' + one['root'] if 'root' in one else ''}:")
        say_table(
            ("set", "", "why"),
            [
                *(
                    (kept["timestamp"], "retained" if "retained" in kept else "stays", _why(kept))
                    for kept in one["kept"]
                ),
                *((gone["timestamp"], would, _why(gone)) for gone in one["removed"]),
            ],
        )
        for new in one.get("consolidated", []):
            as_full = "a full set of it first" if body["dry_run"] else f"now full, as set {new['backup_id']}"
            say(f"  {new['timestamp']}: {as_full}")
        if "waiting" in one:
            say(f"  {one['waiting']}")
    freed = "would be freed" if body["dry_run"] else "freed"
    say(
        f"{human_size(body['bytes_freed'])} {freed}"
        if body["locations"]
        else "nothing is removed: no policy is set, or no set is there"
    )
    for error in messages.all_heard(body, "errors"):
        say(f"error: {messages.english(error)}")


def _why(one: dict[str, Any]) -> str:
    reasons = "; ".join(one["reasons"])
    return f"{one['retained']} ({reasons})" if "retained" in one else reasons
