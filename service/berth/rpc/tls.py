"""TLS of the gRPC listener: the certificate that is the present one, at each handshake."""

from collections.abc import Callable
from typing import Any

import grpc

Identity = tuple[bytes, bytes, bytes | None]
"""A certificate chain, its key, and the authorities of callers' certificates, in PEM; None asks for none."""


def server_credentials(current: Callable[[], Identity], *, require_client: bool) -> grpc.ServerCredentials:
    """Return credentials that show what `current` returns at the time.

    With `require_client` nobody gets in without a certificate of the
    authorities. grpc knows no middle way: otherwise it asks for none.
    """
    served = current()

    def renewed() -> Any:
        nonlocal served
        identity = current()
        if identity == served:
            return None
        served = identity
        return _configuration(identity)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(served), renewed, require_client_authentication=require_client
    )


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    certificate, key, client_ca = identity
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)
