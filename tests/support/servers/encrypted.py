"""A Berth with TLS, and the authority that issues certificates for it and its callers."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx2

from support.certs.authority import Authority, Issued
from support.servers.berth import Berth, running

SPIFFE = "spiffe://cluster.local/ns/agents/sa/runner"
DNS = "Runner.Example"
ADDRESS = "192.0.2.7"
KEY = "sk-bf-over-tls"
AUTH = {
    "virtual_keys": [{"name": "key", "value": KEY, "tenant": "keyed"}],
    "certificates": [
        {"san": SPIFFE, "name": "runner", "tenant": "mesh", "providers": ["ollama"]},
        {"san": DNS.lower(), "name": "by-dns", "tenant": "dns"},
        {"san": ADDRESS, "name": "by-address", "tenant": "address"},
    ],
}


class Place:
    """A running Berth with certificates, and who may issue them."""

    def __init__(self, folder: Path, authority: Authority, berth: Berth) -> None:
        self.folder = folder
        self.authority = authority
        self.berth = berth

    def rest(self, client: Issued | None = None, **headers: str) -> httpx2.Client:
        """Return an HTTP client, with a certificate."""
        context = self.authority.trusting(self.folder, client)
        return httpx2.Client(base_url=self.berth.rest, verify=context, headers=headers, timeout=30)

    def channel(self, client: Issued | None = None, address: str | None = None) -> grpc.Channel:
        """Return a channel to the service itself, or to Envoy, with a certificate."""
        shown = (client.key, client.chain) if client else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, *shown)
        return grpc.secure_channel(address or self.berth.grpc, credentials)

    def serial(self, address: str, client: Issued) -> str:
        """Return the serial number of the certificate that is shown at an address."""
        return serial_at(address, self.authority.trusting(self.folder, client))

    def renew(self) -> None:
        """Replace the certificate of the server."""
        self.authority.server().write(self.folder, "server")

    def events(self, name: str) -> list[dict[str, object]]:
        """Return what the service has logged of one kind."""
        return [event for event in self.berth.events() if event["event"] == name]


def serial_at(address: str, context: ssl.SSLContext) -> str:
    """Return the serial number of the certificate that is shown at an address."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        found = wrapped.getpeercert()
    assert found
    return str(found["serialNumber"])


@contextmanager
def placed(
    folder: Path,
    *,
    require: bool,
    authority: Authority | None = None,
    others: bytes = b"",
    more: Mapping[str, object] | None = None,
) -> Iterator[Place]:
    """Run a Berth that asks for certificates of `authority`, or of a new one, and of `others`.

    `more` are further settings of TLS.
    """
    authority = authority or Authority()
    certificate, key = authority.server().write(folder, "server")
    (folder / "ca.crt").write_bytes(authority.pem + others)
    tls = {
        "certificate": str(certificate),
        "key": str(key),
        "client_ca": str(folder / "ca.crt"),
        "require_client_certificate": require,
        **(more or {}),
    }
    with running(folder, {"tls": tls, "auth": AUTH}) as berth:
        yield Place(folder, authority, berth)
