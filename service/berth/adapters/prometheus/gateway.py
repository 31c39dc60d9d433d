"""What Envoy itself has refused, as a metric: Envoy counts it, and the service never hears of it."""

from collections.abc import Callable, Iterator, Mapping
from threading import Lock

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

NAME = "berth_gateway_refusals"
_ABOUT = (
    "What Envoy refused by itself: requests while too many were running, connections beyond their limit, "
    "and requests while its memory was full."
)


class GatewayRefusals(Collector):
    """Reads the counts of the running Envoy with `read`, by reason, and adds those of Envoys that have ended.

    `read` raises OSError while no Envoy answers; then the last counts are those that count.
    """

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read
        self._ended: dict[str, int] = {}
        self._latest: dict[str, int] = {}
        self._one_at_a_time = Lock()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric."""
        with self._one_at_a_time:
            self._update()
            totals = {reason: self._ended.get(reason, 0) + count for reason, count in self._latest.items()}
        metric = CounterMetricFamily(NAME, _ABOUT, labels=["reason"])
        for reason, total in totals.items():
            metric.add_metric([reason], total)
        yield metric

    def _update(self) -> None:
        try:
            counts = dict(self._read())
        except OSError:
            return
        for reason, count in self._latest.items():
            if counts.get(reason, 0) < count:  # another Envoy, which began at zero
                self._ended[reason] = self._ended.get(reason, 0) + count
        self._latest = counts
