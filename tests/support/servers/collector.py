"""A collector: takes spans and metrics by OTLP, over gRPC and over HTTP, as the messages of OpenTelemetry."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

WAIT_SECONDS = 40.0
_BY_PATH: Mapping[str, tuple[Any, Any]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}


@dataclass(frozen=True)
class Collected:
    """A span: its name and kind, the service that sent it, ids in hexadecimal digits, attributes, and its status."""

    name: str
    kind: int
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, str | int]
    status: int
    state: str


@dataclass(frozen=True)
class Measured:
    """A metric as it was sent last: by whom, and the metric itself."""

    service: str
    instance: str
    metric: Metric

    def point(self, **labels: str) -> Any:
        """Return the point with exactly these attributes, None if there is none."""
        data = getattr(self.metric, str(self.metric.WhichOneof("data")))
        return next((point for point in data.data_points if _attributes(point.attributes) == labels), None)


@dataclass
class Collector:
    """What was collected: spans, the last values of metrics, and headers. With `refuses`, nothing is taken."""

    grpc: str
    http: str
    spans: list[Collected] = field(default_factory=list)
    metrics: dict[str, Measured] = field(default_factory=dict)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    refuses: bool = False
    asked: int = 0

    def take(
        self, request: ExportTraceServiceRequest | ExportMetricsServiceRequest, headers: Mapping[str, str]
    ) -> bool:
        """Take what one request has; return whether it was taken."""
        self.asked += 1
        if self.refuses:
            return False
        self.headers.append(headers)
        if isinstance(request, ExportTraceServiceRequest):
            self.spans += list(_read(request))
        else:
            self.metrics |= {measured.metric.name: measured for measured in _read_metrics(request)}
        return True

    def trace(self, trace_id: str, count: int) -> list[Collected]:
        """Return the spans of a trace, once there are `count` of them."""
        self.wait(lambda: len(self._of(trace_id)) >= count, f"{count} spans")
        return self._of(trace_id)

    def wait(self, claim: Callable[[], bool], what: str) -> None:
        """Wait until `claim` holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not claim():
            assert time.monotonic() < deadline, f"there are not {what}: {[(s.service, s.name) for s in self.spans]}"
            time.sleep(0.02)

    def _of(self, trace_id: str) -> list[Collected]:
        return [span for span in self.spans if span.trace_id == trace_id]


def _read(request: ExportTraceServiceRequest) -> Iterator[Collected]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Collected(
                span.name,
                span.kind,
                str(service),
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _attributes(span.attributes),
                span.status.code,
                span.trace_state,
            )


def _read_metrics(request: ExportMetricsServiceRequest) -> Iterator[Measured]:
    for resource in request.resource_metrics:
        sender = _attributes(resource.resource.attributes)
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            yield Measured(str(sender["service.name"]), str(sender["service.instance.id"]), metric)


def _attributes(pairs: Any) -> dict[str, str | int]:
    def value(one: AnyValue) -> str | int:
        return one.int_value if one.HasField("int_value") else one.string_value

    return {pair.key: value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


class _OverGrpc(TraceServiceServicer, MetricsServiceServicer):
    def __init__(self, collector: Collector, response: type[Message]) -> None:
        self._collector = collector
        self._response = response

    def Export(  # noqa: N802 - the contract's name
        self, request: ExportTraceServiceRequest | ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> Any:
        """Take spans or metrics."""
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        if not self._collector.take(request, headers):
            context.abort(grpc.StatusCode.INTERNAL, "no room")
        return self._response()


def _over_http(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers["content-length"]
            body = self.rfile.read(int(length)) if length else b"".join(self._chunks())
            request, response = _BY_PATH[self.path]
            headers = {name.lower(): value for name, value in self.headers.items()}
            taken = collector.take(request.FromString(body), headers)
            answer = response().SerializeToString()
            self.send_response(200 if taken else 400)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on ports that the system picks."""
    server = grpc.server(ThreadPoolExecutor(4))
    port = server.add_insecure_port("127.0.0.1:0")
    collector = Collector(f"http://127.0.0.1:{port}", "")
    traces, metrics = (_OverGrpc(collector, response) for _, response in _BY_PATH.values())
    add_TraceServiceServicer_to_server(traces, server)  # type: ignore[no-untyped-call] # it has no types
    add_MetricsServiceServicer_to_server(metrics, server)  # type: ignore[no-untyped-call] # see above
    server.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), _over_http(collector)) as web:
        collector.http = f"http://127.0.0.1:{web.server_port}"
        thread = Thread(target=web.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            web.shutdown()
            thread.join()
            server.stop(None).wait()
