"""The settings of traces and of the log."""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from berth.config.section import Section
from berth.config.values import BaseUrl, LocalPath, Name, Number, Secret, invalid

_HEADER = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")


def _header_name(name: object) -> str:
    lower = str(name).lower()
    if not _HEADER.fullmatch(lower):
        raise invalid(f"'{name}' cannot be the name of a header")
    return lower


def _header_value(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise invalid("has characters that are not allowed in an HTTP header")
    return secret


HeaderName = Annotated[str, BeforeValidator(_header_name)]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]
T = TypeVar("T")
Ratio = Annotated[float, Field(ge=0, le=1), Number]


class Telemetry(Section):
    """Traces and metrics, which are sent to a collector of OpenTelemetry by OTLP."""

    endpoint: BaseUrl | None = None
    """The URL of the collector, such as `http://127.0.0.1:4317`; there are no traces unless set. With the protocol
    `http`, `/v1/traces` is added to it, and `/v1/metrics` for metrics."""
    protocol: Literal["grpc", "http"] = "grpc"
    """How both are sent: `grpc` is OTLP over gRPC, mostly on port 4317, `http` is OTLP over HTTP with protobuf, mostly
    on port 4318."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Headers of requests to the collector; the values may be secrets."""
    ca_file: LocalPath | None = None
    """Authorities (PEM) that the collector's certificate is verified with, in place of those of the system."""
    sampling_ratio: Ratio = 0.1
    """The part of the traces that begin at Berth which is recorded. Traces that a caller has begun are recorded if the
    caller records them."""
    service_name: Name = "berth"
    """The name of the service in traces and metrics; that of its Envoy has `-envoy` at the end."""
    metrics_seconds: Annotated[float, Field(ge=0, le=3600), Number] = 0
    """How often the metrics are sent to the collector; with 0 they are not. Prometheus collects them from
    `listen.metrics` in any case."""

    @field_validator("headers", "ca_file", "metrics_seconds")
    @classmethod
    def _require_endpoint(cls, value: T, info: ValidationInfo) -> T:
        if value and "endpoint" in info.data and info.data["endpoint"] is None:
            raise invalid("needs telemetry.endpoint, the collector that it is for")
        return value


class Log(Section):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged. Events of the audit trail are always logged."""
    sampling_ratio: Ratio = 1.0
    """The part of the successful calls that has a line in the log, and in that of Envoy. Calls that fail or are refused
    have one in any case, and metrics count all."""
