"""Sends metrics to a collector, in a thread: one that is slow or away costs values in between, and nothing else."""

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Event, Thread

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from prometheus_client import Metric
from structlog.typing import FilteringBoundLogger

from berth.adapters.otel.collector import FINISH_SECONDS, Availability, Collector
from berth.adapters.otel.metrics import metrics_data


class MetricsSender:
    """Sends what `read` returns to a collector every `seconds`, once it is started, and at the end.

    `resource` says what is measured. Counts are since the start: what is not sent is in what is sent next.
    """

    def __init__(
        self,
        collector: Collector,
        read: Callable[[], Iterable[Metric]],
        *,
        seconds: float,
        resource: Mapping[str, str],
        log: FilteringBoundLogger,
    ) -> None:
        self._exporter = _exporter(collector)
        self._read = read
        self._seconds = seconds
        self._resource = Resource.create(dict(resource))
        self._started = time.time_ns()
        self._availability = Availability("metrics", log)
        self._ending, self._ended = Event(), Event()
        self._thread = Thread(target=self._run, name="metrics-sender", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def finish(self) -> None:
        """Send the last values if it was started, for at most FINISH_SECONDS."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(FINISH_SECONDS)
        self._ended.set()
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._ending.wait(self._seconds):
            self._send()
        if not self._ended.is_set():
            self._send()

    def _send(self) -> None:
        reason = ""
        try:
            is_failing = self._export() is not MetricExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever it is, the next values may be sent
            is_failing, reason = True, str(error) or type(error).__name__
        self._availability.report(is_failing=is_failing, reason=reason)

    def _export(self) -> MetricExportResult:
        data = metrics_data(self._read(), self._resource, started=self._started, now=time.time_ns())
        return self._exporter.export(data)


def _exporter(collector: Collector) -> MetricExporter:
    if collector.protocol == "http":
        from opentelemetry.exporter.otlp.proto.http import metric_exporter as http  # noqa: PLC0415 - one is used

        return http.OTLPMetricExporter(**collector.options("metrics"))
    from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc  # noqa: PLC0415 - see above

    return grpc.OTLPMetricExporter(**collector.options("metrics"))
