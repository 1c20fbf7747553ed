"""The commands about what sets hold of each other: consolidate, diff, find."""

from __future__ import annotations

from pgvector_backup.cli.arguments import conf_of
from pgvector_backup.cli.order import PLACE_KEYS, Answer, Order, find_set, log_section, placed
from pgvector_backup.cli.terminal import say, say_table
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.store.location import Location


def consolidate_set(order: Order) -> Answer:
    """Write an increment as a full set."""
    from pgvector_backup.engine.consolidate import consolidate  # noqa: PLC0415 (see `cli`)

    location, found = find_set(order)
    now = order.configuration.now()
    result = consolidate(
        location, found, order.configuration.settings(), now=now, run_id=order.run_id, cancel=order.cancel
    )
    body = result.to_json()
    when = now.isoformat(timespec="seconds")
    log_section(
        location,
        f"==== {when}  CONSOLIDATE OK  {result.backup_id}\nrun_id:    {order.run_id}\n"
        f"of:        {', '.join((*result.chain, result.timestamp))}\n\n",
    )

    def tell() -> None:
        say(f"set {result.backup_id}: full, of what {', '.join((*result.chain, result.timestamp))} hold")
        say_table(
            ("table", "rows", "size", "file"),
            [
                (label, f"{table['row_count']:,}", table["file_size"], table["backup_file"])
                for label, table in body["tables"].items()
            ],
        )
        say("verify it before the sets that it replaces are removed")

    return Answer(body, tell)


def diff_sets(order: Order) -> Answer:
    """Compare two sets by their keys."""
    from pgvector_backup.engine.diff import KINDS, diff  # noqa: PLC0415 (see `cli`)

    catalog, location = _place(order)
    before, after = (catalog.find(location, name) for name in (order.arguments.before, order.arguments.after))
    body = diff(location, before, after, cancel=order.cancel).to_json()

    def tell() -> None:
        say(f"{body['backup_path']}: from {body['a']} to {body['b']}")
        rows: list[tuple[str, ...]] = []
        for label, table in body["tables"].items():
            rows.append((label, *map(_figure, (table[kind] for kind in KINDS)), _figure(table["unchanged"])))
            for name, counts in table.get("collections", {}).items():
                rows.append((f"  {name}", *map(_figure, (counts[kind] for kind in KINDS)), ""))
        say_table(("table", *KINDS, "unchanged"), rows)
        for note in body["notes"]:
            say(f"note: {note}")

    return Answer(body, tell)


def find_row(order: Order) -> Answer:
    """Look for a row in every set of a location."""
    from pgvector_backup.engine.find_key import find_key  # noqa: PLC0415 (see `cli`)

    catalog, location = _place(order)
    body = find_key(catalog.at(location), order.arguments.key, cancel=order.cancel).to_json()

    def tell() -> None:
        if not body["found"]:
            say(f"{body['backup_path']}: in none of the {body['sets_searched']} sets that have keys")
        for label, versions in body["tables"].items():
            say(f"{label}:")
            say_table(
                ("since", "last seen", "gone or changed in", "sets"),
                [
                    (one["since"], one["last_seen"], one["until"] or "still there", ", ".join(one["sets"]))
                    for one in versions
                ],
            )
        for note in body["notes"]:
            say(f"note: {note}")

    return Answer(body, tell)


def _figure(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _place(order: Order) -> tuple[Catalog, Location]:
    conf = placed(conf_of(order.arguments, [key for key in PLACE_KEYS if key.name != "timestamp"]), order.configuration)
    request = VerifyRequest.from_mapping(conf)
    catalog = Catalog(order.configuration.settings())
    return catalog, catalog.place(request.backup_path, request.task_id)
