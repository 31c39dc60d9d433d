"""The collector that telemetry is sent to, and what is known of it: whether it takes what it gets, and why not."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import local
from typing import Any, Literal

from structlog.typing import FilteringBoundLogger

TIMEOUT_SECONDS = 10.0
"""How long sending something may take, retries included."""
FINISH_SECONDS = 2.0
"""How long a shutdown waits for the collector."""
MAX_REASON_LENGTH = 300
Signal = Literal["traces", "metrics"]
_PATHS: dict[Signal, str] = {"traces": "/v1/traces", "metrics": "/v1/metrics"}


@dataclass(frozen=True, slots=True)
class Collector:
    """Where telemetry is sent by OTLP: the URL of a collector, the protocol, and headers, which may be secrets.

    Over TLS its certificate is verified with the authorities in `ca_file`, of which `credentials` are made for gRPC.
    """

    url: str
    protocol: Literal["grpc", "http"]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    credentials: Any = field(default=None, repr=False)

    def options(self, signal: Signal) -> dict[str, Any]:
        """Return what an exporter of `signal` over the protocol is made with."""
        if self.protocol == "http":
            return {
                "endpoint": signal_url(self.url, signal),
                "certificate_file": str(self.ca_file) if self.ca_file else None,
                "headers": dict(self.headers),
                "timeout": TIMEOUT_SECONDS,
            }
        return {
            "endpoint": self.url,
            "insecure": self.url.startswith("http:"),
            "credentials": self.credentials,
            "headers": tuple(self.headers.items()),
            "timeout": TIMEOUT_SECONDS,
        }


def signal_url(url: str, signal: Signal) -> str:
    """Return the URL of a signal: OTLP over HTTP has a path of its own for each, which may be the end of `url`."""
    for path in _PATHS.values():
        url = url.removesuffix(path)
    return f"{url.rstrip('/')}{_PATHS[signal]}"


class Availability:
    """Logs when the collector begins to fail for `signal`, and when it takes it again.

    An exporter is called and reported in the same thread: that tells the messages of several exporters apart.
    """

    def __init__(self, signal: Signal, log: FilteringBoundLogger) -> None:
        self._signal = signal
        self._log = log
        self._messages = _exporters_messages()
        self._is_failing = False

    def report(self, *, is_failing: bool, reason: str = "") -> None:
        """Take note of how sending went; without a reason, it is the last message of the exporter."""
        message = self._messages.take()
        if is_failing and not self._is_failing:
            self._log.warning(f"{self._signal}.unavailable", reason=(reason or message)[:MAX_REASON_LENGTH])
        elif self._is_failing and not is_failing:
            self._log.info(f"{self._signal}.available")
        self._is_failing = is_failing


class _LastMessage(logging.Handler):
    """Keeps the last message that exporters have logged in a thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept = local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self._kept.message = record.getMessage()

    def take(self) -> str:
        """Return the last message of this thread, and forget it."""
        message = str(getattr(self._kept, "message", ""))
        self._kept.message = ""
        return message


@cache
def _exporters_messages() -> _LastMessage:
    """Return what keeps the messages of the exporters, which would log each try."""
    messages, logger = _LastMessage(), logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [messages], False
    return messages
