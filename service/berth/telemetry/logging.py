"""Logging: structlog on stderr, JSON for a pipe, readable for a terminal.

One line per call comes from the request interceptor; libraries that log through
the standard library come out in the same form.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor


def configure_logging(*, json: bool) -> None:
    """Send all logging to stderr: as a line of JSON per event if `json`, else for people."""
    described: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper("iso")]
    structlog.configure(
        processors=[*described, *_renderers(json=json, to_text=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer)
        if json
        else structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    renderers = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(json=json, to_text=True)]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=renderers, foreign_pre_chain=described))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_reports_a_fault)


CALLER_EVENTS = ("Invalid encoding", "ExecuteBatchError raised in core")
"""What grpc logs as errors though a caller caused it: a header it cannot decode (the line shows its value, which may be
a key), and a status that it cannot send because the caller has left."""


def _reports_a_fault(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(CALLER_EVENTS)


def _renderers(*, json: bool, to_text: bool) -> list[Processor]:
    """Return what makes a line of an event. Tracebacks never show local variables: they hold keys, bodies and files."""
    if not json:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    tracebacks = ExceptionDictTransformer(show_locals=False)
    renderer = structlog.processors.JSONRenderer(_text if to_text else orjson.dumps)
    return [structlog.processors.ExceptionRenderer(tracebacks), renderer]


def _text(event: EventDict, **options: Any) -> str:
    return orjson.dumps(event, **options).decode()
