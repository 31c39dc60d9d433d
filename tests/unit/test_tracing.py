"""Traces without a server: the headers of callers, spans and their parents, and an export that never blocks."""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from socket import create_server

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import process_attributes, rpc_attributes
from opentelemetry.semconv.attributes import db_attributes, error_attributes, http_attributes, server_attributes
from opentelemetry.semconv.attributes import url_attributes as url

from berth.adapters.otel.collector import Collector
from berth.adapters.otel.export import MAX_QUEUED, ExportingProcessor, open_processor
from berth.adapters.otel.tracer import MAX_PARTS, OMITTED, OtelTracer
from berth.adapters.sql.observed.statements import summary_of
from berth.core.errors import NotFoundError, StorageError
from berth.core.observation.spans import NO_TRACER, Kind
from berth.core.observation.trace_context import MAX_STATE_LENGTH, TraceContext

TRACE, CALLER = "ab" * 16, "cd" * 8
SILENT = structlog.wrap_logger(None, processors=[])


def tracer(ratio: float = 1.0) -> tuple[OtelTracer, InMemorySpanExporter]:
    """Return a tracer, and where its spans are."""
    exporter = InMemorySpanExporter()
    return OtelTracer(SimpleSpanProcessor(exporter), sampling_ratio=ratio, resource={"service.name": "test"}), exporter


@pytest.fixture
def spans() -> tuple[OtelTracer, InMemorySpanExporter]:
    return tracer()


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE.upper()}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",
        f"00-{TRACE}-{CALLER}-01\n",
        f"00-{TRACE}-{CALLER}-01,00-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-1",
        f"01-{TRACE}-{CALLER}-01-{'x' * 100_000}",
    ],
)
def test_a_header_that_is_no_context_begins_a_new_trace(parent: str) -> None:
    """What W3C Trace Context forbids is ignored, whatever its length."""
    assert TraceContext.parse(parent) is None


def test_the_context_of_a_caller_is_read() -> None:
    """Ids, the flag and the state; a later version may have more, and a state that is too long is dropped."""
    assert TraceContext.parse(f"00-{TRACE}-{CALLER}-03", "a=1") == TraceContext(TRACE, CALLER, True, "a=1")
    later = TraceContext.parse(f"01-{TRACE}-{CALLER}-02-more", "a" * (MAX_STATE_LENGTH + 1))
    assert later == TraceContext(TRACE, CALLER, is_sampled=False)


def test_parts_of_a_call_are_its_children(spans: tuple[OtelTracer, InMemorySpanExporter]) -> None:
    """A span is a part of the current one, and a failure has its class and never its text."""
    tracer, exporter = spans
    with tracer.call("call", TraceContext(TRACE, CALLER, is_sampled=True), {}) as call:
        assert call.trace_id == TRACE
        with (
            pytest.raises(StorageError),
            tracer.part("outer", {}),
            tracer.part("inner", {"db.system.name": "sqlite"}, kind=Kind.CLIENT),
        ):
            raise StorageError("hidden text")
        with pytest.raises(NotFoundError), tracer.part("refused", {}):
            raise NotFoundError("hidden text")
    inner, outer, refused, called = exporter.get_finished_spans()
    assert (parent_of(inner), parent_of(outer), parent_of(refused)) == (id_of(outer), id_of(called), id_of(called))
    assert parent_of(called) == CALLER
    assert dict(inner.attributes or {}) == {"db.system.name": "sqlite", "error.type": "StorageError"}
    assert (inner.status.is_ok, refused.status.is_ok) == (False, True)
    assert all("hidden" not in span.to_json() for span in exporter.get_finished_spans())


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}" if span.context else ""


def test_a_call_has_a_bounded_number_of_spans(spans: tuple[OtelTracer, InMemorySpanExporter]) -> None:
    """Beyond 256 parts nothing more is recorded, and the call says how many were left out."""
    tracer, exporter = spans
    with tracer.call("call", None, {}):
        for _ in range(MAX_PARTS + 7):
            with tracer.part("part", {}):
                pass
    *parts, call = exporter.get_finished_spans()
    assert len(parts) == MAX_PARTS == 256
    assert dict(call.attributes or {}) == {OMITTED: 7}


def test_what_is_not_sampled_is_continued_and_not_recorded() -> None:
    """A provider gets the context of a trace that its caller does not record, with the flag off."""
    nothing, exporter = tracer(ratio=0)
    assert nothing.headers() == {}
    with nothing.call("call", TraceContext(TRACE, CALLER, is_sampled=False, state="a=1"), {}), nothing.part("part", {}):
        headers = nothing.headers()
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert headers["traceparent"].endswith("-00")
    assert headers["tracestate"] == "a=1"
    with nothing.call("call", None, {}) as call:
        assert len(call.trace_id) == 32
    assert exporter.get_finished_spans() == ()


def test_a_hostile_state_is_harmless(spans: tuple[OtelTracer, InMemorySpanExporter]) -> None:
    """A tracestate of any text neither fails a call nor is passed on."""
    tracer, _ = spans
    for state in ("=,=,", "a=1," * 100, "\x7f=1", "A=1", "é=1"):
        with tracer.call("call", TraceContext(TRACE, CALLER, is_sampled=True, state=state[:512]), {}):
            assert "\x7f" not in str(tracer.headers())


def test_without_a_tracer_nothing_is_recorded() -> None:
    """The tracer that is used without a collector has the caller's trace id for the log, and no headers."""
    with NO_TRACER.call("call", TraceContext(TRACE, CALLER, is_sampled=True), {}) as call, NO_TRACER.part("part", {}):
        assert (call.trace_id, NO_TRACER.headers()) == (TRACE, {})


def processor_to(url: str) -> tuple[ExportingProcessor, list[int]]:
    """Return what exports to a collector, and what it says was dropped."""
    dropped: list[int] = []
    return open_processor(Collector(url, "grpc"), count_dropped=dropped.append, log=SILENT), dropped


def test_a_hanging_collector_blocks_nothing() -> None:
    """Spans that a silent collector does not take fill a bounded queue; more are counted, and the end takes 2 s."""
    with closing(create_server(("127.0.0.1", 0))) as silent:
        processor, dropped = processor_to(f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracer = OtelTracer(processor, sampling_ratio=1, resource={"service.name": "test"})
        for _ in range(2 * MAX_QUEUED):
            with tracer.call("call", None, {}):
                pass
        assert sum(dropped) >= MAX_QUEUED - 512  # a batch may be on its way
        began = time.monotonic()
        processor.finish()
        assert time.monotonic() - began < 8  # it would wait for ten seconds


def test_the_sdk_is_not_imported_without_a_collector() -> None:
    """A service that exports nothing has loaded nothing of OpenTelemetry."""
    listing = "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    program = f"import sys, berth.app.run, berth.app.service; {listing}"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("statement", "summary"),
    [
        ("SELECT id FROM containers WHERE id = ?", "SELECT containers"),
        ("\n  INSERT INTO files (id) VALUES (?)", "INSERT files"),
        ("UPDATE blobs SET a = 'secret'", "UPDATE blobs"),
        ("DELETE FROM files", "DELETE files"),
        ("WITH a AS (SELECT 1 FROM keys) SELECT * FROM a", "SELECT keys"),
        ("SELECT 1", "SELECT"),
        ("PRAGMA x", "QUERY"),
    ],
)
def test_a_statement_is_summarised(statement: str, summary: str) -> None:
    """A summary has the operation and the first table, and no value."""
    assert summary_of(statement) == (summary, summary.partition(" ")[0])


def test_attributes_are_those_of_the_conventions() -> None:
    """The names that are used as text exist in the semantic conventions of OpenTelemetry."""
    known: Sequence[str] = [
        rpc_attributes.RPC_SYSTEM_NAME,
        rpc_attributes.RPC_METHOD,
        rpc_attributes.RPC_RESPONSE_STATUS_CODE,
        db_attributes.DB_SYSTEM_NAME,
        db_attributes.DB_OPERATION_NAME,
        db_attributes.DB_QUERY_SUMMARY,
        http_attributes.HTTP_REQUEST_METHOD,
        http_attributes.HTTP_RESPONSE_STATUS_CODE,
        server_attributes.SERVER_ADDRESS,
        server_attributes.SERVER_PORT,
        url.URL_FULL,
        url.URL_PATH,
        error_attributes.ERROR_TYPE,
        process_attributes.PROCESS_EXIT_CODE,
    ]
    assert known == [
        "rpc.system.name",
        "rpc.method",
        "rpc.response.status_code",
        "db.system.name",
        "db.operation.name",
        "db.query.summary",
        "http.request.method",
        "http.response.status_code",
        "server.address",
        "server.port",
        "url.full",
        "url.path",
        "error.type",
        "process.exit.code",
    ]
