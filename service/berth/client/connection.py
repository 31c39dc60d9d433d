"""A gRPC connection to a server that sends the key with each call and raises errors with readable messages."""

from _thread import start_new_thread
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar, cast

import grpc
from google.api.httpbody_pb2 import HttpBody

from berth.client.downloads import Download
from berth.client.endpoint import Server
from berth.client.errors import ClientError, KeyRefusedError, KeyRequiredError, RefusedError
from berth.v1.container_exec_service_pb2_grpc import ContainerExecServiceStub
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.error_pb2 import ErrorReply
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.file_service_pb2_grpc import FileServiceStub

ANSWER_SECONDS = 120.0
"""Timeout of a call that transfers no file: longer than a server waits for a provider, retries included."""
_DETAILS = "grpc-status-details-bin"
_OPTIONS = (
    ("grpc.max_receive_message_length", 24 * 1024 * 1024),
    # Detects a server that has disappeared, also during a transfer.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Otherwise grpc enlarges the window with the bandwidth, and downloads to a slow disk pile up in memory.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2 * 1024 * 1024),
    # gRPC must not repeat requests by itself.
    ("grpc.enable_retries", 0),
)

Metadata = Sequence[tuple[str, str | bytes]]
Request = TypeVar("Request")
Answer = TypeVar("Answer")
Part = TypeVar("Part", CreateContainerFileRequest, CreateFileRequest)


class Connection:
    """The services of a server.

    Methods raise RefusedError if the server rejects the request, KeyRequiredError if it requires a key and none was
    sent, and ClientError if other calls would fail as well: the server does not answer or does not accept the key.
    """

    def __init__(self, channel: grpc.Channel, server: Server) -> None:
        self.containers = ContainerServiceStub(channel)
        self.container_files = ContainerFileServiceStub(channel)
        self.execs = ContainerExecServiceStub(channel)
        self.files = FileServiceStub(channel)
        self._endpoint = server.endpoint
        self._metadata = (("authorization", f"Bearer {server.key}"),) if server.key else ()

    def ask(self, method: "grpc.UnaryUnaryMultiCallable[Request, Answer]", request: Request) -> Answer:
        """Return the answer to a request."""
        with self._translate_errors():
            return method(request, ANSWER_SECONDS, self._metadata)

    def send(
        self, method: "grpc.StreamUnaryMultiCallable[Part, Answer]", first: Part, pieces: Iterator[bytes]
    ) -> Answer:
        """Send `first` and then the pieces of a file; return the answer.

        An OSError while reading the pieces aborts the upload and is raised.
        """
        failures: list[OSError] = []

        def requests() -> Iterator[Part]:
            yield first
            try:
                for piece in pieces:
                    yield type(first)(body=HttpBody(data=piece))
            except OSError as error:
                failures.append(error)
                raise

        try:
            with self._translate_errors():
                return method(requests(), None, self._metadata)
        except ClientError:
            if failures:
                raise failures[0] from None
            raise

    def events(self, method: "grpc.UnaryStreamMultiCallable[Request, Answer]", request: Request) -> Iterator[Answer]:
        """Return an iterator over the answers to a request as they come.

        A thread reads them: an exception of Ctrl-C in the middle of gRPC's work would leave its locks held. Such an
        exception does not end the iterator.
        """
        answers: SimpleQueue[Answer | Exception | None] = SimpleQueue()

        def read() -> None:
            try:
                for answer in method(request, None, self._metadata):
                    answers.put(answer)
                answers.put(None)
            except Exception as error:  # noqa: BLE001 - raised to the caller
                answers.put(error)

        def next_answer() -> Answer | None:
            answer = answers.get()
            if isinstance(answer, Exception):
                with self._translate_errors():
                    raise answer
            return answer

        # Unlike Thread.start this waits for nothing: the caller is ready for Ctrl-C before the request is sent.
        start_new_thread(read, ())
        return iter(next_answer, None)

    def receive(self, method: "grpc.UnaryStreamMultiCallable[Request, HttpBody]", request: Request) -> Download:
        """Return the download once its first message has arrived."""
        with self._translate_errors():
            call = method(request, None, self._metadata)
            first = next(call)
            headers = {name: value for name, value in call.initial_metadata() if isinstance(value, str)}

        def pieces() -> Iterator[bytes]:
            yield first.data
            with self._translate_errors():
                for message in call:
                    yield message.data

        return Download(headers, pieces())

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            details = dict(cast("Metadata", error.trailing_metadata() or ())).get(_DETAILS)
            if isinstance(details, bytes):
                raise self._rejection(error.details() or error.code().name, error.code(), details) from None
            raise ClientError(f"no answer from {self._endpoint}: {_reason(error)}") from None

    def _rejection(self, text: str, status: grpc.StatusCode, details: bytes) -> ClientError:
        """Return the error for a request that the server rejected, with the facts from its `details`."""
        if status is grpc.StatusCode.UNAUTHENTICATED:
            return KeyRefusedError(text) if self._metadata else KeyRequiredError(text)
        error = ErrorReply.FromString(details).error
        return RefusedError(text, param=error.param.string_value, code=error.code.string_value)


@contextmanager
def connected(server: Server) -> Iterator[Connection]:
    """Connect to `server` while the context lasts; calls that still run at its end are cancelled."""
    with _channel(server) as channel:
        yield Connection(channel, server)


def _channel(server: Server) -> grpc.Channel:
    # A proxy from the environment would be another machine, so it is not used for loopback addresses.
    options: Sequence[tuple[str, int]] = (*_OPTIONS, ("grpc.enable_http_proxy", int(not server.endpoint.is_loopback)))
    target = f"dns:///{server.endpoint}"
    if server.roots is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(server.roots), options)


def _reason(error: grpc.RpcError) -> str:
    """Return the last part of gRPC's message, which is the most specific one, such as "Connection refused"."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"it took longer than {ANSWER_SECONDS:.0f} seconds"
    return (error.details() or "").removesuffix(": OK").rpartition(": ")[2].rstrip("]") or error.code().name
