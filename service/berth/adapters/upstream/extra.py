"""What an answer says about how it came to be: `extra_fields`, as far as the provider's part in it goes."""

from collections.abc import Collection
from typing import TypeVar

import orjson

from berth.adapters.upstream.account import Trip
from berth.adapters.upstream.http.redaction import shown
from berth.adapters.upstream.http.session import Order
from berth.core.caller import Options
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import DeleteContainerFileResponse, ListContainerFilesResponse
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import DeleteContainerResponse
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import DeleteFileResponse
from berth.v1.provider_pb2 import Provider

Answer = TypeVar(
    "Answer",
    Container,
    ContainerFile,
    ListContainerFilesResponse,
    DeleteContainerResponse,
    DeleteContainerFileResponse,
    File,
    DeleteFileResponse,
)


def dressed(
    answer: Answer,
    trip: Trip,
    *,
    provider: Provider,
    order: Order,
    value: object,
    options: Options,
    secrets: Collection[str],
) -> Answer:
    """Return `answer` with its `extra_fields`; `value` is the JSON that it was made from.

    What went there and what came back is only shown where `options` ask for it.
    """
    extra = answer.extra_fields
    extra.provider = provider
    extra.upstream_latency = int(trip.seconds * 1000)
    if options.raw_request:
        extra.raw_request.CopyFrom(shown(_sent(order), secrets))
    if options.raw_response:
        extra.raw_response.CopyFrom(shown(value, secrets))
    return answer


def _sent(order: Order) -> dict[str, object]:
    """Return what was sent; of an upload not the bytes, but what they were said to be."""
    sent: dict[str, object] = {"method": order.method, "path": order.path}
    if order.query:
        sent["query"] = order.query
    if order.form is not None:
        sent["body"] = order.form.described()
    elif order.body is not None:
        sent["body"] = orjson.loads(order.body)
    return sent
