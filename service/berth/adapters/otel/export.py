"""Exports spans to a collector, in a thread: a collector that is slow or away costs spans, and never a call."""

from collections.abc import Callable, Sequence
from threading import Thread

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from structlog.typing import FilteringBoundLogger

from berth.adapters.otel.collector import FINISH_SECONDS, Availability, Collector

MAX_QUEUED = 2048
"""How many spans may wait for the collector; more are dropped."""
BATCH = 512
DELAY_MILLISECONDS = 1000
"""How long spans are gathered."""
Count = Callable[[int], None]


class ExportingProcessor(BatchSpanProcessor):
    """A BatchSpanProcessor with a bounded queue that tells `count_dropped` how many spans were lost."""

    def __init__(self, exporter: SpanExporter, *, count_dropped: Count, log: FilteringBoundLogger) -> None:
        self._ended = 0
        self._counted = _CountedExporter(exporter, count_dropped, Availability("traces", log))
        self._count_dropped = count_dropped
        super().__init__(
            self._counted,
            max_queue_size=MAX_QUEUED,
            schedule_delay_millis=DELAY_MILLISECONDS,
            max_export_batch_size=BATCH,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended, unless there is no room for it."""
        if not span.context or not span.context.trace_flags.sampled:
            return
        if self._ended - self._counted.taken >= MAX_QUEUED:
            self._count_dropped(1)
            return
        self._ended += 1
        super().on_end(span)

    def finish(self) -> None:
        """Export what is there, for at most FINISH_SECONDS; the rest is lost."""
        finishing = Thread(target=super().shutdown, name="traces-end", daemon=True)
        finishing.start()
        finishing.join(FINISH_SECONDS)
        if finishing.is_alive():
            self._counted.shutdown()


class _CountedExporter(SpanExporter):
    """An exporter that counts the spans that it was given, and those that the collector did not take."""

    def __init__(self, exporter: SpanExporter, count_dropped: Count, availability: Availability) -> None:
        self.taken = 0
        self._exporter = exporter
        self._count_dropped = count_dropped
        self._availability = availability
        self._has_ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans."""
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._report(len(spans), is_failing=result is not SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """End what is being sent."""
        if not self._has_ended:
            self._has_ended = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: nothing is kept here."""
        del timeout_millis
        return True

    def _report(self, number: int, *, is_failing: bool) -> None:
        if is_failing:
            self._count_dropped(number)
        self._availability.report(is_failing=is_failing)


def open_processor(collector: Collector, *, count_dropped: Count, log: FilteringBoundLogger) -> ExportingProcessor:
    """Return what exports spans to a collector."""
    return ExportingProcessor(_exporter(collector), count_dropped=count_dropped, log=log)


def _exporter(collector: Collector) -> SpanExporter:
    if collector.protocol == "http":
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415 - one is used

        return http.OTLPSpanExporter(**collector.options("traces"))
    from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415 - see above

    return grpc.OTLPSpanExporter(**collector.options("traces"))
