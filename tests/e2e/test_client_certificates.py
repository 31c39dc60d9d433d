"""Client certificates that stop being valid while their connections are open, on both listeners."""

import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx2

from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.error_pb2 import ErrorReply
from berth.v1.provider_pb2 import Provider
from support.certs.authority import Authority, Issued
from support.clients.polling import wait_until
from support.servers.encrypted import KEY, SPIFFE, Place, placed

ACCEPTED, REFUSED = "accepted", "certificate_not_valid"
LASTING = dt.timedelta(seconds=3)
REQUEST = ListContainersRequest(provider=Provider.PROVIDER_OLLAMA)


class Caller:
    """The holder of a certificate, with one open connection over REST and one over gRPC."""

    def __init__(self, place: Place, issued: Issued, stack: ExitStack) -> None:
        self._rest = stack.enter_context(place.rest(issued))
        self._stub = ContainerServiceStub(stack.enter_context(place.channel(issued)))

    def outcomes(self, **headers: str) -> set[str]:
        """Call on both connections; return what came of it."""
        answer = self._rest.get("/v1/containers?provider=ollama", headers=headers)
        rest = ACCEPTED if answer.status_code == httpx2.codes.OK else answer.json()["error"]["code"]
        return {rest, self._call(*headers.items())}

    def _call(self, *metadata: tuple[str, str]) -> str:
        try:
            self._stub.ListContainers(REQUEST, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            trailers: Any = error
            details = dict(trailers.trailing_metadata())["grpc-status-details-bin"]
            return ErrorReply.FromString(details).error.code.string_value
        return ACCEPTED


def replace(path: Path, content: bytes) -> None:
    """Replace a file, as a renewal does."""
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def refuses(caller: Caller) -> Callable[[], bool]:
    """Return whether both connections of a caller are refused."""
    return lambda: caller.outcomes() == {REFUSED}


def test_connections_do_not_outlive_their_certificates(tmp_path: Path) -> None:
    """Open connections are refused when a certificate expires, is revoked or loses its authority; with a key, too."""
    authority, other = Authority(), Authority()
    middle = other.intermediate()
    lists = other.revocation_list() + middle.revocation_list()
    crl = tmp_path / "crl.pem"
    crl.write_bytes(authority.revocation_list() + lists)
    more = {"client_crl": str(crl)}
    with (
        placed(tmp_path, require=True, authority=authority, others=other.pem, more=more) as place,
        ExitStack() as stack,
    ):
        clients = [authority.client(SPIFFE) for _ in range(2)]
        clients += [middle.client(SPIFFE), authority.client(SPIFFE, lasting=LASTING)]
        kept, revoked, removed, expires = (Caller(place, issued, stack) for issued in clients)
        assert [caller.outcomes() for caller in (expires, kept, revoked, removed)] == [{ACCEPTED}] * 4
        replace(crl, authority.revocation_list(clients[1]) + lists)
        replace(tmp_path / "ca.crt", authority.pem)
        wait_until(refuses(revoked))
        wait_until(refuses(removed))
        wait_until(refuses(expires))
        callers = (revoked, removed, expires, kept)
        assert [caller.outcomes(**{"x-bf-vk": KEY}) for caller in callers] == [{REFUSED}] * 3 + [{ACCEPTED}]
