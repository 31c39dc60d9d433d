"""What Envoy refuses by itself, as it is added to the metrics."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from berth.adapters.prometheus.gateway import GatewayRefusals


class Envoys:
    """The Envoys that run one after the other; `counts` is None while none answers."""

    def __init__(self) -> None:
        self.counts: Mapping[str, int] | None = {"requests": 0}

    def read(self) -> Mapping[str, int]:
        """Return the counts of the running one."""
        if self.counts is None:
            raise OSError
        return self.counts


def test_counts_survive_envoy() -> None:
    """Counts do not fall when Envoy is started again, and none is missing while it is away."""
    envoys, registry = Envoys(), CollectorRegistry()
    registry.register(GatewayRefusals(envoys.read))
    totals: list[float | None] = []
    for count in (0, 5, None, 2, 3, 0):
        envoys.counts = None if count is None else {"requests": count}
        totals.append(registry.get_sample_value("berth_gateway_refusals_total", {"reason": "requests"}))
    assert totals == [0, 5, 5, 7, 8, 8]
