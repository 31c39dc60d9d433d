"""TLS of the gRPC listener. Each handshake uses the current certificate."""

from collections.abc import Callable
from typing import Any

import grpc

Identity = tuple[bytes, bytes, bytes | None]
"""A certificate chain, its key, and the authorities of client certificates (None: request none), in PEM."""


def server_credentials(current: Callable[[], Identity], *, require_client: bool) -> grpc.ServerCredentials:
    """Return credentials that use what `current` returns at the time of each handshake.

    With `require_client`, a client needs a certificate of the authorities. Without it, none is
    requested, because grpc has no optional mode.
    """
    served = current()

    def fetch_renewed() -> Any:
        nonlocal served
        identity = current()
        if identity == served:
            return None
        served = identity
        return _to_configuration(identity)

    return grpc.dynamic_ssl_server_credentials(
        _to_configuration(served), fetch_renewed, require_client_authentication=require_client
    )


def _to_configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    certificate, key, client_ca = identity
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)


def channel_credentials(authorities: bytes | None) -> grpc.ChannelCredentials:
    """Return credentials with which a client verifies servers by `authorities` (PEM), or by those of the system."""
    return grpc.ssl_channel_credentials(authorities)
