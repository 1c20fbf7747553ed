"""The command that prints numbers for a textfile collector."""

from __future__ import annotations

from pgvector_backup.cli.order import Answer, Order
from pgvector_backup.cli.terminal import say_lines
from pgvector_backup.engine.contract.exposition import exposition
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.gauges import gauges


def print_metrics(order: Order) -> Answer:
    """The numbers of ``GET /metrics``, in Prometheus' text format."""
    families = gauges(Catalog(order.configuration.settings()))
    text = exposition(families).decode()
    body = {one.name: [{"labels": dict(labels), "value": value} for labels, value in one.samples] for one in families}
    return Answer(body, lambda: say_lines(text.rstrip("\n")))
