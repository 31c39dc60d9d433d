"""Logging with structlog on stderr: JSON into a pipe, readable lines on a terminal.

The request interceptor logs one line per call. Records of the standard library's logging have the same format.
"""

import logging
import os
import sys
from io import FileIO, TextIOWrapper
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from berth.telemetry.writer import ThreadedWriter


def configure_logging(*, json: bool, level: str = "info") -> ThreadedWriter:
    """Send all logging to stderr, and return its writer: one line of JSON per event if `json`, else readable lines.

    Events below `level` are left out, except those of the audit trail.
    """
    # All that goes to stderr: also the log of Envoy, which the event loop forwards, and tracebacks.
    sink = FileIO(sys.stderr.fileno(), "wb", closefd=False) if sys.stderr else FileIO(os.devnull, "wb")
    writer = ThreadedWriter(sink)
    sys.stderr = TextIOWrapper(writer, encoding="utf-8", line_buffering=True)
    described: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper("iso")]
    structlog.configure(
        processors=[*_filters(level), *described, *_renderers(json=json, to_text=False)],
        wrapper_class=_unfailing_logger(min(_LEVELS[level], logging.INFO)),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer)
        if json
        else structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    renderers = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(json=json, to_text=True)]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=renderers, foreign_pre_chain=described))
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, _LEVELS[level]), force=True)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_own_error)
    return writer


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def _filters(level: str) -> list[Processor]:
    """Return the processor that drops events below `level`, unless the logger does so already."""
    lowest = _LEVELS[level]
    if lowest <= logging.INFO:
        return []

    def drop(_: object, method: str, event: EventDict) -> EventDict:
        if _LEVELS[method] < lowest and not event.get("audit"):
            raise structlog.DropEvent
        return event

    return [drop]


def _unfailing_logger(level: int) -> type[Any]:
    """Return a logger that raises no error: an event that cannot be written as text must not change a call."""

    class UnfailingLogger(structlog.make_filtering_bound_logger(level)):  # type: ignore[misc] # made at run time
        def _proxy_to_logger(self, method_name: str, event: str | None = None, *args: Any, **fields: Any) -> Any:
            try:
                return super()._proxy_to_logger(method_name, event, *args, **fields)
            except Exception as error:  # noqa: BLE001 - whatever it is
                return super()._proxy_to_logger("error", "log.failed", unwritten=event, error=type(error).__name__)

    return UnfailingLogger


CALLER_EVENTS = ("Invalid encoding", "ExecuteBatchError raised in core")
"""Messages that grpc logs as errors although callers cause them: a header that it cannot decode (the message contains
the header's value, which may be a key), and a status that it cannot send because the caller has disconnected."""


def _is_own_error(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(CALLER_EVENTS)


def _renderers(*, json: bool, to_text: bool) -> list[Processor]:
    """Return the processors that turn an event into a line.

    Tracebacks never show local variables, because these contain keys, bodies and file content.
    """
    if not json:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    tracebacks = ExceptionDictTransformer(show_locals=False)
    renderer = structlog.processors.JSONRenderer(_text if to_text else orjson.dumps)
    return [structlog.processors.ExceptionRenderer(tracebacks), renderer]


def _text(event: EventDict, **options: Any) -> str:
    return orjson.dumps(event, **options).decode()
