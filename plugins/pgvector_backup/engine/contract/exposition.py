"""Numbers in Prometheus' text format, written by its client library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from pgvector_backup.engine.base.errors import InvalidParams

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Gauge(Protocol):
    """One gauge with all its samples."""

    name: str
    help: str
    samples: list[tuple[Mapping[str, str], float]]


def exposition(gauges: Iterable[Gauge]) -> bytes:
    """The gauges as a scrape or a textfile collector reads them.

    :raises InvalidParams: without the package prometheus-client
    """
    try:
        from prometheus_client import generate_latest  # noqa: PLC0415 (needed by those who scrape only)
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415
    except ImportError:
        raise InvalidParams("metrics: the package prometheus-client is needed; install it") from None

    class Collector:
        def collect(self) -> Iterator[Metric]:
            for gauge in gauges:
                labels = sorted({label for told, _ in gauge.samples for label in told})
                family = GaugeMetricFamily(gauge.name, gauge.help, labels=labels)
                for told, value in gauge.samples:
                    family.add_metric([told.get(label, "") for label in labels], value)
                yield family

    registry: Any = Collector()
    written: bytes = generate_latest(registry)
    return written
